"""What an answer can be held to. Each rule looks at one thing, and says what it found in plain words.

Rules compare meaning, not text: a name or an order counts only where the exercise fixed it.
"""

import re

import psycopg2

from ..schema import LEGEND, differences
from .evidence import Evidence
from .finding import Finding, Rule, few
from .keeps import EVERYTHING, Keeps
from .snapshot import looking_at

ANY = object()  # "whatever it is"


def keeps_rows(keeps: Keeps = EVERYTHING) -> Rule:
    """No row and no value of the live database was lost."""

    def examine(evidence):
        if lost := keeps.lost(evidence.start, evidence.live):
            return Finding(
                "rows or values were lost on the way.",
                lost,
                "every row and every value that was there at the beginning",
                f'the statements that delete or overwrite; to begin again, run exercise("{evidence.exercise.name}")',
            )
        return None

    return Rule("keeps rows", examine)


def revisions(mend: tuple[str, ...] = (), may_wait: bool = False) -> Rule:
    """There is a new revision with a message, one head, the database is there, and no earlier file was changed.

    `mend` names revision files, by a part of their path, that may be changed; then none needs to be new.
    With `may_wait` new revisions need not be applied.
    """

    def examine(evidence):
        if not (evidence.folder / "migrations").is_dir():
            return Finding("There is no folder migrations any more.", look="git restore migrations brings it back")
        touched = [name for name in evidence.changed() & evidence.begun["files"].keys() if "/versions/" in name]
        touched = [name for name in sorted(touched) if not any(part in name for part in mend)]
        if touched:
            return Finding(
                "a revision that others have applied already was changed or deleted.",
                few(touched),
                "its file as you found it, and your change in a revision of its own",
                _as_found(evidence, touched[0]),
            )
        failed, where = evidence.commands.run(evidence.url, "flask routes")
        if failed:
            return Finding("the application does not start.", failed, "flask routes succeeds", where)
        new, heads = evidence.new_revisions, evidence.heads
        if not new and not mend:
            return Finding(
                "there is no revision for your change yet.",
                "migrations/versions holds the files that were there at the beginning",
                "one more file",
                'flask db migrate -m "...", or flask db revision -m "..." for what you write yourself; where you have '
                f'changed the database by hand, begin again with exercise("{evidence.exercise.name}")',
            )
        if len(heads) > 1:
            return Finding(
                f"there are {len(heads)} heads: two revisions follow the same one.",
                ", ".join(heads),
                "one chain of revisions with one head",
                "flask db heads; the down_revision in the files in migrations/versions. Is there one too many?",
            )
        for revision in new:
            if revision.doc == "empty message" or revision.doc.startswith("Revision ID"):
                return Finding(
                    f"the revision {revision.revision} has no message, so nobody will find it.",
                    evidence.path(revision),
                    'a few words on what it changes, as in -m "add ..."',
                    "the first line of the file; or delete it and write it again with -m",
                )
        if may_wait:
            return None
        problem = "the database does not stand at your newest revision."
        return behind(evidence, evidence.live.applied, problem, "flask db current, then flask db upgrade")

    return Rule("revisions", examine)


def behind(evidence: Evidence, applied: list[str], problem: str, look: str) -> Finding | None:
    """What is to be said where a database at the revisions `applied` is not at the head."""
    if applied == evidence.heads:
        return None
    at, needed = ", ".join(applied) or "no revision", ", ".join(evidence.heads)
    return Finding(problem, f"database at {at}", f"at the head, {needed}", look)


def at_head() -> Rule:
    """The live database is at the head, where no revision had to be written."""

    def examine(evidence):
        look = "flask db current. Did the last upgrade really change something?"
        return behind(evidence, evidence.live.applied, "your database is not at the head.", look)

    return Rule("database", examine)


FILES = """
SELECT relname, pg_relation_filenode(oid) FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


def same_files(look: str) -> Rule:
    """One `flask db upgrade` of the starting data writes no table anew: each stays in its file."""

    def examine(evidence):
        url = evidence.fresh("files")
        with looking_at(url) as connection, connection.cursor() as cursor:
            cursor.execute(FILES)
            before = dict(cursor.fetchall())
            if evidence.commands.run(url, "flask db upgrade")[0]:
                return None  # that is the replay's to tell
            cursor.execute(FILES)
            after = dict(cursor.fetchall())
        anew = sorted(table for table, file in before.items() if after.get(table, file) != file)
        if not anew:
            return None
        return Finding("the upgrade writes a table anew.", ", ".join(anew), "every table stays in its file", look)

    return Rule("same files", examine)


def _as_found(evidence: Evidence, file: str) -> str:
    """How to bring a revision's file back; where it has run as it is now, that comes after going back with it."""
    start = evidence.start.applied
    if start and evidence.live.applied != start and (evidence.folder / file).is_file():
        return f"first flask db downgrade {' '.join(start)}, with the file as it is now, then git checkout -- {file}"
    return f"git checkout -- {file}"


def together(name: str, *rules: Rule) -> Rule:
    """Several rules as one: what the first of them has to say."""

    def examine(evidence):
        return next((finding for rule in rules if (finding := rule.examine(evidence))), None)

    return Rule(name, examine)


