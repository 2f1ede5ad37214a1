import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from ..checks.evidence import Evidence
from ..checks.finding import Finding, Rule, few
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, no_column, only, revisions, same_files
from ..problem import Problem
from ..starting import Start, plain_environment
from . import Exercise

PATIENCE = 20  # seconds for all runs of pytest
NEWEST = "e2062c5f334d"  # of release 1's revisions
RELEASE_1 = {f"test_{name}.py" for name in ("catalogue", "health", "migrations", "orders", "seed", "settings")}

# Runs pytest in the current folder: as it is, and then with each of the texts at the end of a revision's file.
# All in one process, since importing Flask and Alembic is what takes long.
CHILD = """
import json, os, sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)
import pytest


class Report:
    def __init__(self):
        self.failed = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            lines = (crash.message if crash else str(report.longrepr)).strip().splitlines()
            self.failed.append([report.nodeid.rpartition("::")[2], lines[0 if crash else -1] if lines else ""])

    pytest_collectreport = pytest_runtest_logreport


files, revision, endings = json.loads(sys.argv[1])
mine = open(revision, encoding="utf-8").read()
reports = []
for ending in ["", *endings]:
    with open(revision, "w", encoding="utf-8") as file:
        file.write(mine + ending)
    models = ["--test-alembic", "-o", "pytest_alembic_include=model_definitions_match_ddl", "tests/conftest.py"]
    reports.append(Report())
    plugins = [f"-p{name}" for name in ("pytest_alembic.plugin", "no:cacheprovider", "no:unraisableexception")]
    code = pytest.main([*plugins, "--tb=short", *([] if ending else models), *files], plugins=[reports[-1]])
    if code in (2, 3, 4) and not reports[-1].failed:
        reports[-1].failed.append(["pytest", "it cannot load tests/conftest.py, or what that imports"])
print(json.dumps([report.failed for report in reports]), file=answers)
"""


def tests(evidence: Evidence, file: str, endings: tuple[str, ...]) -> list[list]:
    """Which of the learner's tests of revisions fail, and with what message: with `file` as it is, and with each of the
    `endings`. They run in a copy, on a database of their own."""
    names = sorted(path.name for path in (evidence.folder / "tests").glob("test_*.py") if path.name not in RELEASE_1)
    asked = [[f"tests/{name}" for name in names], file, endings]
    url = evidence.another("pytest").render_as_string(hide_password=False)
    with tempfile.TemporaryDirectory(prefix="bookshop-") as scratch:
        copy = Path(scratch) / "shop"
        shutil.copytree(evidence.folder, copy, ignore=shutil.ignore_patterns(".git", ".env", "__pycache__", "*.dump"))
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(asked)],
            cwd=copy,
            env={
                **plain_environment(),
                "DATABASE_URL": url,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # with all that the tests start
        )
        try:
            _ = evidence.start, evidence.live  # meanwhile: other rules will ask for them
            return json.loads(process.communicate(timeout=PATIENCE)[0])
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            raise Problem(
                "your tests did not come to an end.\nDoes one of them wait for something, or end the program?"
            ) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _told(failed: list) -> str:
    """Failures of tests in a line each, of a database error only PostgreSQL's words."""
    lines = []
    for name, message in failed:
        message = re.sub(r"^[\w.]+: \((?:\w+\.)*(\w+)\) ", r"\1: ", message.removeprefix("AssertionError: "))
        lines.append(f"{name}: {message}")
    return few(lines)


# How Lena left her revision; and with the values kept going up, but not going back.
DROPS = """
def {0}():
    op.execute("ALTER TABLE books ADD {1} numeric(8, 2) NOT NULL DEFAULT 0, DROP {2}")
    op.execute("ALTER TABLE books ALTER {1} DROP DEFAULT")
"""
RENAMES = """
from alembic import op

def upgrade():
    op.alter_column("books", "price", new_column_name="list_price")
"""
BACK = DROPS.format("downgrade", "price", "list_price")
AS_LEFT = RENAMES + DROPS.format("upgrade", "list_price", "price") + BACK
LOST_GOING_BACK = RENAMES + BACK


