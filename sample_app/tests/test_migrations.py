from collections.abc import Callable

from conftest import run_flask
from sqlalchemy import create_engine, inspect


def test_the_models_and_the_migrations_agree(migrated_url: str) -> None:
    done = run_flask("db", "check", DATABASE_URL=migrated_url)
    assert done.returncode == 0, done.stderr


def test_down_to_nothing_and_up_again(new_schema: Callable[[], str]) -> None:
    url = new_schema()
    for command in (["upgrade"], ["downgrade", "base"]):
        done = run_flask("db", *command, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
    done = run_flask("db", "upgrade", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
