import json
import os
import subprocess
import sys
from contextlib import closing

from sqlalchemy.engine import URL, make_url

from .. import database, starting
from ..checks.evidence import Evidence
from ..checks.finding import Finding, Rule, few
from ..checks.rules import behind, column, keeps_rows, only, revisions, together
from ..checks.snapshot import Snapshot
from ..commands import last_words
from ..schema import LEGEND, differences
from ..server import connect
from ..starting import Start
from . import Exercise

PATIENCE = 15  # seconds for one look at the application
SETTINGS = ".env.demo"
FOUR = ("development", "testing", "staging", "production")

# What `flask --env-file .env.demo` tells the application, and which of the four environments it still knows.
ASK = f"""
import json, os
from flask.cli import ScriptInfo, load_dotenv

load_dotenv({SETTINGS!r})
app = ScriptInfo(app_import_path=os.environ.get("FLASK_APP")).load_app()
os.environ.setdefault("SECRET_KEY", "any")
known = []
for name in {FOUR!r}:
    os.environ["FLASK_ENV"] = name
    try:
        from bookshop import create_app
        create_app()
    except Exception:
        continue
    known.append(name)
config = app.config
print(json.dumps({{
    "environment": config.get("ENVIRONMENT"),
    "url": str(config["SQLALCHEMY_DATABASE_URI"]),
    "secure": bool(config["SESSION_COOKIE_SECURE"]),
    "known": known,
}}))
"""


def _told(evidence: Evidence) -> tuple[dict, str]:
    """What the settings in the file tell the application, or the error with which it does not start."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", ASK],
            cwd=evidence.folder,
            env=starting.plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return {}, "the application did not come to an end of its start"
    if result.returncode:
        return {}, last_words(result.stderr)[0]
    return json.loads(result.stdout.splitlines()[-1]), ""


def _demo(evidence: Evidence) -> URL | None:
    """The database that here.database("demo") made."""
    return database.find(evidence.server, f"{evidence.exercise.name}_demo")


def _same(one: URL, other: URL) -> bool:
    return (one.host, one.port or 5432, one.database) == (other.host, other.port or 5432, other.database)


def _settings(evidence: Evidence) -> Finding | None:
    """`flask --env-file .env.demo` leads to the settings and the database of demo; the four others are still there."""
    demo = _demo(evidence)
    if demo is None:
        return Finding(
            "there is no database for the demo shop yet.",
            "no second database of this exercise",
            'the one that here.database("demo") makes',
            'demo = here.database("demo"), and demo.url',
        )
    if not (evidence.folder / SETTINGS).is_file():
        others = sorted(name for name in evidence.changed() if name.startswith(".env"))
        return Finding(
            f"there is no file {SETTINGS} in the folder of this exercise.",
            f"new or changed: {', '.join(others) or 'no file of settings'}",
            f"{SETTINGS} with four variables",
            ".env.staging.example, which has the same ones",
        )
    told, failed = _told(evidence)
    command = f"flask --env-file {SETTINGS}"
    if failed:
        return Finding(
            f"the application does not start with {SETTINGS}.",
            failed,
            f"{command} routes succeeds",
            "the variables in the file, and ENVIRONMENTS in bookshop/settings.py",
        )
    if told["environment"] != "demo":
        return Finding(
            f"{SETTINGS} chooses the settings of another environment.",
            f"settings for {told['environment']}",
            "settings for demo",
            f"FLASK_ENV in {SETTINGS}. What the file leaves out comes from .env",
        )
    url = make_url(told["url"])
    if not _same(url, demo):
        own = _same(url, evidence.url)
        return Finding(
            f"{SETTINGS} leads to another database than the one of the demo shop.",
            "your own database" if own else f"a database {url.database}",
            'the one that here.database("demo") made',
            f"DATABASE_URL in {SETTINGS}"
            + (". Without that line the flask command takes the one in .env, and says nothing" if own else ""),
        )
    if not told["secure"]:
        return Finding(
            "the demo shop's settings are not those of staging.",
            "SESSION_COOKIE_SECURE is not set",
            "SESSION_COOKIE_SECURE is True, as in staging",
            "ENVIRONMENTS in bookshop/settings.py",
        )
    if missing := [name for name in FOUR if name not in told["known"]]:
        return Finding(
            "an environment that was there before does not start any more.",
            f"not known: {', '.join(missing)}",
            "five environments, the four of before among them",
            "ENVIRONMENTS in bookshop/settings.py: demo is one more line",
        )
    return None


def _left_alone(evidence: Evidence) -> Finding | None:
    """The learner's own database is as it was."""
    start, live = evidence.start, evidence.live
    changed = [text for _, _, text in differences(start.schema, live.schema)]
    changed += [
        f"other rows in {table}"
        for table, rows in start.rows.items()
        if table in live.rows and _without_new(live.rows[table], start.schema.tables[table].columns) != rows
    ]
    if live.applied != start.applied or changed:
        return Finding(
            "your own database was changed, and it was to stay as it was.",
            few([f"database at {', '.join(live.applied) or 'no revision'}", *changed]),
            f"database at {', '.join(start.applied)}, as at the beginning",
            "a command without --env-file, or before DATABASE_URL stood in the file. "
            f"flask db downgrade takes the revision back; to begin again, run exercise({evidence.exercise.name!r})",
        )
    return None


