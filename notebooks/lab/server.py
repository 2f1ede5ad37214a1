"""Which PostgreSQL the lessons use: Docker's, the embedded one, or a server named by a URL."""

import os
import shutil
import socket
from dataclasses import dataclass
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
GIVEN_URL = os.environ.setdefault("LAB_DATABASE_URL", os.environ.get("DATABASE_URL", ""))


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL. `url` names its maintenance database; `why` says in words how it was chosen."""

    kind: str
    url: URL
    version: str
    why: str = ""
    container: str = ""

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

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
            if _is_local(parse(GIVEN_URL)):
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


def parse(text: str) -> URL:
    """A database URL as SQLAlchemy knows it, completed with the driver that this course installs."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise Problem(
            "DATABASE_URL is not a database URL.\n"
            "It should look like postgresql+psycopg2://user:password@host:5432/database."
        ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise Problem(
            f"DATABASE_URL names a database of the kind {url.get_backend_name()}, not PostgreSQL.\n"
            "Unset it, or set it to postgresql+psycopg2://user:password@host:5432/database."
        )
    # postgres:// is refused by SQLAlchemy, and postgresql:// means psycopg 3 since SQLAlchemy 2.1.
    return url.set(drivername="postgresql+psycopg2", database=url.database or "postgres")


def connect(url: URL):
    """A psycopg2 connection to `url` in autocommit mode; a Problem says why there is none."""
    arguments = url.translate_connect_args(username="user", database="dbname")
    try:
        connection = psycopg2.connect(**arguments, **url.query, connect_timeout=5)
    except psycopg2.OperationalError as error:
        # One line for each address that was tried, with hints below it; the reason stands behind "failed:".
        said = str(error).strip()
        reasons = [line.partition(" failed: ")[2] for line in said.splitlines() if " failed: " in line]
        where = f"{url.host or 'the local socket'}:{url.port or 5432}"
        raise Problem(
            f"PostgreSQL at {where} does not let us in: {reasons[-1] if reasons else said}.\n"
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
            "LAB_DATABASE is url, but DATABASE_URL is not set.\n"
            "Set DATABASE_URL to postgresql+psycopg2://user:password@host:5432/database and restart JupyterLab."
        )
    return _examined(Server("url", parse(GIVEN_URL), "0", why))


def _docker(why: str) -> Server:
    container, url = compose.start()
    return _examined(Server("docker", make_url(url), "0", why, container))


def _embedded(why: str) -> Server:
    launcher = embedded.Embedded(embedded.data_folder(DATA, checkout_id()))
    return _examined(Server("embedded", make_url(launcher.start()), "0", why))


def _examined(server: Server) -> Server:
    """`server` with its version filled in; a Problem if it is too old or gives us no right to work."""
    with connect(server.url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT split_part(current_setting('server_version'), ' ', 1), rolsuper OR rolcreatedb, rolname"
            " FROM pg_roles WHERE rolname = current_user"
        )
        version, may_create, role = cursor.fetchone()
    connection.close()
    if int(version.split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz")) < OLDEST:
        raise Problem(
            f"The server is PostgreSQL {version}; the lessons need {OLDEST} or later.\n"
            "Unset DATABASE_URL to use Docker's or the embedded one, or name a newer server."
        )
    if not may_create:
        raise Problem(
            f'The role "{role}" may not create databases, and every lesson needs one of its own.\n'
            f'As a superuser: ALTER ROLE "{role}" CREATEDB; or unset DATABASE_URL.'
        )
    return Server(server.kind, server.url, version, server.why, server.container)


def _is_local(url: URL) -> bool:
    """Whether `url` names this machine: a socket, or a name that means the loopback address."""
    host = url.host or url.query.get("host") or ""
    if not host or host.startswith("/"):
        return True
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(address.startswith("127.") or address == "::1" for address in addresses)
