"""What a database holds at one moment: schema, applied revisions, every row, and where the counters stand."""

from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import sql
from psycopg2.extras import RealDictCursor
from sqlalchemy.engine import URL

from .. import database
from ..problem import Problem
from ..schema import Schema
from ..server import connect

MANY = 50_000  # rows


@contextmanager
def looking_at(url: URL):
    """A connection for a check: it waits for nobody for long, and an interrupt ends it."""
    # psycopg2 hears of an interrupt only when the server has answered, unless Python does the waiting.
    psycopg2.extensions.set_wait_callback(psycopg2.extras.wait_select)
    try:
        with closing(connect(url)) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'; SET statement_timeout = '10s'; SET timezone = 'UTC'")
            yield connection
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
        raise Problem(
            "another session holds a lock on your tables, so they cannot be looked at.\n"
            "Is a transaction open in a terminal? End it with COMMIT or ROLLBACK, and check again."
        ) from None
    finally:
        psycopg2.extensions.set_wait_callback(None)


@dataclass(frozen=True)
class Snapshot:
    """`rows` are those of each table, in the order of their `id` where they have one; of a big table every hundredth.

    `views` says of each view which columns it has, and how many rows it shows.
    """

    schema: Schema
    applied: list[str]
    rows: dict[str, list[dict]]
    views: dict[str, tuple[list[str], int]]
    counters: dict[str, int | None]

    @classmethod
    def read(cls, url: URL) -> "Snapshot":
        """The database `url` as it is now. One that does not answer is a Problem."""
        with looking_at(url) as connection:
            with connection.cursor() as cursor:
                schema, applied = Schema.read(cursor), database.applied_revisions(cursor)
                views = _views(cursor)
                cursor.execute(
                    "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
                )
                counters = dict(cursor.fetchall())
            with connection.cursor(cursor_factory=RealDictCursor) as cursor:
                rows = {}
                for table in schema.tables:
                    cursor.execute(_every_row(schema, table))
                    rows[table] = sorted(map(dict, cursor.fetchall()), key=lambda row: (row.get("id") or 0, repr(row)))
        return cls(schema, applied, rows, views, counters)


def _every_row(schema: Schema, table: str) -> sql.Composed:
    """A query for the rows of a table, or for every hundredth where there are many: a check should not take long."""
    query = sql.SQL("SELECT * FROM public.{0}").format(sql.Identifier(table))
    if "id" in schema.tables[table].columns:
        many = sql.SQL(" WHERE id % 100 = 1 OR (SELECT max(id) FROM public.{0}) <= {1}")
        query += many.format(sql.Identifier(table), sql.Literal(MANY))
    return query


def _views(cursor) -> dict[str, tuple[list[str], int]]:
    cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY viewname")
    views = {}
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(name)))
        views[name] = ([column.name for column in cursor.description], cursor.rowcount)
    return views
