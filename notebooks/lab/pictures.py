"""Pictures and tables drawn from the live database and the revision files, each with a text twin.

JupyterLab draws `text/vnd.mermaid` itself, and makes of its accTitle what a screen reader says; GitHub and an editor
get the text.
"""

import html
import re
from dataclasses import dataclass

from alembic.script import Script

from .problem import Problem
from .schema import Column, Schema

ROWS_SHOWN = 20


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


def schema(now: Schema, before: Schema | None = None) -> Picture:
    """All tables; where `before` is given, what changed since then is marked + (new), - (gone) and ~ (changed)."""
    before = before or now
    names = sorted(now.tables.keys() | before.tables.keys())
    text, mermaid, links = [], ["erDiagram", f"    accTitle: The tables {', '.join(names)}; the text says the same"], []
    for name in names:
        columns, earlier = _columns(now, name), _columns(before, name)
        text.append(f"{_mark(now.tables.get(name), before.tables.get(name), whole=True)} {name}")
        mermaid.append(f"    {name} {{")
        for column in [*columns.values(), *(c for c in earlier.values() if c.name not in columns)]:
            mark = _mark(columns.get(column.name), earlier.get(column.name))
            text.append(f"{mark}     {column.name:<14}{column.type:<26}{column.notes()}".rstrip())
            mermaid.append(f"        {_mermaid_column(column, mark)}")
            if column.refers_to and column.name in columns:
                links.append(f"    {column.refers_to} ||--o{{ {name} : {column.name}")
        mermaid.append("    }")
    if not text:
        return Picture("(no tables)")
    return Picture("\n".join(text), "\n".join(mermaid + links))


def _columns(schema: Schema, table: str) -> dict[str, Column]:
    return schema.tables[table].columns if table in schema.tables else {}


def table(cursor, name: str) -> Picture:
    """One table with its columns and everything that has a name of its own: keys, constraints, indexes, sequences."""
    found = Schema.read(cursor).tables.get(name)
    if found is None:
        raise Problem(f'There is no table "{name}" in this database.\nhere.schema() shows those that there are.')
    columns, parts = found.columns.values(), [(part.kind, part.name, part.definition) for part in found.parts]
    text = [name, *(f"    {c.name:<14}{c.type:<26}{c.notes()}".rstrip() for c in columns)]
    text += [f"  {kind:<12}{part:<34}{definition}" for kind, part, definition in parts]
    rows = [(c.name, c.type, c.notes()) for c in columns]
    markup = html_table(("column", "type", ""), rows, caption=name)
    if parts:
        markup += html_table(("", "name", "definition"), parts, caption=f"what has a name of its own on {name}")
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
    markup = html_table(heads, rows) + f"<p>{tail}</p>"
    return Picture("\n".join([*lines, tail]), markup=markup)


def revisions(found: list[Script], applied: list[str]) -> Picture:
    """The revisions `found`, newest first, with where the database stands (`applied`)."""
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
    title = f"    accTitle: Revisions from base to head, with the database at {' and '.join(applied) or 'base'}"
    style = "    classDef here stroke-width:4px"
    return Picture("\n".join(text), "\n".join(["flowchart LR", title, *reversed(boxes), *reversed(arrows), style]))


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


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads somewhere."""

    target: str
    text: str


def html_table(heads, rows, caption: str = "") -> str:
    def cells(tag, values):
        return "<tr>" + "".join(f"<{tag}>{_html(value)}</{tag}>" for value in values) + "</tr>"

    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(cells("td", row) for row in rows)
    return f"<table>{title}<thead>{cells('th', heads)}</thead><tbody>{body}</tbody></table>"


def _html(value) -> str:
    if isinstance(value, Link):
        return f'<a href="{html.escape(value.target)}">{html.escape(value.text)}</a>'
    return html.escape(str(value))
