from ..checks.backup import LEAVES
from ..checks.clients import client
from ..checks.finding import Finding, Rule, few
from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, only, revisions, rows, together
from ..checks.snapshot import Snapshot
from ..problem import Problem
from ..schema import differences
from ..starting import Start
from . import Exercise

BEFORE_FAX = "d1aec552451b"
SCRIPT = "release.sql"


def as_found() -> Rule:
    """No revision file was changed, added or deleted: the exercise is about applying them."""

    def examine(evidence):
        touched = sorted(name for name in evidence.changed() if "/versions/" in name and name.endswith(".py"))
        if not touched:
            return None
        return Finding(
            "the revisions are not as you found them, and nothing in them needs a change here.",
            few(touched),
            "the three files of the beginning",
            "git status; delete what is new, and git checkout -- migrations brings back the others",
        )

    return Rule("files", examine)


def made(evidence, target: str) -> Snapshot:
    """What an upgrade to `target` makes of an empty database. One that fails is a Problem."""
    failed, where = evidence.commands.run(evidence.scratch, f"flask db upgrade {target}")
    if failed:
        raise Problem(f"the revisions do not run on an empty database: {failed}\n{where or 'flask db upgrade'}")
    return Snapshot.read(evidence.scratch)


def stands_before_fax() -> Rule:
    """The database says that it stands at the revision before the fax."""

    def examine(evidence):
        applied = evidence.live.applied
        if applied == [BEFORE_FAX]:
            return None
        again = f'to begin again, run exercise("{evidence.exercise.name}")'
        if not applied:
            problem, look = "the database stands at no revision.", "flask db upgrade with an id, then flask db current"
            if evidence.live.schema.tables:
                problem = "there are tables, but the database does not know at which revision it stands."
                look = f"who made the tables: an upgrade writes its revision down; {again}"
        elif applied == ["66302abf347d"]:
            problem, look = "the database stopped too early.", "flask db history, and what still comes before the fax"
        else:
            problem, look = "the database stands at another revision.", f"flask db current; {again}"
            if applied == ["e2062c5f334d"]:
                problem = "the database went too far: it stands at the revision that adds the fax."
        return Finding(
            problem,
            f"database at {', '.join(applied) or 'no revision'}",
            "the revision right before the one that adds the fax",
            look,
        )

    return Rule("current", examine)


def tables_before_fax() -> Rule:
    """The tables are those that the revisions make up to there."""

    def examine(evidence):
        if other := differences(made(evidence, BEFORE_FAX).schema, evidence.live.schema):
            return Finding(
                "the tables are not those that the revisions make up to this point.",
                few([text for _, _, text in other]),
                "what flask db upgrade makes of an empty database, without the fax",
                "here.schema(). Did somebody write into alembic_version without running anything? "
                f'To begin again, run exercise("{evidence.exercise.name}")',
            )
        return None

    return Rule("tables", examine)


HALFWAY = Exercise(
    "03_halfway",
    start=Start("written"),
    goal="""
        The four tables of the bookshop are there, and customers has no column fax.
        flask db current names the last revision before the one that adds it.
    """,
    rules=(as_found(), stands_before_fax(), tables_before_fax()),
)


def written() -> Rule:
    """There is a script."""

    def examine(evidence):
        path = evidence.folder / SCRIPT
        if path.is_file() and path.read_bytes().strip():
            return None
        new = sorted(name for name in evidence.changed() if name.endswith(".sql") and name != SCRIPT)
        return Finding(
            f"{SCRIPT} is empty." if path.is_file() else f"there is no file {SCRIPT} in the folder of this exercise.",
            f"other files with SQL: {', '.join(new) or 'none'}",
            f"{SCRIPT}, which the administrator can run without flask",
            "the command that prints the statements; > and a name behind a command send its output into a file",
        )

    return Rule("file", examine)


