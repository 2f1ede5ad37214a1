"""The course's own databases: made, marked, copied from a template, dropped.

A database of the course has the checkout's id in its name and in its comment, the mark. Only a marked one is ever
dropped: a name alone might be somebody else's. The comment lies outside the database itself, so a lesson never
sees it, and it is not copied along with a template. What was made, and where, is kept in a record, so that nothing
is forgotten: also not a database whose making was killed before it got its mark.
"""

import secrets
from collections.abc import Callable
from contextlib import closing, contextmanager

import psycopg2
from psycopg2 import sql
from sqlalchemy.engine import URL

from . import home
from .problem import Problem
from .server import Server, connect

RECORD = "databases"
LARGE = 100  # megabytes of a template, from which on it is copied as files: through the log it is written twice


def mark() -> str:
    """The comment on every database that this checkout made."""
    return f"flask-migrations-course {home.checkout_id()}"


def create(server: Server, purpose: str, template: str = "template0") -> URL:
    """A fresh database for `purpose`, a copy of `template`; what this checkout had for it before is dropped then.

    Every server sorts and prints alike in it: locale C, time zone UTC. A command whose client was killed
    leaves PostgreSQL's lock queue within a second.
    """
    # The random end makes the name ours before the mark does. PostgreSQL allows 63 characters.
    name = f"course_{home.checkout_id()}_{purpose}"[:56] + "_" + secrets.token_hex(3)
    before = [entry["name"] for entry in _entries(server) if entry["purpose"] == purpose]
    with _maintenance(server) as cursor:
        # PostgreSQL copies no database that somebody is connected to, be it the lesson's own website.
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user",
            [template],
        )
        # Only of our own: a server may let nobody connect to template0, and then tells nobody its size.
        cursor.execute(
            "SELECT pg_database_size(oid) >> 20 >= %s FROM pg_database"
            " WHERE datname = %s AND datdba = current_user::regrole",
            [LARGE, template],
        )
        large = cursor.fetchone() == (True,)
        _remember(server, purpose, name, marked=False)
        _execute(
            cursor,
            "CREATE DATABASE {} TEMPLATE {} STRATEGY {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
            sql.Identifier(name),
            sql.Identifier(template),
            sql.SQL("FILE_COPY" if large else "WAL_LOG"),
        )
        database = sql.Identifier(name)
        _execute(cursor, "COMMENT ON DATABASE {} IS {}", database, sql.Literal(mark()))
        _remember(server, purpose, name, marked=True)
        _execute(cursor, "ALTER DATABASE {} SET timezone = 'UTC'", database)
        _execute(cursor, "ALTER DATABASE {} SET client_connection_check_interval = '1s'", database)
        for earlier in before:
            _drop(cursor, server, earlier)
    return server.url.set(database=name)


def find(server: Server, purpose: str) -> URL | None:
    """The database that this checkout made for `purpose` on `server`, if it is still there."""
    for entry in reversed(_entries(server)):
        url = server.url.set(database=entry["name"])
        if entry["purpose"] == purpose and entry["marked"] and exists(url):
            return url
    return None


def template(server: Server, purpose: str, before: str, fill: Callable[[URL], None]) -> str:
    """The name of this checkout's template for `purpose`; where it is not there yet, `fill(url)` makes it of `before`.

    A template that refuses connections is complete: it is closed last, and PostgreSQL copies no database
    that somebody is connected to. The lock lets many notebooks ask at once.
    """
    with _maintenance(server) as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [mark()])
        cursor.execute(
            "SELECT datname FROM pg_database WHERE NOT datallowconn AND shobj_description(oid, 'pg_database') = %s",
            [mark()],
        )
        complete = {name for (name,) in cursor.fetchall()}
        for entry in _entries(server):
            if entry["purpose"] == purpose and entry["name"] in complete:
                return entry["name"]
        url = create(server, purpose, before)
        fill(url)
        _execute(cursor, "ALTER DATABASE {} ALLOW_CONNECTIONS false", sql.Identifier(url.database))
        # Those of an earlier version of the application are of no more use.
        kind = purpose.rpartition("_")[0]
        for entry in _entries(server):
            if entry["purpose"].rpartition("_")[0] == kind and entry["purpose"] != purpose:
                _drop(cursor, server, entry["name"])
        return url.database


def drop(server: Server, purpose: str) -> None:
    """Drop this checkout's database for `purpose`."""
    with _maintenance(server) as cursor:
        for entry in _entries(server):
            if entry["purpose"] == purpose:
                _drop(cursor, server, entry["name"])


def drop_all(server: Server) -> list[str]:
    """Drop every database that this checkout made on `server`; their names."""
    with _maintenance(server) as cursor:
        return [entry["name"] for entry in _entries(server) if _drop(cursor, server, entry["name"])]


def places() -> set[str]:
    """The servers on which this checkout has databases, as Server.place names them."""
    return {entry["place"] for entry in home.read_record(RECORD).get("made", [])}


def applied_revisions(cursor) -> list[str]:
    """What `alembic_version` says in the database that `cursor` is connected to; empty where there is none."""
    cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return []
    cursor.execute("SELECT version_num FROM alembic_version ORDER BY 1")
    return [name for (name,) in cursor.fetchall()]


def exists(url: URL) -> bool:
    """Whether the database that `url` names can be connected to."""
    try:
        connect(url).close()
    except Problem:
        return False
    return True


def _drop(cursor, server: Server, name: str) -> bool:
    """Drop the database called `name` if this checkout made it, and forget it; whether it was there and ours."""
    cursor.execute("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name])
    found = cursor.fetchone()
    killed_in_the_making = any(entry["name"] == name and not entry["marked"] for entry in _entries(server))
    ours = found is not None and (found[0] == mark() or (found[0] is None and killed_in_the_making))
    if ours:
        # FORCE ends the sessions of a kernel or a web server that was left connected.
        _execute(cursor, "DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(name))
    _forget(server, name)
    return ours


def _entries(server: Server) -> list[dict]:
    return [entry for entry in home.read_record(RECORD).get("made", []) if entry["place"] == server.place]


def _remember(server: Server, purpose: str, name: str, marked: bool) -> None:
    with home.changing(RECORD) as record:
        others = [entry for entry in record.get("made", []) if entry["name"] != name]
        record["made"] = [*others, {"place": server.place, "purpose": purpose, "name": name, "marked": marked}]


def _forget(server: Server, name: str) -> None:
    with home.changing(RECORD) as record:
        record["made"] = [entry for entry in record.get("made", []) if entry["name"] != name]


@contextmanager
def _maintenance(server: Server):
    """A cursor on the server's maintenance database; what PostgreSQL refuses there is told as a Problem."""
    with closing(connect(server.url)) as connection, connection.cursor() as cursor:
        try:
            yield cursor
        except psycopg2.Error as error:
            said = error.diag.message_primary or str(error).strip()
            raise Problem(f"PostgreSQL refuses: {said}.\ndocs/troubleshooting.md may know why.") from None


def _execute(cursor, statement: str, *parts) -> None:
    cursor.execute(sql.SQL(statement).format(*parts))
