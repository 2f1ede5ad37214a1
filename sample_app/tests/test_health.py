import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import text

from bookshop.database import db, migrate

ROOT = Path(__file__).parent.parent
NEWEST = ScriptDirectory(ROOT / "migrations").get_current_head()


@pytest.fixture
def app(make_app: Callable[[str], Flask], new_schema: Callable[[], str]) -> Flask:
    """An application whose database is empty: no table, not even alembic_version."""
    return make_app(new_schema())


def stamp(app: Flask, *revisions: str) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
        for revision in revisions:
            connection.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": revision})


def health(app: Flask) -> tuple[int, dict]:
    response = app.test_client().get("/health")
    return response.status_code, response.json


def expected(revision: list[str], newest: list[str], is_newest: bool) -> tuple[int, dict]:
    return 200, {
        "status": "ok",
        "revision": revision,
        "newest": newest,
        "is_newest": is_newest,
    }


def test_at_the_newest_revision(app: Flask) -> None:
    stamp(app, NEWEST)
    assert health(app) == expected([NEWEST], [NEWEST], True)


def test_behind(app: Flask) -> None:
    stamp(app, "d1aec552451b")
    assert health(app) == expected(["d1aec552451b"], [NEWEST], False)


def test_without_any_table(app: Flask) -> None:
    assert health(app) == expected([], [NEWEST], False)


def test_two_heads(app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    (tmp_path / "migrations/versions/fff_other.py").write_text(
        "revision = 'fff'\ndown_revision = 'd1aec552451b'\n"
    )
    monkeypatch.setattr(migrate, "directory", str(tmp_path / "migrations"))
    stamp(app, "fff", NEWEST)
    assert health(app) == expected([NEWEST, "fff"], [NEWEST, "fff"], True)


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_without_migrations(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(migrate, "directory", str(tmp_path / folder))
    assert health(app) == expected([], [], True)
    stamp(app, NEWEST)
    assert health(app) == expected([NEWEST], [], False)


def test_no_server(make_app: Callable[[str], Flask]) -> None:
    status, answer = health(make_app("postgresql+psycopg2://me:pass-word@127.0.0.1:1/x"))
    assert status == 503
    assert answer == {"status": "error", "reason": "The database does not answer."}


def test_other_pages_without_tables_fail_plainly(app: Flask) -> None:
    app.testing = False
    response = app.test_client().get("/")
    assert response.status_code == 500
    assert "<h1>Internal Server Error</h1>" in response.text and "SELECT" not in response.text