def script_works() -> Rule:
    """The script takes an empty database to the head; it is played into one of its own."""

    def examine(evidence):
        path = evidence.folder / SCRIPT
        if not path.is_file() or not path.read_bytes().strip():
            return None  # the rule "file" tells it
        if LEAVES.search(path.read_bytes()):
            return Finding(
                f"{SCRIPT} would go into a database of its own choice.",
                "lines like CREATE DATABASE or \\connect",
                "statements for the database that psql is connected to",
                "flask db upgrade --sql, which writes no such line",
            )
        url = evidence.another("script")
        error = play(evidence, url)
        if error:
            return Finding(
                f"psql stops in {SCRIPT} when the file is played into an empty database.",
                error,
                "SQL from the first line to the last, which begins with an empty database",
                f"head {SCRIPT}: does it hold lines that are not SQL, or begin with a later revision?",
            )
        whole, now = made(evidence, "head"), Snapshot.read(url)
        if now.applied != whole.applied:
            return Finding(
                f"{SCRIPT} does not lead to the newest revision.",
                f"afterwards alembic_version says: {', '.join(now.applied) or 'nothing'}",
                f"the head, {', '.join(whole.applied)}",
                "the range that you gave to --sql. Without one it is all revisions",
            )
        if other := differences(whole.schema, now.schema):
            return Finding(
                f"{SCRIPT} makes other tables than the revisions.",
                few([text for _, _, text in other]),
                "the same schema",
                "what was changed in the file after flask db upgrade --sql had written it",
            )
        return None

    return Rule("script", examine)


def play(evidence, url) -> str:
    """Run the script with psql in the database `url`; the error that it stopped with, if any."""
    script = (evidence.folder / SCRIPT).read_bytes()
    result = client(evidence, url, "psql", "--quiet", "--set", "ON_ERROR_STOP=1", input=script)
    said = result.stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line for line in said if "ERROR:" in line] or said[-1:]
    return " ".join((errors or [f"exit code {result.returncode}"])[0].split()) if result.returncode else ""


def applied() -> Rule:
    """The learner's own database is at the head."""

    def examine(evidence):
        whole, live = made(evidence, "head"), evidence.live
        if live.applied != whole.applied:
            return Finding(
                f"{SCRIPT} has not been played into your database, or not to its end.",
                f"database at {', '.join(live.applied) or 'no revision'}; "
                f"tables: {', '.join(sorted(live.schema.tables)) or 'none'}",
                f"database at {', '.join(whole.applied)}",
                f"psql < {SCRIPT} in a cell, and what it says",
            )
        if other := differences(whole.schema, live.schema):
            return Finding(
                "the tables in your database are not those of the revisions.",
                few([text for _, _, text in other]),
                f"what {SCRIPT} makes of an empty database",
                f'what else was done there; to begin again, run exercise("{evidence.exercise.name}")',
            )
        return None

    return Rule("database", examine)


RELEASE = Exercise(
    "03_script",
    start=Start("written"),
    goal="""
        release.sql, in the folder of the exercise, leads from an empty database to the head.
        psql runs it from its first line to its last. Your database has got there with it.
    """,
    rules=(as_found(), written(), script_works(), applied()),
)

BREAKS = Exercise(
    "03_breaks",
    start=Start("filled", left="03_breaks"),
    goal="""
        books
            pages         integer
            shelf         character varying(1)      the first letter of name; with an index
        The revisions in the folder run on a shop with books and on an empty one, and both
        can be undone. The database is at the head.
    """,
    rules=(
        revisions(mend=("add_pages_to_books", "put_books_on_shelves")),
        together(
            "columns",
            column("books", "pages", "integer"),
            column("books", "shelf", "character varying(1)"),
        ),
        rows(
            "shelves",
            "SELECT name, shelf FROM books WHERE shelf IS DISTINCT FROM left(name, 1) ORDER BY name LIMIT 3",
            [],
            "not every book stands on the shelf with the first letter of its name. Some that do not:",
            "the UPDATE in the revision",
        ),
        only("books.pages", "books.shelf"),
        keeps_rows(),
        replay(),
    ),
)

EXERCISES = (HALFWAY, RELEASE, BREAKS)
