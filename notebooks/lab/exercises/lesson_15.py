import os
import signal
import subprocess

from ..checks.evidence import once
from ..checks.finding import Finding, Rule, few
from ..checks.rules import at_head, revisions, rows, together
from ..checks.snapshot import Snapshot, looking_at
from ..checks.traffic_rule import blocks_nobody
from ..starting import Start
from . import Exercise

# 1: an upgrade beside a report

UPGRADE = "sh upgrade.sh"
READS = "SELECT count(*), pg_sleep({seconds}) FROM (SELECT FROM orders LIMIT 1) AS one"
PATIENCE = 15  # seconds for a command that cannot succeed


def _says_so(evidence) -> Finding | None:
    """Where the revision fails for another reason than a lock, the command says so, and soon."""
    url = evidence.fresh("broken")
    with looking_at(url) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE orders ADD wrapping integer")  # as by somebody's hand
    process = subprocess.Popen(
        UPGRADE,
        shell=True,
        cwd=evidence.folder,
        env={**os.environ, "DATABASE_URL": url.render_as_string(hide_password=False)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ended = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ended = None
    if ended:
        return None
    return Finding(
        "where the revision fails for another reason than a lock, your command does not say so.",
        "it ends with exit code 0" if ended == 0 else f"it is still trying after {PATIENCE} seconds",
        "an exit code other than 0, within a few seconds: DuplicateColumn will be the same the next time",
        "which errors upgrade.sh tries again after, and what it ends with when it gives up",
    )


REPORT = Exercise(
    "15_report",
    start=Start("filled", left="15_report"),
    goal="""
        sh upgrade.sh applies the revision that waits here, also while a report reads orders for seconds:
        no visitor waits for longer than one second. Where the revision fails for another reason, it
        ends soon, with an exit code that is not 0. The revision is applied to your database.
    """,
    rules=(
        at_head(),
        Rule("says so", _says_so),
        blocks_nobody(UPGRADE, beside=READS),
    ),
)

# 2: an index that is not there

INDEX = "order_lines (order_id, book_id)"
VALID = """
SELECT indexrelid::regclass::text, indisvalid FROM pg_index
 WHERE indrelid = 'order_lines'::regclass AND indisunique AND indpred IS NULL
   AND pg_get_indexdef(indexrelid) ~ '\\((order_id, book_id|book_id, order_id)\\)$'
 ORDER BY 1
"""


def _not_there(found: list[tuple]) -> str:
    """What is wrong with the indexes that there are, or nothing."""
    invalid = [f"{name} is invalid" for name, valid in found if not valid]
    return few(invalid) if invalid or found else f"no unique index on {INDEX}"


def _valid(evidence) -> Finding | None:
    if not (wrong := _not_there(evidence.query(VALID))):
        return None
    return Finding(
        "your database has an index that PostgreSQL does not use, or none that is unique.",
        wrong,
        f"a valid unique index on {INDEX}, and no other",
        "pg_index.indisvalid, and what the revision does where an index of that name is there already",
    )


@once
def _elsewhere(evidence) -> tuple:
    """What the revision makes of a fresh copy: why and where it failed, or what is wrong with the index; the rows."""
    url = evidence.fresh("elsewhere")
    failed, where = evidence.commands.run(url, "flask db upgrade")
    with looking_at(url) as connection, connection.cursor() as cursor:
        cursor.execute(VALID)
        return failed, where, _not_there(cursor.fetchall()), Snapshot.read(url)


def _valid_elsewhere(evidence) -> Finding | None:
    failed, where, wrong, _ = _elsewhere(evidence)
    if failed:
        return Finding("your revision does not run on a fresh copy of the starting data.", failed, look=where)
    if not wrong:
        return None
    return Finding(
        "your revision does not repair the index on a fresh copy of the starting data.",
        wrong,
        f"a valid unique index on {INDEX}, made by the revision: staging has the same problem",
        "what was done by hand, or which file was changed after it had been applied",
    )


def _copies(snapshot: Snapshot) -> dict[tuple, int]:
    """How many copies of each book each order has."""
    found = {}
    for line in snapshot.rows["order_lines"]:
        key = line["order_id"], line["book_id"]
        found[key] = found.get(key, 0) + line["quantity"]
    return found


def _other_copies(start: Snapshot, now: Snapshot) -> str:
    before, after = _copies(start), _copies(now)
    return few(
        [
            f"order {order}, book {book}: {after.get((order, book), 0)}, and it was {quantity}"
            for (order, book), quantity in sorted(before.items())
            if after.get((order, book), 0) != quantity
        ]
    )


def _keeps_copies(evidence) -> Finding | None:
    if others := _other_copies(evidence.start, evidence.live):
        return Finding(
            "an order has another number of copies of a book than before.",
            others,
            "the same number, on one line",
            "what happens to the quantity of a line that is deleted; "
            f'to begin again, run exercise("{evidence.exercise.name}")',
        )
    failed, _, _, rows = _elsewhere(evidence)
    if failed or not (others := _other_copies(evidence.start, rows)):
        return None
    return Finding(
        "on a fresh copy of the starting data your revision changes how many copies an order has of a book.",
        others,
        "the same number, on one line, put there by the revision",
        "what happens to the quantity of a line that is deleted, and what was done to your database by hand",
    )


ONCE = Exercise(
    "15_index",
    # The first try failed, since the old shop had books twice; the second one succeeded.
    start=Start("filled", left="15_index", commands=("-db upgrade", "db upgrade")),
    goal="""
        No order has a book on two lines, and a valid unique index on order_lines (order_id, book_id) sees
        to it. Each order has as many copies of each book as before. A new revision does it, on every
        database, also while an import writes to order_lines, and no visitor waits for longer than one second.
    """,
    rules=(
        revisions(),
        together("index", Rule("here", _valid), Rule("elsewhere", _valid_elsewhere)),
        Rule("copies", _keeps_copies),
        blocks_nobody(
            beside="UPDATE order_lines SET quantity = quantity + length(pg_sleep({seconds})::text) WHERE id = 1"
        ),
    ),
)

# 3: a revision that looks fine

CONSTRAINT = """
SELECT CASE WHEN convalidated THEN 'valid' ELSE 'NOT VALID' END FROM pg_constraint
 WHERE conrelid = 'orders'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%known_status(%'
"""

RULE = Exercise(
    "15_rule",
    start=Start("filled", left="15_rule", commands=("db upgrade 2d9f6ae04c73",)),
    goal="""
        orders have a valid CHECK (known_status(status)). flask db upgrade applies it to a database as you
        found this one, and no visitor waits for longer than one second. It is applied to yours.
    """,
    rules=(
        revisions(mend=("allow_known_statuses_only",)),
        rows(
            "constraint",
            CONSTRAINT,
            [("valid",)],
            "the rule is not there, or PostgreSQL does not rely on it.",
            "the CHECK on orders, and whether VALIDATE CONSTRAINT has run",
        ),
        blocks_nobody(),
    ),
)

EXERCISES = (REPORT, ONCE, RULE)
