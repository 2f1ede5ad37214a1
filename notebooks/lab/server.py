"""Which PostgreSQL the lessons use: Docker's, the embedded one, or a server named by a URL."""

import os
import shutil
import socket
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from . import compose, embedded
from .home import DATA, checkout_id
from .problem import Problem

OLDEST = 15  # the oldest major version that every lesson passes on
KINDS = ("docker", "embedded", "url")

# A lesson takes DATABASE_URL out of the environment, so that its own .env decides. The server's URL is
# therefore read once, here, and handed on under another name to whatever this process starts.
GIVEN_URL = os.environ.get("LAB_DATABASE_URL") or os.environ.get("DATABASE_URL", "")
os.environ["LAB_DATABASE_URL"] = GIVEN_URL
# libpq takes from these what a URL leaves out.
HOST_GIVEN = any(os.environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"))
if os.environ.get("LAB_DATABASE") != "url":
    for name in ("PGHOSTADDR", "PGSERVICE"):  # these win over the host in a URL, also over that of our own servers
        os.environ.pop(name, None)


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL. `url` names its maintenance database; `why` says in words how it was chosen."""

    kind: str
    url: URL
    why: str = ""
    container: str = ""
    version: str = ""
    major: int = 0

    @property
    def place(self) -> str:
        """What tells this server from others in the course's records. The port of our own may change."""
        return f"{self.url.host}:{self.url.port}" if self.kind == "url" else self.kind

    def __str__(self):
        name = {"docker": "in Docker", "embedded": "embedded", "url": f"at {self.url.host or 'a local socket'}"}
        return f"PostgreSQL {self.version} {name[self.kind]}{self.why and ': ' + self.why}"


def choose(kind: str = "", why: str = "") -> Server:
    """The server to use, started if it has to be.

    `kind`, for the reason `why`, or else LAB_DATABASE decides, and then what goes wrong is a Problem. Without
    either the first of these that works is taken: DATABASE_URL on this machine, Docker's, the embedded one.
    """
    if not kind:
        kind, why = os.environ.get("LAB_DATABASE", ""), "chosen by LAB_DATABASE"
    if kind:
        if kind not in KINDS:
            raise Problem(
                f'LAB_DATABASE is "{kind}", which is none of {", ".join(KINDS)}.\n'
                "Set it to one of these, or unset it, and restart JupyterLab."
            )
        return {"docker": _docker, "embedded": _embedded, "url": _url}[kind](why)

    passed_over = []
    if GIVEN_URL:
        try:
            if is_local(parse(GIVEN_URL)):
                return _url("from DATABASE_URL")
            passed_over.append("DATABASE_URL names another host; LAB_DATABASE=url would use it")
        except Problem as problem:
            passed_over.append("not DATABASE_URL: " + str(problem).splitlines()[0].rstrip("."))
    if compose.engine_answers():
        try:
            return _docker("; ".join([*passed_over, "an engine answers"]))
        except Problem as problem:
            passed_over.append("not Docker: " + str(problem).splitlines()[0].rstrip("."))
    else:
        passed_over.append("no Docker engine answers")
    return _embedded("; ".join(passed_over))


def choose_again(kind: str, opener: str, name: str) -> Server:
    """The server of the kind on which the lesson or exercise `name` was opened, started if it has to be."""
    if kind == "docker" and os.environ.get("LAB_DATABASE") != "docker" and not compose.engine_answers():
        raise Problem(
            f"This {opener}'s database is in Docker, and no engine answers.\n"
            f'Start Docker and run this again; {opener}("{name}") begins anew on the embedded one.'
        )
    return choose(kind, "as when it was opened")


def parse(text: str) -> URL:
    """A database URL as SQLAlchemy knows it, completed with the driver that this course installs."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise Problem(
            "DATABASE_URL is not a database URL.\n"
            "It should look like postgresql+psycopg2://user:password@host:5432/database."
        ) from None
    if "@" in (url.host or ""):
        raise Problem("The password in DATABASE_URL holds an @.\nWrite it as %40, or the host begins too early.")
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise Problem(
            f"DATABASE_URL names a database of the kind {url.get_backend_name()}, not PostgreSQL.\n"
            "Unset it, or set it to postgresql+psycopg2://user:password@host:5432/database."
        )
    # postgres:// is refused by SQLAlchemy, and postgresql:// means psycopg 3 since SQLAlchemy 2.1.
    # Like libpq, and once for all: a lesson's .env and its programs need the password, too.
    return url.set(
        drivername="postgresql+psycopg2",
        database=url.database or "postgres",
        password=url.password or os.environ.get("PGPASSWORD") or None,
    )


def connect(url: URL):
    """A psycopg2 connection to `url` in autocommit mode; a Problem says why there is none."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    try:
        connection = psycopg2.connect(**{"connect_timeout": 5, **arguments})
    except psycopg2.Error as error:
        # One line for each address that was tried, with hints below it; the reason stands behind "failed:".
        said = str(error).strip()
        reasons = [line.partition(" failed: ")[2] for line in said.splitlines() if " failed: " in line]
        where = f"{url.host or 'the local socket'}:{url.port or 5432}"
        raise Problem(
            f"PostgreSQL at {where} does not let us in: {reasons[-1] if reasons else said.splitlines()[0]}.\n"
            "Is it running, and are user, password and database right? See docs/troubleshooting.md."
        ) from None
    connection.autocommit = True
    return connection


def clients(server: Server) -> Path:
    """A folder with psql, pg_dump and pg_restore of the server's own version, to stand first on PATH.

    A newer pg_dump writes settings that an older server refuses, and an older one refuses a newer
    server; so Docker's programs run inside its container, and a server given by URL gets the nearest.
    """
    folder = DATA / "bin" / f"{server.kind}-{server.major}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("psql", "pg_dump", "pg_restore"):
        if server.kind == "docker":
            # Inside the container the server listens on 5432, whatever port the host sees.
            program = (
                "docker exec -i -e PGHOST=127.0.0.1 -e PGPORT=5432 -e PGUSER -e PGPASSWORD -e PGDATABASE "
                "-e PGAPPNAME -e PGOPTIONS "
                f"{server.container} {name}"
            )
        else:
            program = f'"{_program(name, server)}"'
        script = folder / name
        draft = script.with_name(f"{name}.{os.getpid()}")
        draft.write_text(f'#!/bin/sh\nexec {program} "$@"\n', encoding="utf-8")
        draft.chmod(0o755)
        draft.replace(script)
    return folder


def _program(name: str, server: Server) -> Path | str:
    """Where the client program `name` is that suits `server` best."""
    places = [
        Path(f"/usr/lib/postgresql/{server.major}/bin"),  # Debian, Ubuntu
        Path(f"/usr/pgsql-{server.major}/bin"),  # Fedora, Red Hat
        Path(f"/opt/homebrew/opt/postgresql@{server.major}/bin"),
        Path(f"/usr/local/opt/postgresql@{server.major}/bin"),
    ]
    if server.kind == "embedded":
        places = []
    for place in places:
        if (place / name).exists():
            return place / name
    try:
        # 18's dumps hold a setting that servers up to 16 refuse
        return (embedded.binaries("pginstall") if server.major <= 16 else embedded.binaries()) / name
    except Problem:
        return shutil.which(name) or name


def _url(why: str) -> Server:
    if not GIVEN_URL:
        raise Problem(
            "A server by URL is asked for, but DATABASE_URL is not set.\n"
            "Set DATABASE_URL to postgresql+psycopg2://user:password@host:5432/database and restart JupyterLab."
        )
    return _examined(Server("url", parse(GIVEN_URL), why))


def _docker(why: str) -> Server:
    container, url = compose.start()
    return _examined(Server("docker", url, why, container))


def _embedded(why: str) -> Server:
    launcher = embedded.Embedded(embedded.data_folder(DATA, checkout_id()))
    return _examined(Server("embedded", make_url(launcher.start()), why))


def _examined(server: Server) -> Server:
    """`server` with its version filled in; a Problem if it is too old or gives us no right to work."""
    with closing(connect(server.url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT split_part(current_setting('server_version'), ' ', 1),"
            " current_setting('server_version_num')::int / 10000, rolsuper OR rolcreatedb, rolname"
            " FROM pg_roles WHERE rolname = current_user"
        )
        version, major, may_create, role = cursor.fetchone()
    if major < OLDEST:
        raise Problem(
            f"The server is PostgreSQL {version}; the lessons need {OLDEST} or later.\n"
            "Unset DATABASE_URL to use Docker's or the embedded one, or name a newer server."
        )
    if not may_create:
        raise Problem(
            f'The role "{role}" may not create databases, and every lesson needs one of its own.\n'
            f'As a superuser: ALTER ROLE "{role}" CREATEDB; or unset DATABASE_URL.'
        )
    return replace(server, version=version, major=major)


def is_local(url: URL) -> bool:
    """Whether `url` names this machine and no other: a socket, or names that mean the loopback address."""
    if "service" in url.query:
        return False  # a file elsewhere says which host
    hosts = [host for name in ("host", "hostaddr") for host in url.normalized_query.get(name, ())]
    hosts = [part for host in (url.host or "", *hosts) for part in host.split(",") if part]
    if not hosts:
        return not HOST_GIVEN
    return all(host.startswith("/") or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(address.startswith("127.") or address == "::1" for address in addresses)