def _without_new(rows: list[dict], columns) -> list[dict]:
    """The rows without columns that came along: what else changed in them is another matter."""
    return [{name: value for name, value in row.items() if name in columns} for row in rows]


def _filled(evidence: Evidence) -> Finding | None:
    """The demo shop's database stands at the head, and has the sample data."""
    demo = _demo(evidence)
    if demo is None:
        return None  # the rule on the settings tells it
    now = Snapshot.read(demo)
    problem = "the demo shop's database does not stand at the newest revision."
    look = f"flask --env-file {SETTINGS} db upgrade, and then db current"
    if finding := behind(evidence, now.applied, problem, look):
        return finding
    empty = [table for table in sorted(evidence.start.rows) if not now.rows.get(table)]
    if empty:
        return Finding(
            "there is nothing to show in the demo shop.",
            f"no rows in: {', '.join(empty)}",
            "books, customers and orders",
            f"flask --env-file {SETTINGS} seed",
        )
    return None


def _not_in_git(evidence: Evidence) -> Finding | None:
    """No commit and no staged file holds the password."""
    variables = {**os.environ, "GIT_CEILING_DIRECTORIES": str(evidence.folder.parent)}

    def git(*arguments: str) -> list[str]:
        said = subprocess.run(
            ["git", *arguments, "--", SETTINGS], cwd=evidence.folder, env=variables, capture_output=True, text=True
        )
        return said.stdout.splitlines()

    found = git("log", "--all", "--format=commit %h %s") or git("ls-files")
    if found:
        return Finding(
            f"{SETTINGS} is in version control, and with it a password.",
            few(found),
            f"no commit with {SETTINGS}, and nothing staged",
            f".gitignore, which leaves it out; git rm --cached {SETTINGS}, and git reset --soft HEAD~1 for a commit",
        )
    return None


DEMO = Exercise(
    "11_demo",
    start=Start("filled", left="11_demo"),
    goal="""
        flask --env-file .env.demo leads to settings called demo and to the database demo.
        That database is at the head and filled. The other environments are as they were.
        Your own database is as it was. No password is in git.
    """,
    rules=(
        Rule("settings", _settings),
        Rule("own database", _left_alone),
        Rule("demo database", _filled),
        Rule("no password", _not_in_git),
    ),
)

ISBN = column("books", "isbn", "character varying(13)")
NEXT_YEAR = """
    CREATE TABLE acct_2027 (id int PRIMARY KEY, amount numeric);
    CREATE INDEX acct_2027_amount ON acct_2027 (amount);
"""
LEFTOVERS = """
    CREATE TABLE old_stock (id int PRIMARY KEY);
    CREATE TABLE acc (id int PRIMARY KEY);
    ALTER TABLE books ADD COLUMN leftover text, ADD COLUMN acct_code text;
"""
# What the comparison has to say of these: a text in it.
NOTICED = {
    "a table old_stock": "Table('old_stock'",
    "a table acc": "Table('acc'",
    "a column leftover in books": "'leftover'",
    "a column acct_code in books": "'acct_code'",
}


def _execute(url: URL, statement: str) -> None:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _there_and_back(evidence: Evidence) -> Finding | None:
    """The revision runs on a fresh copy of the start, can be undone, and runs again."""
    start, url = evidence.start, evidence.scratch
    back = f"flask db downgrade {' '.join(start.applied)}"
    for command in ("flask db upgrade", back, "flask db upgrade"):
        failed, where = evidence.commands.run(url, command)
        if failed:
            return Finding("your revision does not run there and back.", failed, f"{command} succeeds", where)
        if command == back and (left := differences(start.schema, Snapshot.read(url).schema)):
            return Finding(
                "after going back the schema is not what it was before.",
                few([text for _, _, text in left]),
                f"downgrade() undoes all that upgrade() does {LEGEND}",
                "downgrade() in your revision",
            )
    return None


