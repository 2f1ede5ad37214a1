"""The bookshop is a plain Flask application: it knows nothing of the course, and its own tests pass."""

import ast
import csv
import difflib
import subprocess
import sys
from pathlib import Path

import flask_migrate
import pytest
from pace import pace

BOOKSHOP = Path(__file__).parents[1] / "sample_app"
TEMPLATE = Path(flask_migrate.__file__).parent / "templates" / "flask"


def python_files(folder):
    return [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]


def test_its_own_tests_pass_with_warnings_as_errors(cells):
    """In a lesson's copy, by the command that its README-less authors would type."""
    said = cells(
        'from lab import lesson\nhere = lesson("04_downgrade")',
        "!dotenv run -- python -m pytest -q -p no:cacheprovider -W error 2>&1 | tail -n 3",
    )
    assert " passed" in said[1] and "failed" not in said[1] and "error" not in said[1].lower(), said[1]


def test_env_py_is_what_flask_db_init_writes():
    assert (BOOKSHOP / "migrations" / "env.py").read_text() == (TEMPLATE / "env.py").read_text()
    assert (BOOKSHOP / "migrations" / "script.py.mako").read_text() == (TEMPLATE / "script.py.mako").read_text()


def test_alembic_ini_differs_by_one_quiet_logger():
    stock = (TEMPLATE / "alembic.ini.mako").read_text().splitlines()
    ours = (BOOKSHOP / "migrations" / "alembic.ini").read_text().splitlines()
    changed = [line for line in difflib.ndiff(stock, ours) if line[0] in "+-" and line[2:].strip()]
    assert [line for line in changed if line[0] == "-"] == ["- keys = root,sqlalchemy,alembic,flask_migrate"]
    assert "+ qualname = alembic.runtime.plugins" in changed and "+ level = WARN" in changed
    assert len(changed) <= 7


def test_release_1_has_three_revisions_in_one_line():
    files = [path.read_text() for path in sorted((BOOKSHOP / "migrations" / "versions").glob("*.py"))]
    ids = [text.split("\nrevision = '")[1][:12] for text in files]
    parents = [text.split("\ndown_revision = ")[1].splitlines()[0].strip("'") for text in files]
    assert len(files) == 3
    assert parents == ["None", *ids[:-1]]


def test_a_learner_can_read_all_of_it():
    files = [path for path in python_files(BOOKSHOP) if not {"tests", "migrations"} & set(path.parts)]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) < 400


@pytest.mark.parametrize("path", python_files(BOOKSHOP), ids=lambda path: path.relative_to(BOOKSHOP).as_posix())
def test_it_knows_nothing_of_the_course(path):
    text = path.read_text(encoding="utf-8")
    assert "lesson" not in text.lower() and "learner" not in text.lower()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [n.name for n in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
        )
    }
    assert "lab" not in imported


def test_its_books_are_forty_different_ones():
    with open(BOOKSHOP / "bookshop" / "books.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["name"], row["author"]) for row in rows}) == 40


def test_a_million_orders_take_well_under_a_minute(cells):
    said = cells(
        'from lab import lesson\nhere = lesson("04_downgrade")',
        "import time; start = time.monotonic()",
        "!flask seed --replace --orders 1000000",
        "print(time.monotonic() - start)",
        'here.sql("SELECT count(*) FROM orders")',
    )
    assert "1000000" in said[4]
    assert float(said[3]) < 45 * pace()  # about 10 on an idle machine; another worker's tests run beside it


def test_flask_itself_shows_every_command():
    result = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "manage", "--help"],
        cwd=BOOKSHOP,
        env={
            "FLASK_ENV": "development",
            "DATABASE_URL": "postgresql+psycopg2://127.0.0.1:1/none",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
    )
    assert "seed" in result.stdout and "db" in result.stdout, result.stderr
