"""The course's own databases: made, marked, copied from a template, dropped.

A database of the course has the checkout's id in its name and in its comment. Only one that has both is
ever altered or dropped: a name alone might be somebody else's. The comment lies outside the database
itself, so a lesson never sees it, and it is not copied along with a template.
"""

import time
from contextlib import closing, contextmanager

from psycopg2 import errors, sql
from sqlalchemy.engine import URL

from .home import checkout_id
from .problem import Problem
from .server import Server, connect


def mark() -> str:
    """The comment on every database that this checkout made."""
    return f"flask-migrations-course {checkout_id()}"


def name_for(purpose: str) -> str:
    """The name of this checkout's database for `purpose`; PostgreSQL allows 63 characters."""
    return f"course_{checkout_id()}_{purpose}"[:63]


def create(server: Server, purpose: str, template: str = "template0") -> URL:
    """A fresh database for `purpose`, a copy of `template`; what this checkout had under its name is dropped.

    Every server sorts and prints alike in it: locale C, time zone UTC. A command whose client was killed
    leaves PostgreSQL's lock queue within a second.
    """
    with _maintenance(server) as cursor:
        # PostgreSQL copies no database that somebody is connected to, be it the lesson's own website.
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template])
        drop(cursor, name_for(purpose))
        for name in (name_for(purpose), *(name_for(f"{purpose}_{n}") for n in range(2, 10))):
            try:
                _execute(
                    cursor,
                    "CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
                    sql.Identifier(name),
                    sql.Identifier(template),
                )
                break
            except errors.DuplicateDatabase:
                # Not ours, or it would be gone: leave it alone and take the next name.
                drop(cursor, name)
        else:
            raise Problem(f"The server holds ten databases named like {name_for(purpose)}. Rename or drop them.")
        database = sql.Identifier(name)
        _execute(cursor, "COMMENT ON DATABASE {} IS {}", database, sql.Literal(mark()))
        _execute(cursor, "ALTER DATABASE {} SET timezone = 'UTC'", database)
        _execute(cursor, "ALTER DATABASE {} SET client_connection_check_interval = '1s'", database)
    return server.url.set(database=name)


def template(server: Server, purpose: str, fill) -> str:
    """The name of this checkout's template for `purpose`, made by `fill(url)` where it is not there yet.

    A template that refuses connections is complete: it is closed last, and PostgreSQL copies no database
    that somebody is connected to. The lock lets many notebooks ask at once.
    """
    name = name_for(purpose)
    with _maintenance(server) as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
        cursor.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s AND NOT datallowconn"
            " AND shobj_description(oid, 'pg_database') = %s",
            [name, mark()],
        )
        if cursor.fetchone():
            return name
        url = create(server, purpose)
        fill(url)
        _execute(cursor, "ALTER DATABASE {} ALLOW_CONNECTIONS false", sql.Identifier(url.database))
        return url.database


def drop(cursor, name: str) -> bool:
    """Drop the database called `name` if this checkout made it; whether it did."""
    cursor.execute(
        "SELECT 1 FROM pg_database WHERE datname = %s AND shobj_description(oid, 'pg_database') = %s",
        [name, mark()],
    )
    if not cursor.fetchone():
        return False
    # FORCE ends the sessions of a kernel or a web server that was left connected.
    _execute(cursor, "DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(name))
    return True


def drop_one(server: Server, purpose: str) -> None:
    """Drop this checkout's database for `purpose`."""
    with _maintenance(server) as cursor:
        # PostgreSQL copies no database that somebody is connected to, be it the lesson's own website.
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template])
        drop(cursor, name_for(purpose))


def drop_all(server: Server) -> list[str]:
    """Drop every database that this checkout made on `server`; their names."""
    with _maintenance(server) as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1", [name_for("")])
        return [name for (name,) in cursor.fetchall() if drop(cursor, name)]


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


@contextmanager
def _maintenance(server: Server):
    with closing(connect(server.url)) as connection, connection.cursor() as cursor:
        yield cursor


def _execute(cursor, statement: str, *parts) -> None:
    for attempt in range(20):
        try:
            cursor.execute(sql.SQL(statement).format(*parts))
            return
        except (errors.ObjectInUse, errors.InternalError_) as error:
            # Another notebook is copying the same template, or a session has not gone yet.
            if attempt == 19:
                raise Problem(f"PostgreSQL refuses: {error.diag.message_primary}.\nTry again in a moment.") from None
            time.sleep(0.25)
        except errors.DiskFull as error:
            raise Problem(
                f"The server's disk is full: {error.diag.message_primary}.\nMake room and run this cell again."
            ) from None
