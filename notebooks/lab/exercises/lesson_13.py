import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing

from ..checks.evidence import once
from ..checks.finding import Finding, Rule, few
from ..checks.replay import Commands
from ..checks.rules import at_head
from ..checks.snapshot import Snapshot, looking_at
from ..database import applied_revisions
from ..problem import Problem
from ..schema import differences
from ..server import connect
from ..starting import Start, plain_environment
from . import Exercise

UPGRADE = "flask db upgrade"


def reached(evidence) -> Finding | None:
    """The learner's own database is at the head, with the columns that belong to it."""
    if finding := at_head().examine(evidence):
        return finding
    live = evidence.live
    if "format" not in live.schema.tables["books"].columns:
        return Finding(
            "your database says that it is at the head, but the revision has not run there.",
            f"columns of books: {', '.join(live.schema.tables['books'].columns)}",
            "one more, format",
            f'flask db stamp runs nothing; to begin again, run exercise("{evidence.exercise.name}")',
        )
    return None


# 1: two upgrades at once

# Which replicas have come as far as they can: to the table that is held, or to a lock that another of them has,
# be it that they wait for it or ask again and again: then the moment when they asked stands beside their name.
STANDING = """
SELECT application_name, CASE WHEN wait_event_type = 'Lock' THEN NULL ELSE query_start END FROM pg_stat_activity AS a
 WHERE datname = current_database() AND application_name LIKE 'replica%'
   AND (wait_event_type = 'Lock'
        OR state = 'idle' AND query LIKE '%advisory%'
           AND EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> a.pid
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
           AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = a.pid))
"""
LONGEST_WAY = 10  # seconds until they stand there


def upgrade_alone(evidence, name: str, ends: list) -> threading.Thread:
    """One `flask db upgrade` of the scratch database, in a process that ends with it.

    Its error goes into `ends`, and the revision at which the database stood at that moment.
    """
    os.environ["PGAPPNAME"] = name
    commands = Commands(evidence.folder)
    commands.__enter__()
    del os.environ["PGAPPNAME"]

    def upgrade():
        try:
            error = commands.run(evidence.scratch, UPGRADE)[0]
        except Problem:
            error = "it did not come to an end"
        try:
            with closing(connect(evidence.scratch)) as connection, connection.cursor() as cursor:
                ends.append((error, applied_revisions(cursor)))
        finally:
            commands.__exit__()

    return threading.Thread(target=upgrade)


@once
def two_at_once(evidence) -> tuple[list[str], list[list[str]]]:
    """Two upgrades of the scratch database that meet: the errors, and where it stood when each of them ended.

    A table that both need is held until each waits, or one of them has ended, which cannot have done its work.
    """
    ends, asked = [], {}
    replicas = [upgrade_alone(evidence, f"replica {number}", ends) for number in (1, 2)]
    with looking_at(evidence.scratch) as door, door.cursor() as cursor:
        door.autocommit = False
        cursor.execute("LOCK TABLE books IN ACCESS SHARE MODE")
        for replica in replicas:
            replica.start()
        start = time.monotonic()
        while not ends and time.monotonic() - start < LONGEST_WAY:
            time.sleep(0.03)
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(STANDING)
            standing = set()
            for name, moment in cursor.fetchall():
                asked.setdefault(name, set()).add(moment)
                if moment is None or len(asked[name]) > 1:  # who has asked once may be about to leave
                    standing.add(name)
            if len(standing) == len(replicas):
                break
        door.rollback()
        for replica in replicas:
            replica.join()
    return [error for error, _ in ends if error], [applied for _, applied in ends]


def _changes(evidence) -> Finding | None:
    failed, stood = two_at_once(evidence)
    applied = stood[-1]
    if len(failed) == 2 or applied == evidence.heads:
        return None  # the rule "at once" tells the former
    return Finding(
        "flask db upgrade ends with exit code 0, and changes nothing.",
        f"a fresh copy of the database, after two upgrades: at {', '.join(applied) or 'no revision'}",
        f"at {', '.join(evidence.heads)}",
        "the connection on which migrations/env.py takes the lock: is it the one that Alembic uses?",
    )