def column(table: str, name: str, type: str, required: bool = False, default=ANY) -> Rule:
    """The table has the column, with this type in PostgreSQL's words. `default` None stands for none at all."""

    def examine(evidence):
        columns = evidence.live.schema.tables[table].columns if table in evidence.live.schema.tables else {}
        if name not in columns:
            return Finding(
                f"{table} has no column {name}.",
                f"columns: {', '.join(columns) or 'none, and no such table'}",
                f"{name}  {type}",
                f'here.table("{table}"); was your revision applied?',
            )
        found = columns[name]
        expected = f"{name}  {type}{'  not null' * required}"
        if found.type != type:
            return Finding(
                f"{table}.{name} has another type.",
                f"{name}  {found}",
                expected,
                "the type in model and revision",
            )
        if found.required != required:
            problem = f"{table}.{name} " + (
                "may be empty." if required else "is required, and it should be allowed to be empty."
            )
            return Finding(problem, f"{name}  {found}", expected, "Mapped[...] in the model, nullable= in the revision")
        if default is not ANY and _plain(found.default) != default:
            return Finding(
                f"{table}.{name} has {'a wrong' if default else 'a'} default."
                if found.default
                else f"{table}.{name} has no default.",
                f"{name}  {found}",
                f"default {default}" if default else "no default",
                "server_default in the model and in the revision",
            )
        return None

    return Rule(f"column {table}.{name}", examine)


def _plain(default: str | None) -> str | None:
    """A default without the casts that PostgreSQL adds."""
    return re.sub(r"::[a-z ]+(\(\d+(,\d+)?\))?(\[\])?", "", default) if default else None


def no_column(table: str, name: str) -> Rule:
    """The table has no such column (any more)."""

    def examine(evidence):
        columns = evidence.live.schema.tables[table].columns if table in evidence.live.schema.tables else {}
        if name in columns:
            return Finding(
                f"{table} still has a column {name}.",
                f"{name}  {columns[name]}",
                f"no column {name}",
                f'here.table("{table}"); was your revision applied?',
            )
        return None

    return Rule(f"no column {table}.{name}", examine)


def part(table: str, kind: str, columns: tuple[str, ...], like: str = "") -> Rule:
    """The table has, under whatever name, a "primary key", "foreign key", "unique", "check" or "index" on `columns`.

    A unique index counts as "unique" as well; a constraint NOT VALID or an invalid index does not count. `like` is a
    regular expression that its definition has to hold.
    """

    def examine(evidence):
        parts = evidence.live.schema.tables[table].parts if table in evidence.live.schema.tables else []
        for found in parts:
            unique_index = kind == "unique" and found.kind == "index" and found.definition.startswith("UNIQUE")
            partial = unique_index and " WHERE " in found.definition
            whole = not partial and not re.search("INVALID|NOT VALID", found.definition)
            same = (found.kind == kind or unique_index) and found.columns == tuple(sorted(columns))
            if same and whole and re.search(like, found.definition):
                return None
        there_are = [f"{found.name}: {found.definition}" for found in parts if set(found.columns) & set(columns)]
        valid = ", valid" if any("VALID" in definition for definition in there_are) else ""
        return Finding(
            f"{table} lacks the {kind} on {', '.join(columns)}.",
            few(there_are) or "nothing on these columns",
            f"{kind} on {', '.join(columns)}" + (f", like {like}" if like else "") + valid,
            f'here.table("{table}"), and whether the revision makes it',
        )

    return Rule(f"{kind} {table}.{','.join(columns)}", examine)


def rows(name: str, query: str, expected: list[tuple], problem: str, look: str = "", words: str = "") -> Rule:
    """A query on the live database gives these rows; `words` say what they mean where rows do not."""

    def examine(evidence):
        try:
            found = evidence.query(query)
        except psycopg2.Error as error:
            return Finding(problem, str(error).strip().splitlines()[0], words or _table(expected), look)
        if found != expected:
            return Finding(problem, _table(found) or "no rows", words or _table(expected) or "no rows", look)
        return None

    return Rule(name, examine)


def refuses(name: str, statement: str, problem: str, look: str = "") -> Rule:
    """The live database refuses a statement; it is tried, and undone. It must not count a sequence on."""

    def examine(evidence):
        said = _tried(evidence, statement)
        return None if said else Finding(problem, "PostgreSQL accepts it:\n" + statement, "an error", look)

    return Rule(name, examine)


def accepts(name: str, statement: str, problem: str, look: str = "") -> Rule:
    """The live database takes a statement; it is tried, and undone."""

    def examine(evidence):
        said = _tried(evidence, statement)
        return Finding(problem, said, "PostgreSQL accepts it:\n" + statement, look) if said else None

    return Rule(name, examine)


def _tried(evidence: Evidence, statement: str) -> str:
    with looking_at(evidence.url) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        try:
            cursor.execute(statement)
        except psycopg2.Error as error:
            return str(error).strip().splitlines()[0]
        finally:
            connection.rollback()
    return ""


def only(*allowed: str, new_tables: bool = False) -> Rule:
    """Nothing else in the schema changed. `allowed` are tables, and columns as in "books.isbn" with what is on them.

    With `new_tables` tables may have come along, whatever they are called.
    """

    def examine(evidence):
        before = evidence.start.schema
        others = [
            text
            for table, columns, text in differences(before, evidence.live.schema)
            if table not in allowed and not any(f"{table}.{column}" in allowed for column in columns)
            if not (new_tables and table not in before.tables)
        ]
        if others:
            return Finding(
                "something changed that has nothing to do with the task.",
                few(others),
                (f"changes of {' and '.join(allowed)} only" if allowed else "the schema as it was") + f" {LEGEND}",
                "what else your revision holds, and what was done by hand" if allowed else "what was done by hand",
            )
        return None

    return Rule("only", examine)


def _table(rows: list[tuple]) -> str:
    return few([" | ".join("(nothing)" if value is None else str(value) for value in row) for row in rows])
