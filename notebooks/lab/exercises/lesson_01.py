import os
import re
import subprocess

from ..checks.evidence import Evidence
from ..checks.finding import Finding, Rule, few
from ..starting import Start
from . import Exercise

MADE_BY_INIT = ("alembic.ini", "env.py", "script.py.mako")
BOOKSHOP = {"books", "customers", "orders", "order_lines"}


def migrations_folder(name: str = "migrations", init: str = "flask db init") -> Rule:
    """`flask db init` has made the folder `name`, by the command `init`, and there is no revision in it yet."""

    def examine(evidence):
        folder = evidence.folder / name
        missing = [file for file in MADE_BY_INIT if not (folder / file).is_file()]
        if missing:
            others = [path.parent for path in evidence.folder.rglob("env.py") if path.parent != folder]
            others = [f"{path.relative_to(evidence.folder).as_posix()}/" for path in others]
            return Finding(
                f"the folder {name} is incomplete." if folder.is_dir() else f"there is no folder {name}.",
                f"missing: {', '.join(missing)}" + (f"; a folder of this kind: {', '.join(others)}" if others else ""),
                f"{name}/ as {init} makes it",
                "what flask db init said; its option -d, or directory= in Migrate, names the folder",
            )
        written = sorted(path.name for path in (folder / "versions").glob("*.py"))
        if written:
            return Finding(
                "a revision was written already, and the task ends before the first one.",
                few(written),
                f"{name}/versions/ without a file",
                f"delete it: rm {name}/versions/*.py",
            )
        return None

    return Rule(f"folder {name}", examine)


def _in_git(evidence: Evidence, *arguments: str) -> list[str] | None:
    """What git says in the copy, without a repository around it, as lines; None where it refuses."""
    variables = {**os.environ, "GIT_CEILING_DIRECTORIES": str(evidence.folder.parent)}
    command = ["git", "-c", "core.quotePath=false", *arguments]
    result = subprocess.run(command, cwd=evidence.folder, env=variables, capture_output=True, text=True)
    return None if result.returncode else result.stdout.splitlines()


def _committed(evidence: Evidence) -> Finding | None:
    expected = "the application and the folder migrations in a commit"
    if _in_git(evidence, "rev-parse", "--git-dir") is None:
        return Finding("the copy is not under version control.", "no git repository", expected, "git init")
    committed = _in_git(evidence, "ls-tree", "-r", "--name-only", "HEAD")
    if committed is None:
        return Finding("nothing is committed yet.", "a repository without a commit", expected, "git status; git commit")
    files = evidence.begun["files"].keys() - {".env"}
    files |= {f"migrations/{file}" for file in MADE_BY_INIT if (evidence.folder / "migrations" / file).is_file()}
    if left_out := sorted(files - set(committed)):
        return Finding("not everything is committed.", few(left_out), expected, "git status; git add, git commit")
    if changed := _in_git(evidence, "diff", "--name-only", "HEAD"):
        return Finding(
            "files were changed after the last commit.",
            few(changed),
            "the files as they are, in a commit",
            "git status; git diff HEAD",
        )
    return None


def _no_password(evidence: Evidence) -> Finding | None:
    commits = _in_git(evidence, "log", "--all", "--format=%h %s", "--", ".env")
    if commits:
        return Finding(
            "the database's password is in a commit, where everybody who gets the code can read it.",
            ".env in " + few(commits),
            "no commit that has .env, not even an earlier one",
            "rm -r .git begins again; then git add without --force, and .gitignore as it was",
        )
    return None


def finds_tables(tables: set[str], folder: str = "migrations", app: str = "", pages: tuple[str, ...] = ()) -> Rule:
    """`flask db check` finds these `tables` in the models of `app`, on an empty database.

    The `pages` get as far as asking that database for its rows, which means that they use the same db.
    """
    command = f"flask {f'--app {app} ' * bool(app)}db check{f' -d {folder}' * (folder != 'migrations')}"

    def examine(evidence):
        if not (evidence.folder / folder / "env.py").is_file():
            return None  # the rule on the folder has said so
        # The pages first: env.py turns off the log that says why one fails.
        answers = {page: evidence.commands.run(evidence.scratch, page)[0] for page in pages}
        said, where = evidence.commands.run(evidence.scratch, command)
        return _checked(tables, app, command, said, where) or _asked(answers)

    return Rule("models", examine)


def _checked(tables: set[str], app: str, command: str, said: str, where: str) -> Finding | None:
    """What there is to say of a `flask db check` that ended with the error `said`."""
    found = set(re.findall(r"\('add_table', Table\('(\w+)'", said))
    expected = f"{command} finds that these are missing: {', '.join(sorted(tables))}"
    if found == tables:
        return None
    if "No such command 'db'" in said:
        return Finding(
            "the application has no db command.",
            said,
            expected,
            f"its first line; whether a Migrate gets both, the application that {app or 'manage'}.py names and its db",
        )
    if said and not said.startswith("Error: New upgrade operations"):
        return Finding(f"{command} fails.", said, expected, where or "the whole message: run the command")
    return Finding(
        "Flask-Migrate sees other models." if found - tables else "Flask-Migrate does not see the models.",
        f"tables: {', '.join(sorted(found)) or 'none'}",
        expected,
        "which db the models are made with, and which db Migrate was given: is it the same object?",
    )


def _asked(answers: dict[str, str]) -> Finding | None:
    for page, error in answers.items():
        if error and not error.startswith("UndefinedTable"):  # the database is empty
            return Finding(
                "flask db check is right, but the website does not work with this db.",
                f"{page}: {error}",
                "one db that the whole application uses",
                "grep -rn 'import db' bookshop",
            )
    return None


def _left_alone(evidence: Evidence) -> Finding | None:
    if tables := sorted(evidence.live.schema.tables):
        return Finding(
            "the database is not empty any more.",
            f"tables: {', '.join(tables)}",
            "no table before the first revision",
            f'what made them; here.sql("DROP TABLE {", ".join(tables)} CASCADE") takes them away',
        )
    return None


EMPTY = Rule("database left alone", _left_alone)

SET_UP = Exercise(
    "01_set_up",
    start=Start("application"),
    goal="""
        migrations/   as flask db init makes it, without a revision
        git           everything committed, but for .env
        database      empty, as it was
    """,
    rules=(migrations_folder(), Rule("committed", _committed), Rule("no password", _no_password), EMPTY),
)

STOCKROOM_INIT = "flask --app stockroom db init -d stockroom_migrations"

STOCKROOM = Exercise(
    "01_stockroom",
    start=Start("application", left="01_stockroom"),
    goal="""
        stockroom_migrations/   as flask db init makes it, without a revision
        flask --app stockroom db check -d stockroom_migrations
                                finds that the table shelves is missing
        database                empty, as it was
    """,
    rules=(
        migrations_folder("stockroom_migrations", STOCKROOM_INIT),
        finds_tables({"shelves"}, "stockroom_migrations", "stockroom"),
        EMPTY,
    ),
)

NO_COMMAND = Exercise(
    "01_no_command",
    start=Start("application", left="01_no_command"),
    goal="""
        migrations/      as flask db init makes it, without a revision
        flask db check   finds that four tables are missing: books, customers, orders, order_lines
        database         empty, as it was
        The website and Flask-Migrate use the same db.
    """,
    rules=(migrations_folder(), finds_tables(BOOKSHOP, pages=("GET /health", "GET /", "GET /customers/1")), EMPTY),
)

EXERCISES = (SET_UP, STOCKROOM, NO_COMMAND)
