import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, make_url, text

from bookshop import create_app
from bookshop.database import db
from bookshop.models import Book, Customer

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def server_url() -> str:
    if not os.environ.get("DATABASE_URL"):
        pytest.exit(
            "The tests need a PostgreSQL: set DATABASE_URL, for example to "
            "postgresql+psycopg2://bookshop:bookshop@127.0.0.1:5432/bookshop "
            "(pytest does not read .env).",
            returncode=4,
        )
    return os.environ["DATABASE_URL"]


@pytest.fixture(scope="session")
def new_schema(server_url: str) -> Iterator[Callable[[], str]]:
    """Each call makes an empty schema, and the URL of the database as seen from inside it.

    So the tests never touch what else the database holds.
    """
    engine = create_engine(server_url)
    names = []

    def make() -> str:
        names.append(f"test_{uuid4().hex[:12]}")
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {names[-1]}"))
        url = make_url(server_url).update_query_dict({"options": f"-csearch_path={names[-1]}"})
        return url.render_as_string(hide_password=False)

    yield make
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()


def run_flask(*args: str, **environment: str) -> subprocess.CompletedProcess:
    known = {"FLASK_APP": "manage.py", "FLASK_ENV": "testing", "FLASK_SKIP_DOTENV": "1"}
    return subprocess.run(
        [sys.executable, "-m", "flask", *args],
        cwd=ROOT,
        env=os.environ | known | environment,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="session")
def migrated_url(new_schema: Callable[[], str]) -> str:
    url = new_schema()
    done = run_flask("db", "upgrade", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture
def make_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Flask]]:
    apps = []

    def make(url: str) -> Flask:
        monkeypatch.setenv("FLASK_ENV", "testing")
        apps.append(create_app({"SQLALCHEMY_DATABASE_URI": url}))
        return apps[-1]

    yield make
    for app in apps:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def empty_app(make_app: Callable[[str], Flask], migrated_url: str) -> Iterator[Flask]:
    app = make_app(migrated_url)
    yield app
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("TRUNCATE books, customers, orders, order_lines RESTART IDENTITY"))


@pytest.fixture
def app(empty_app: Flask) -> Flask:
    with empty_app.app_context():
        db.session.add(Customer(name="Ada Adams", email="ada@example.com", fax="+44 20 7946 0001"))
        db.session.add(Book(name="Emma", author="Jane Austen", price=8))
        db.session.flush()
        db.session.add(Book(name="100% Wool_len \\ Knits", author="Zoë O'Neill", price=12))
        db.session.commit()
    return empty_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
