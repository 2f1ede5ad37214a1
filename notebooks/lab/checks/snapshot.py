"""What a database holds at one moment: schema, applied revisions and every row."""

from contextlib import closing
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extras import RealDictCursor
from sqlalchemy.engine import URL

from .. import database
from ..schema import Schema
from ..server import connect


@dataclass(frozen=True)
class Snapshot:
    """`rows` are those of each table, in the order of their `id` where they have one.

    `views` says of each view which columns it has, and how many rows it shows.
    """

    schema: Schema
    applied: list[str]
    rows: dict[str, list[dict]]
    views: dict[str, tuple[list[str], int]]

    @classmethod
    def read(cls, url: URL) -> "Snapshot":
        """The database `url` as it is now. One that does not answer is a Problem."""
        with closing(connect(url)) as connection:
            with connection.cursor() as cursor:
                schema, applied = Schema.read(cursor), database.applied_revisions(cursor)
                views = _views(cursor)
            with connection.cursor(cursor_factory=RealDictCursor) as cursor:
                rows = {}
                for table in schema.tables:
                    cursor.execute(sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(table)))
                    rows[table] = sorted(map(dict, cursor.fetchall()), key=lambda row: (row.get("id") or 0, repr(row)))
        return cls(schema, applied, rows, views)


def _views(cursor) -> dict[str, tuple[list[str], int]]:
    cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY viewname")
    views = {}
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(name)))
        views[name] = ([column.name for column in cursor.description], cursor.rowcount)
    return views
