from collections.abc import Callable

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from bookshop.database import db

CHECKSUM = "SELECT md5(string_agg(row::text, '\n' ORDER BY id)) FROM {} AS row"


def seed(app: Flask, *args: str) -> Result:
    return app.test_cli_runner().invoke(args=["seed", *args])


def query(app: Flask, sql: str) -> object:
    with app.app_context(), db.engine.begin() as connection:
        return connection.scalar(text(sql))


def checksums(app: Flask) -> list[str]:
    tables = ("books", "customers", "orders", "order_lines")
    return [query(app, "SET LOCAL timezone = 'UTC';" + CHECKSUM.format(name)) for name in tables]


def count(app: Flask, condition: str) -> int:
    return query(app, f"SELECT count(*) FROM {condition}")


def test_it_says_what_it_made(empty_app: Flask) -> None:
    result = seed(empty_app)
    assert result.exit_code == 0
    assert result.output == "Made 40 books, 30 customers, 500 orders, 1002 order lines.\n"
    assert count(empty_app, "order_lines") == 1002


def test_the_same_data_every_time_on_every_server(empty_app: Flask) -> None:
    seed(empty_app)
    first = checksums(empty_app)
    seed(empty_app, "--replace", "--orders", "700")
    assert checksums(empty_app) != first
    seed(empty_app, "--replace")
    assert checksums(empty_app) == first
    assert first == [
        "e40aaf24b555cc5986c5c1a47de92a64",
        "f69a2e998c88ac50e83eb4bc21ec0ed3",
        "a8d5a3f6833022fbad79c158d5a25e33",
        "987cef7434f737b39b17d53f5663fe2d",
    ]


def test_the_data_makes_sense(empty_app: Flask) -> None:
    seed(empty_app, "--orders", "2000")
    assert count(empty_app, "customers") == 100
    assert count(empty_app, "customers WHERE fax IS NOT NULL") == 33
    assert query(empty_app, "SELECT count(DISTINCT status) FROM orders") == 3
    assert query(empty_app, "SELECT count(DISTINCT customer_id) FROM orders") == 100
    other_price = "order_lines JOIN books ON books.id = book_id WHERE unit_price <> price"
    assert count(empty_app, other_price) == 0
    lines = "(SELECT count(*) AS n FROM order_lines GROUP BY order_id) AS sizes"
    assert query(empty_app, f"SELECT array_agg(DISTINCT n ORDER BY n) FROM {lines}") == [1, 2, 3]
    assert query(empty_app, f"SELECT count(*) FROM {lines}") == 2000


def test_the_foreign_keys_are_there_again(empty_app: Flask) -> None:
    keys = """
        SELECT string_agg(conname || ' ' || convalidated, ', ' ORDER BY conname)
          FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema::regnamespace
    """
    before = query(empty_app, keys)
    assert before.count(" true") == 3
    seed(empty_app)
    assert query(empty_app, keys) == before


def test_the_shop_goes_on_after_it(empty_app: Flask) -> None:
    seed(empty_app, "--orders", "10")
    email = query(empty_app, "SELECT email FROM customers WHERE id = 7")
    order = {"email": email, "book_id": "40", "quantity": "1"}
    response = empty_app.test_client().post("/orders", data=order)
    assert response.location == "/customers/7"
    assert query(empty_app, "SELECT max(id) FROM orders") == 11


def test_filled_tables_are_left_alone(app: Flask) -> None:
    before = checksums(app)
    result = seed(app)
    assert result.exit_code == 1
    assert "hold rows already, nothing was changed" in result.output
    assert "flask seed --replace" in result.output
    assert checksums(app) == before


@pytest.mark.parametrize("orders", ["-1", "many", "1.5", "999999999999", ""])
def test_a_bad_number_is_refused(empty_app: Flask, orders: str) -> None:
    result = seed(empty_app, f"--orders={orders}")
    assert result.exit_code == 2
    assert "Invalid value for '--orders'" in result.output
    assert count(empty_app, "books") == 0


def test_no_orders(empty_app: Flask) -> None:
    assert "30 customers, 0 orders, 0 order lines" in seed(empty_app, "--orders=0").output


def test_without_tables(make_app: Callable[[str], Flask], new_schema: Callable[[], str]) -> None:
    result = seed(make_app(new_schema()))
    assert result.exit_code == 1
    assert result.output == (
        'Error: relation "books" does not exist: run flask db upgrade first, or mend seed.sql.\n'
    )


def test_without_a_server(make_app: Callable[[str], Flask]) -> None:
    result = seed(make_app("postgresql+psycopg2://me:pass-word@127.0.0.1:1/x"))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ") and result.output.count("\n") == 1