def _question(evidence: Evidence) -> Finding | None:
    """The learner's tests pass with their revision, and fail with wrong ones."""
    after = [revision for revision in evidence.revisions if revision.down_revision == NEWEST]
    if len(after) != 1:
        return Finding(
            f"{len(after)} revisions follow {NEWEST}.",
            few([evidence.path(revision) for revision in after]) or "none",
            "one, which renames the column",
            "flask db history",
        )
    file = evidence.path(after[0])
    failed, as_left, going_back = tests(evidence, file, (AS_LEFT, LOST_GOING_BACK))
    look = "pytest --test-alembic tests/conftest.py tests/test_rows.py"
    if failed:
        return Finding("your tests fail with your revision.", _told(failed), "all of them pass", look)
    if not as_left:
        return Finding(
            "your tests pass with Lena's revision as she left it, too, so nothing catches it.",
            "no test fails with hers",
            "a test that fails with hers, and passes with yours",
            'QUESTIONS["rename price to list_price"] in tests/questions.py: '
            "are there rows, and do both questions ask for the prices?",
        )
    if not going_back:
        return Finding(
            "your tests do not look at the way back.",
            "they pass with a downgrade() that drops list_price and adds an empty price",
            "a test that asks for the prices after the downgrade, too",
            "tests/test_rows.py does so with every entry of tests/questions.py",
        )
    return None


PRICE_IS_KEPT = Keeps(moved={("books", "price"): "list_price"})

QUESTION = Exercise(
    "12_question",
    start=Start("filled", left="12_question"),
    goal="""
        books
            list_price    numeric(8,2)              not null
        It holds what price held. A test in tests/ says so: it fails with Lena's revision as she left it,
        and passes with yours, which is applied.
    """,
    rules=(
        Rule("question", _question),
        column("books", "list_price", "numeric(8,2)", required=True, default=None),
        no_column("books", "price"),
        only("books.list_price", "books.price"),
        keeps_rows(PRICE_IS_KEPT),
    ),
)


def kept(*files: str) -> Rule:
    """These files are as they were."""

    def examine(evidence):
        changed = sorted(evidence.changed() & set(files))
        if changed:
            return Finding(
                "the test was changed, not only what it tests.",
                few(changed),
                "the tests as you found them",
                f"git checkout -- {' '.join(changed)}",
            )
        return None

    return Rule("kept", examine)


def _pence(evidence: Evidence) -> Finding | None:
    lines = evidence.live.rows.get("order_lines", [])
    right = {row["id"]: int(row["unit_price"] * 100) for row in evidence.start.rows["order_lines"]}
    wrong = [
        f"line {row['id']}: {row['pence']}, and it cost {right[row['id']] / 100:.2f}"
        for row in lines
        if row["id"] in right and "pence" in row and row["pence"] != right[row["id"]]
    ]
    if wrong:
        return Finding(
            "not every line has its price in pence.",
            few(wrong),
            "the price of each line, to the penny",
            "the UPDATE in upgrade(): what does it do first, round or multiply?",
        )
    return None


PRICE = ("order_lines", "unit_price")

PENCE = Exercise(
    "12_pence",
    start=Start("filled", left="12_pence"),
    goal="""
        order_lines
            pence         integer                   not null
        in place of unit_price, to the penny, and a downgrade brings unit_price back to the penny.
        tests/test_rows.py passes, with its questions as they are. The revision is applied.
    """,
    rules=(
        revisions(mend=("unit_prices_in_pence",)),
        kept("tests/test_rows.py", "tests/questions.py", "tests/conftest.py"),
        column("order_lines", "pence", "integer", required=True),
        Rule("pence", _pence),
        only("order_lines.pence", "order_lines.unit_price"),
        keeps_rows(Keeps(changes=(PRICE,))),
        replay(Keeps(changes=(PRICE,)), pages=("GET /customers/1",)),
    ),
)

REWRITE = Exercise(
    "12_rewrite",
    start=Start("filled", left="12_rewrite"),
    goal="""
        Of tonight's three revisions the one that writes a table anew is out of the chain, and the models say of
        its column what they said before. The two others are applied, and do what their authors meant.
    """,
    rules=(
        revisions(mend=("longer_names_of_books", "more_copies_in_a_line", "dearer_books")),
        column("books", "name", "character varying(300)", required=True),
        column("books", "price", "numeric(10,2)", required=True),
        only("books.name", "books.price", "order_lines.quantity"),
        keeps_rows(),
        same_files("pg_relation_filepath of each table, before and after a single revision on a copy"),
        replay(pages=("GET /books/1", "GET /customers/1")),
    ),
)

EXERCISES = (QUESTION, PENCE, REWRITE)