def _compares(evidence: Evidence) -> Finding | None:
    """There, the comparison passes over the accountant's tables, and over nothing else."""
    url = evidence.scratch
    _execute(url, NEXT_YEAR)
    said, where = evidence.commands.run(url, "flask db check")
    look = where or "include_object: by what does it know the accountant's tables, and is it in context.configure?"
    if "acct_" in said:
        whose = "the accountant's tables" if "acct_2026" in said else "next year's tables"
        return Finding(f"flask db migrate would remove {whose}.", said[:300], "no word of acct_", look)
    if said:
        return Finding("models and tables do not agree.", said[:300], "flask db check succeeds", where)
    _execute(url, LEFTOVERS)
    said, where = evidence.commands.run(url, "flask db check")
    if overlooked := [what for what, word in NOTICED.items() if word not in said]:
        return Finding(
            "flask db check does not notice what it should notice.",
            f"it was tried with these, and said nothing of: {', '.join(overlooked)}",
            "only the tables whose names begin with acct_ are left out",
            where or "the condition in include_object",
        )
    return None


ACCOUNTS = Exercise(
    "11_accounts",
    start=Start(
        "filled",
        left="11_accounts",
        sql="""
            CREATE TABLE acct_2025 (id int PRIMARY KEY, amount numeric);
            CREATE TABLE acct_2026 (LIKE acct_2025 INCLUDING ALL);
            CREATE INDEX acct_2026_amount ON acct_2026 (amount);
            INSERT INTO acct_2025 SELECT n, n * 2.5 FROM generate_series(1, 12) AS n;
            INSERT INTO acct_2026 SELECT n, n * 3.5 FROM generate_series(1, 10) AS n;
        """,
    ),
    goal="""
        books
            isbn          character varying(13)
        The revision is applied, and nothing else in the database is changed. flask db check passes over
        tables whose names begin with acct_, and still finds every other difference.
    """,
    rules=(
        revisions(),
        ISBN,
        only("books.isbn"),
        keeps_rows(),
        together("replay", Rule("there and back", _there_and_back), Rule("comparison", _compares)),
    ),
)


def _stays(evidence: Evidence) -> Finding | None:
    """What the upgrade of a fresh copy of the start says is done stays done."""
    start, url = evidence.start, evidence.scratch
    before = _noted_so_far(url)
    failed, where = evidence.commands.run(url, "flask db upgrade")
    if failed:
        return Finding("flask db upgrade fails on a fresh copy of the start.", failed, "it succeeds", where or "env.py")
    now, live = Snapshot.read(url), evidence.live
    if now.applied == start.applied:
        return Finding(
            "flask db upgrade says that it ran, and the database is as before.",
            f"on a fresh copy: database at {', '.join(now.applied)} after the upgrade",
            f"at the head, {', '.join(evidence.heads)}",
            "what runs on the connection in env.py before context.configure, and who ends its transaction",
        )
    if live.applied == now.applied and (other := differences(now.schema, live.schema)):
        return Finding(
            "your database is not what your revisions make of a fresh copy.",
            few([text for _, _, text in other]),
            f"the same schema, made by the revisions alone {LEGEND}",
            "what was done by hand",
        )
    return _noted("flask db upgrade", _noted_so_far(url) - before)


def _noted_again(evidence: Evidence) -> Finding | None:
    """There, with nothing left to upgrade, each command leaves a row in the logbook."""
    url = evidence.scratch
    for command in ("flask db upgrade", "flask db current"):
        before = _noted_so_far(url)
        failed, where = evidence.commands.run(url, command)
        if failed:
            return Finding(f"{command} fails.", failed, "it succeeds", where or "env.py")
        if finding := _noted(command, _noted_so_far(url) - before):
            return finding
    return None


def _noted(command: str, rows: int) -> Finding | None:
    if rows == 1:
        return None
    return Finding(
        f"{command} is not written down in the logbook" + (" as it should be." if rows else "."),
        f"{rows} new rows in ops.logbook, on a fresh copy",
        "1 new row, also where there is nothing to upgrade",
        "logbook.note: is it called in env.py, on which connection, and is there a COMMIT behind it?",
    )


def _noted_so_far(url: URL) -> int:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ops.logbook")
        return cursor.fetchone()[0]


LOGBOOK = Exercise(
    "11_logbook",
    start=Start(
        "filled",
        left="11_logbook",
        sql="CREATE SCHEMA ops; CREATE TABLE ops.logbook (settings text, noted_at timestamptz DEFAULT now())",
    ),
    goal="""
        What flask db upgrade says it has done is done: the database is at the head, and books has its isbn.
        Every flask db command that opens the database leaves one row in ops.logbook.
    """,
    rules=(
        revisions(mend=("add_isbn_to_books",)),
        only("books.isbn"),
        keeps_rows(),
        together("replay", Rule("upgrade", _stays), Rule("logbook", _noted_again)),
    ),
)

EXERCISES = (DEMO, ACCOUNTS, LOGBOOK)
