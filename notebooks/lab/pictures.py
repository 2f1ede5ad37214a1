"""Pictures and tables drawn from the live database and the revision files, each with a text twin.

JupyterLab draws `text/vnd.mermaid` itself; GitHub, an editor and a screen reader get the text.
"""

import html
import re
from dataclasses import dataclass, field
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from .problem import Problem

ROWS_SHOWN = 20

# One row a column, in the words of PostgreSQL's own catalogue.
COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '',
       EXISTS (SELECT 1 FROM pg_constraint k
                WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey)),
       (SELECT k.confrelid::regclass::text FROM pg_constraint k
         WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] LIMIT 1)
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
 ORDER BY c.relname, a.attnum
"""

# From PostgreSQL 18 on NOT NULL is a constraint, too (contype 'n'); it is shown with its column everywhere.
NAMED_PARTS = """
SELECT CASE contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key' WHEN 'u' THEN 'unique' ELSE 'check' END,
       conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'f', 'u', 'c', 'x')
UNION ALL
SELECT 'index', indexrelid::regclass::text,
       regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX \\S+ ON \\S+ ', '\\1')
  FROM pg_index
 WHERE indrelid = %(table)s::regclass
   AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
UNION ALL
SELECT 'sequence', s.oid::regclass::text, 'of ' || a.attname
  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE d.refobjid = %(table)s::regclass AND d.deptype IN ('a', 'i')
 ORDER BY 1, 2
"""


class Picture:
    """Something to show: Mermaid's or HTML's source beside a text that says the same."""

    def __init__(self, text: str, mermaid: str = "", markup: str = ""):
        self.text = text
        self.mermaid = mermaid
        self.markup = markup

    def __repr__(self):
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {"text/plain": self.text}
        if self.mermaid:
            bundle["text/vnd.mermaid"] = self.mermaid
        if self.markup:
            bundle["text/html"] = self.markup
        return bundle


@dataclass(frozen=True)
class Column:
    """One column as the catalogue describes it."""

    name: str
    type: str
    required: bool
    default: str | None
    counted: bool
    key: bool
    refers_to: str | None

    def notes(self) -> str:
        """What there is to say beside the type."""
        return ", ".join(
            note
            for note in (
                "primary key" if self.key else "not null" if self.required else "",
                f"default {self.default}" if self.default and not self.counted else "",
                f"refers to {self.refers_to}" if self.refers_to else "",
            )
            if note
        )


@dataclass
class Schema:
    """The tables of a database, each a dictionary from the column's name to the Column."""

    tables: dict[str, dict[str, Column]] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor) -> "Schema":
        """The schema of the database that `cursor` is connected to, without Alembic's own table."""
        cursor.execute(COLUMNS)
        schema = cls()
        for table, *column in cursor.fetchall():
            if table != "alembic_version":
                schema.tables.setdefault(table, {})[column[0]] = Column(*column)
        return schema

    def picture(self, before: "Schema | None" = None) -> Picture:
        """All tables; where `before` is given, what changed since then is marked + (new), - (gone) and ~ (changed)."""
        text, mermaid, links = [], ["erDiagram"], []
        for table in sorted(set(self.tables) | set(before.tables if before else ())):
            now, then = self.tables.get(table, {}), (before or self).tables.get(table, {})
            text.append(f"{_mark(now or None, then or None, whole=True)} {table}")
            mermaid.append(f"    {table} {{")
            for name in [*now, *(name for name in then if name not in now)]:
                column, mark = now.get(name) or then[name], _mark(now.get(name), then.get(name))
                text.append(f"{mark}     {name:<14}{column.type:<26}{column.notes()}".rstrip())
                mermaid.append(f"        {_mermaid_column(column, mark)}")
                if column.refers_to and name in now:
                    links.append(f"    {column.refers_to} ||--o{{ {table} : {name}")
            mermaid.append("    }")
        if not text:
            return Picture("(no tables)")
        return Picture("\n".join(text), "\n".join(mermaid + links))