def _at_once(evidence) -> Finding | None:
    failed, _ = two_at_once(evidence)
    if not failed:
        return None
    return Finding(
        f"of two upgrades that began at once, {'one' if len(failed) == 1 else 'both'} failed.",
        few(failed),
        "exit code 0 from both: one applies the revision, the other waits, and then has nothing to do",
        "when migrations/env.py takes the lock, and until when it keeps it",
    )


def _waits(evidence) -> Finding | None:
    failed, stood = two_at_once(evidence)
    if failed or stood[-1] != evidence.heads or stood[0] == stood[-1]:
        return None
    return Finding(
        "of two upgrades that began at once, one did not wait: it ended while the other was still at work.",
        f"exit code 0, with the database at {', '.join(stood[0]) or 'no revision'}; that replica would serve it",
        f"it ends when the database is at {', '.join(stood[-1])}",
        "what migrations/env.py does where it does not get the lock: it has to ask again, until it does",
    )


LOCK = Exercise(
    "13_lock",
    start=Start("filled", left="13_lock"),
    goal="""
        Of several upgrades that begin at once, one applies the revision that waits here; the others wait
        until it has ended, and find nothing to do. All end with exit code 0. migrations/env.py sees to it.
        The revision is applied to your database.
    """,
    rules=(Rule("database", reached), Rule("changes", _changes), Rule("at once", _at_once), Rule("waits", _waits)),
)


# 2: a start that looks first

UNKNOWN = "0ddba11f00d5"  # a revision of a release that these files do not know; it sorts before those that they do

# Imports wsgi.py, as waitress does, with the database at one revision after the other, and manage.py, as flask does.
STARTS = """
import contextlib, io, json, os, sys
import psycopg2
from sqlalchemy import make_url

url = make_url(os.environ["DATABASE_URL"])
connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
connection.autocommit = True
sys.path.insert(0, os.getcwd())
sys.stdin.close()


def start(module, revision):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM alembic_version")
        if revision:
            cursor.execute("INSERT INTO alembic_version VALUES (%s)", [revision])
    sys.modules.pop("wsgi", None), sys.modules.pop("manage", None)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            end = "" if callable(getattr(__import__(module), "app", None)) else f"{module}.py has no app"
        except SystemExit as error:
            end = "exit code 0" if error.code in (None, 0) else "refused"
            if isinstance(error.code, str):
                print(error.code)
        except BaseException as error:
            end = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return end, said.getvalue()


print(json.dumps([start(*pair) for pair in json.loads(sys.argv[1])]))
"""
BEFORE = "d1aec552451b"


