import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert

from bookshop.database import db
from bookshop.models import Book

HOSTILE = [
    "'",
    '"; DROP TABLE books; --',
    "%",
    "_",
    "\\",
    "\0",
    "<script>",
    "ß🐍\u202e",
    "x" * 5000,
]


def test_the_catalogue_lists_books(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "<title>Books – Bookshop</title>" in page
    assert "Emma" in page and "Jane Austen" in page and "£8.00" in page


@pytest.mark.parametrize("q", ["emma", "EMM", "austen", " Emma "])
def test_search_looks_at_title_and_author(client: FlaskClient, q: str) -> None:
    page = client.get("/", query_string={"q": q}).text
    assert "1 book found" in page
    assert ">Emma</a>" in page and "Knits" not in page


@pytest.mark.parametrize("q", ["%", "_", "\\", "'", "100% wool_"])
def test_wildcards_are_plain_characters(client: FlaskClient, q: str) -> None:
    page = client.get("/", query_string={"q": q}).text
    assert "1 book found" in page and ">Emma</a>" not in page


def test_search_without_a_match(client: FlaskClient) -> None:
    assert "0 books found" in client.get("/?q=zzz").text


@pytest.mark.parametrize("q", HOSTILE)
def test_hostile_searches_are_searches(client: FlaskClient, q: str) -> None:
    response = client.get("/", query_string={"q": q})
    assert response.status_code == 200
    assert "<script>" not in response.text


def test_no_books_yet(empty_app: Flask) -> None:
    assert "There are no books yet." in empty_app.test_client().get("/").text


def test_twelve_books_a_page(app: Flask, client: FlaskClient) -> None:
    books = [{"name": f"Volume {n:02}", "author": "A & B", "price": 1} for n in range(1, 14)]
    with app.app_context():
        db.session.execute(insert(Book), books)
        db.session.commit()
    first = client.get("/?q=a+%26+b").text
    assert "Page 1 of 2" in first and "Volume 12" in first and "Volume 13" not in first
    assert 'href="/?page=2&amp;q=a+%26+b"' in first
    second = client.get("/?q=a+%26+b&page=2").text
    assert "Volume 13" in second and "Volume 12" not in second


@pytest.mark.parametrize("page", ["0", "-1", "3", "x", "", "1e3", "٣", "9" * 30, "9" * 5000, "\0"])
def test_a_page_that_does_not_exist(client: FlaskClient, page: str) -> None:
    assert client.get("/", query_string={"page": page}).status_code == 404


def test_a_book_has_its_page(client: FlaskClient) -> None:
    page = client.get("/books/1").text
    assert "<title>Emma – Bookshop</title>" in page
    assert '<label for="email">' in page and '<label for="quantity">' in page


@pytest.mark.parametrize("key", ["0", "3", "-1", "x", "2147483648", "9" * 30, "9" * 5000, "%00"])
@pytest.mark.parametrize("kind", ["books", "customers"])
def test_no_such_book_or_customer(client: FlaskClient, kind: str, key: str) -> None:
    response = client.get(f"/{kind}/{key}")
    assert response.status_code == 404
    assert "<h1>Not Found</h1>" in response.text


def test_what_comes_from_the_database_is_escaped(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        book = Book(name="<script>alert(1)</script>", author="<b>Bold</b>", price=1)
        db.session.add(book)
        db.session.commit()
        path = f"/books/{book.id}"
    for page in (client.get("/").text, client.get(path).text):
        assert "<script>" not in page and "<b>" not in page
        assert "&lt;script&gt;" in page
