from flask import Blueprint, render_template, request
from sqlalchemy import or_, select

from bookshop.database import db
from bookshop.models import Book
from bookshop.urls import page_number

bp = Blueprint("catalogue", __name__)


@bp.get("/")
def index() -> str:
    # PostgreSQL's text cannot hold a NUL character.
    q = request.args.get("q", "").replace("\0", "").strip()
    query = select(Book).order_by(Book.name, Book.id)
    if q:
        query = query.where(
            or_(Book.name.icontains(q, autoescape=True), Book.author.icontains(q, autoescape=True))
        )
    books = db.paginate(query, page=page_number(), per_page=12)
    return render_template("index.html", books=books, q=q)


@bp.get("/books/<key:book_id>")
def book(book_id: int) -> str:
    return render_template("book.html", book=db.get_or_404(Book, book_id), form={}, errors={})