@once
def starts(evidence) -> dict[str, list[str]]:
    """How a start ended ("" where it serves, "refused" where it did) and what it said, by where the database stood."""
    head = evidence.heads[0]
    cases = {
        "head": ("wsgi", head),
        "ahead": ("wsgi", UNKNOWN),
        "behind": ("wsgi", BEFORE),
        "empty": ("wsgi", ""),
        "flask": ("manage", BEFORE),
    }
    try:
        result = subprocess.run(
            [sys.executable, "-c", STARTS, json.dumps(list(cases.values()))],
            cwd=evidence.folder,
            env={
                **plain_environment(),
                "PATH": os.environ["PATH"],
                "PYTHONDONTWRITEBYTECODE": "1",
                "FLASK_APP": "manage.py",
                "FLASK_ENV": "development",
                "DATABASE_URL": evidence.scratch.render_as_string(hide_password=False),
            },
            capture_output=True,
            text=True,
            timeout=20,
        )
        ends = json.loads(result.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        raise Problem("wsgi.py could not be loaded.\nDoes it end the program, or wait for something?") from None
    return dict(zip(cases, ends, strict=True))


def serves(case: str, problem: str, look: str) -> Rule:
    """It serves in this case."""

    def examine(evidence):
        end, said = starts(evidence)[case]
        if not end:
            return None
        return Finding(problem, f"{end}: {said.strip()}" if said.strip() else end, "it serves", look)

    return Rule(case, examine)


def refuses(case: str, problem: str, look: str) -> Rule:
    """It refuses in this case: the start ends, with an exit code that is not 0."""

    def examine(evidence):
        end, _ = starts(evidence)[case]
        if end == "refused":
            return None
        return Finding(problem, end or "it serves", "it ends with an exit code other than 0", look)

    return Rule(case, examine)


def _says(evidence) -> Finding | None:
    end, said = starts(evidence)["behind"]
    needed = evidence.heads[0]
    if end != "refused" or needed in said:
        return None
    return Finding(
        "a start that refuses does not say which revision it needs.",
        said.strip() or "no word",
        f"a line that names {needed}",
        "sys.exit with a text prints it, and ends with exit code 1",
    )


SERVE = Exercise(
    "13_serve",
    start=Start("filled", left="13_serve"),
    goal="""
        waitress-serve wsgi:app serves a database that is at the head of these files, and one that is ahead,
        at a revision that these files do not know. It refuses a database that is behind, or at no revision:
        an exit code that is not 0, and a line that names the revision that is needed.
        The flask command goes on working in all four cases.
    """,
    rules=(
        serves("head", "wsgi.py does not serve a database that is at the head.", "the condition in front of sys.exit"),
        serves(
            "ahead",
            "wsgi.py does not serve a database that is ahead.",
            "whether it knows which revisions it has files for: their ids come in no order",
        ),
        refuses("behind", "wsgi.py serves a database that is behind.", "the condition in front of sys.exit"),
        refuses(
            "empty",
            "wsgi.py serves a database at no revision.",
            "what revision_of_database() returns there: an empty list",
        ),
        Rule("says", _says),
        serves(
            "flask",
            "manage.py refuses a database that is behind, so flask db upgrade cannot run there.",
            "the place of the guard: flask loads manage.py, waitress loads wsgi.py",
        ),
    ),
)


# 3: an env.py that rolls back

PATIENCE = 1.0  # seconds for which the table is held; the time-out is 0.5


def _changes_alone(evidence) -> Finding | None:
    start, needed = evidence.start, evidence.heads
    failed, where = evidence.commands.run(evidence.scratch, UPGRADE)
    now = Snapshot.read(evidence.scratch)
    if failed:
        return Finding("flask db upgrade fails on a fresh copy of the database.", failed, "exit code 0", where)
    if now.applied != needed or not differences(start.schema, now.schema):
        return Finding(
            "flask db upgrade still ends with exit code 0 and changes nothing.",
            f"a fresh copy of the database, afterwards: at {', '.join(now.applied)}",
            f"at {', '.join(needed)}",
            "what migrations/env.py does on the connection before Alembic gets it",
        )
    return None


@once
def held_up(evidence) -> tuple[str, Snapshot]:
    """An upgrade of a fresh copy while somebody reads `books`: its error, and what the copy holds afterwards."""
    url = evidence.fresh("held")
    with looking_at(url) as door, door.cursor() as cursor:
        door.autocommit = False
        cursor.execute("LOCK TABLE books IN ACCESS SHARE MODE")
        opens = threading.Timer(PATIENCE, door.rollback)
        opens.start()
        failed, _ = evidence.commands.run(url, UPGRADE)
        opens.cancel()
        opens.join()
    return failed, Snapshot.read(url)


def _gives_up(evidence) -> Finding | None:
    failed, _ = held_up(evidence)
    if "LockNotAvailable" in failed:
        return None
    return Finding(
        "an upgrade does not give up where somebody holds the table.",
        failed or "it waited until the table was free, for twice the time",
        "after half a second: LockNotAvailable: canceling statement due to lock timeout",
        "whether the lock_timeout of 500ms is still set in the transaction in which the revision runs",
    )


def _nothing_left(evidence) -> Finding | None:
    failed, now = held_up(evidence)
    left = differences(evidence.start.schema, now.schema)
    if not failed or not left:
        return None
    return Finding(
        "an upgrade that gave up has left half of the revision behind.",
        few([text for _, _, text in left]),
        "all of the revision or nothing of it",
        "whether the connection that Alembic uses still has transactions",
    )


SILENT = Exercise(
    "13_silent",
    start=Start("filled", left="13_silent"),
    goal="""
        flask db upgrade changes the database, or fails with an exit code that is not 0.
        Where somebody holds a table, it gives up after half a second as before, and leaves nothing behind.
        The revision that waits here is applied to your database.
    """,
    rules=(
        Rule("database", reached),
        Rule("changes", _changes_alone),
        Rule("gives up", _gives_up),
        Rule("nothing left", _nothing_left),
    ),
)

EXERCISES = (LOCK, SERVE, SILENT)