def table(cursor, name: str) -> Picture:
    """One table with its columns and everything that has a name of its own: keys, constraints, indexes, sequences."""
    columns = Schema.read(cursor).tables.get(name)
    if columns is None:
        raise Problem(f'There is no table "{name}" in this database.\nhere.schema() shows those that there are.')
    cursor.execute(NAMED_PARTS, {"table": f'public."{name}"'})
    parts = cursor.fetchall()
    text = [name, *(f"    {c.name:<14}{c.type:<26}{c.notes()}".rstrip() for c in columns.values())]
    text += [f"  {kind:<12}{part:<34}{definition}" for kind, part, definition in parts]
    rows = [(c.name, c.type, c.notes()) for c in columns.values()]
    markup = _html_table(("column", "type", ""), rows, caption=name)
    if parts:
        markup += _html_table(("", "name", "definition"), parts, caption=f"what has a name of its own on {name}")
    return Picture("\n".join(text), markup=markup)


def result(cursor) -> Picture:
    """The rows of the last query as a table, or what the statement reports where it has none."""
    if cursor.description is None:
        return Picture(cursor.statusmessage)
    heads = [column.name for column in cursor.description]
    rows = [["" if value is None else str(value) for value in row] for row in cursor.fetchmany(ROWS_SHOWN)]
    more = cursor.rowcount - len(rows)
    widths = [max(map(len, (head, *(row[n] for row in rows)))) for n, head in enumerate(heads)]
    lines = [" | ".join(f"{value:<{width}}" for value, width in zip(line, widths)).rstrip() for line in (heads, *rows)]
    lines.insert(1, "-+-".join("-" * width for width in widths))
    tail = f"({cursor.rowcount} row{'s' * (cursor.rowcount != 1)}{f', {ROWS_SHOWN} shown' if more else ''})"
    markup = _html_table(heads, rows) + f"<p>{tail}</p>"
    return Picture("\n".join([*lines, tail]), markup=markup)


def revisions(folder: Path, applied: list[str]) -> Picture:
    """The revision files below `folder`, newest first, with where the database stands (`applied`)."""
    try:
        # walk_revisions imports the files, so a learner's slip of the pen comes out here
        found = list(ScriptDirectory(str(folder)).walk_revisions())
    except CommandError as error:
        raise Problem(f"There are no revisions to show: {error}\n`flask db init` makes the folder for them.") from None
    except Exception as error:
        raise Problem(
            f"A revision file cannot be read: {type(error).__name__}: {error}\nMend it, then run this cell again."
        ) from None
    text, boxes, arrows = [], [], []
    for revision in found:
        here, parents = revision.revision in applied, revision._versioned_down_revisions
        notes = ["database is here"] * here + ["head"] * revision.is_head
        after = f"after {', '.join(parents)}" if parents else "the first"
        text.append(_revision_line(here, revision.revision, revision.doc, after, notes))
        label = "<br/>".join([revision.revision, html.escape(revision.doc).replace('"', "'"), *notes])
        boxes.append(f'    r{revision.revision}["{label}"]{":::here" * here}')
        arrows += [f"    r{parent} --> r{revision.revision}" for parent in parents]
    at_base = not applied
    text.append(_revision_line(at_base, "base", "nothing applied", "", ["database is here"] * at_base))
    boxes.append(f"    base([base{'<br/>database is here' * at_base}]){':::here' * at_base}")
    arrows += [f"    base --> r{r.revision}" for r in found if not r._versioned_down_revisions]
    style = "    classDef here stroke-width:4px"
    return Picture("\n".join(text), "\n".join(["flowchart LR", *reversed(boxes), *reversed(arrows), style]))


def _revision_line(here: bool, name: str, message: str, after: str, notes: list[str]) -> str:
    return f"{'>' if here else ' '} {name:<12}  {message:<36} {after:<22} {' | '.join(notes)}".rstrip()


def _mark(now, then, whole: bool = False) -> str:
    if now is None:
        return "-"
    if then is None:
        return "+"
    return " " if whole or now == then else "~"


def _mermaid_column(column: Column, mark: str) -> str:
    """Mermaid's types know no brackets, commas or spaces."""
    kind = re.sub(r"\W+", "_", column.type).strip("_")
    keys = ["PK"] * column.key + ["FK"] * bool(column.refers_to)
    changes = {"+": ["+ new"], "-": ["- gone"], "~": ["~ changed"], " ": []}[mark]
    notes = ", ".join(changes + ["not null"] * (column.required and not column.key))
    return " ".join([kind, column.name, ", ".join(keys), f'"{notes}"' if notes else ""]).strip()


def _html_table(heads, rows, caption: str = "") -> str:
    def cells(tag, values):
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values) + "</tr>"

    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(cells("td", row) for row in rows)
    return f"<table>{title}<thead>{cells('th', heads)}</thead><tbody>{body}</tbody></table>"
