from decimal import Decimal

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, insert, select

from bookshop.database import db
from bookshop.models import Order, OrderLine

GOOD = {"email": "ada@example.com", "book_id": "1", "quantity": "2"}


def count_orders(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(Order))


def test_an_order_leads_to_the_customers_page(app: Flask, client: FlaskClient) -> None:
    response = client.post("/orders", data=GOOD)
    assert response.status_code == 302
    assert response.location == "/customers/1"
    page = client.get("/customers/1").text
    assert "Thank you, this is your order 1." in page
    assert "Order 1" in page and "2 ×" in page and "£16.00" in page
    with app.app_context():
        line = db.session.scalars(select(OrderLine)).one()
        assert (line.quantity, line.unit_price) == (2, Decimal("8.00"))


def test_an_email_address_may_be_typed_in_any_case(client: FlaskClient) -> None:
    assert client.post("/orders", data=GOOD | {"email": " Ada@Example.COM"}).status_code == 302


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("email", "", "No customer has this email address."),
        ("email", "bob@example.com", "No customer has this email address."),
        ("email", "' OR 1=1 --", "No customer has this email address."),
        ("email", "\0", "No customer has this email address."),
        ("quantity", "", "Order between 1 and 99 copies."),
        ("quantity", "0", "Order between 1 and 99 copies."),
        ("quantity", "-1", "Order between 1 and 99 copies."),
        ("quantity", "1.5", "Order between 1 and 99 copies."),
        ("quantity", "100", "Order between 1 and 99 copies."),
        ("quantity", "9" * 5000, "Order between 1 and 99 copies."),
    ],
)
def test_a_refused_order_says_why_and_keeps_the_input(
    app: Flask, client: FlaskClient, field: str, value: str, reason: str
) -> None:
    response = client.post("/orders", data=GOOD | {field: value})
    assert response.status_code == 400
    assert "<h1>Emma</h1>" in response.text
    assert reason in response.text
    kept = {"email": "quantity", "quantity": "email"}[field]
    assert f'value="{GOOD[kept]}"' in response.text
    assert count_orders(app) == 0


def test_all_that_was_wrong_is_said_at_once(client: FlaskClient) -> None:
    page = client.post("/orders", data={"book_id": "1"}).text
    assert "No customer has" in page and "Order between" in page


def test_the_input_is_escaped(client: FlaskClient) -> None:
    page = client.post("/orders", data=GOOD | {"email": '"><script>'}).text
    assert "<script>" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize("book_id", ["", "0", "3", "x", "-1", "2147483648", "9" * 5000, "\0"])
def test_no_such_book(app: Flask, client: FlaskClient, book_id: str) -> None:
    response = client.post("/orders", data=GOOD | {"book_id": book_id})
    assert response.status_code == 400
    assert "There is no such book." in response.text
    assert count_orders(app) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:8888"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
def test_a_form_on_another_site_is_refused(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    response = client.post("/orders", data=GOOD, headers=headers)
    assert response.status_code == 403
    assert "another site" in response.text
    assert count_orders(app) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
    ],
)
def test_our_own_form_is_accepted(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/orders", data=GOOD, headers=headers).status_code == 302


def test_links_from_other_sites_work(client: FlaskClient) -> None:
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_customer_page_has_email_and_fax(client: FlaskClient) -> None:
    page = client.get("/customers/1").text
    assert "ada@example.com" in page and "+44 20 7946 0001" in page
    assert "There are no orders yet." in page


def test_the_newest_order_comes_first_and_twenty_a_page(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        db.session.execute(insert(Order), [{"customer_id": 1}] * 21)
        db.session.commit()
    first = client.get("/customers/1").text
    assert first.index("Order 21<") < first.index("Order 2<")
    assert "Order 1<" not in first
    assert "Order 1<" in client.get("/customers/1?page=2").text
    assert client.get("/customers/1?page=3").status_code == 404
