from datetime import UTC, datetime

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from bookshop.database import db
from bookshop.models import Book, Customer, Order, OrderLine
from bookshop.urls import page_number

MOST_COPIES = 99

bp = Blueprint("orders", __name__)


@bp.app_template_filter()
def day(moment: datetime) -> str:
    """The day in UTC: the zone of a timestamp from PostgreSQL depends on the server."""
    return moment.astimezone(UTC).date().isoformat()


@bp.get("/customers/<key:customer_id>")
def customer(customer_id: int) -> str:
    found = db.get_or_404(Customer, customer_id)
    query = (
        select(Order)
        .where(Order.customer_id == found.id)
        .order_by(Order.ordered_at.desc(), Order.id.desc())
        .options(selectinload(Order.lines).joinedload(OrderLine.book))
    )
    orders = db.paginate(query, page=page_number(), per_page=20)
    return render_template("customer.html", customer=found, orders=orders)


@bp.post("/orders")
def place() -> Response | tuple[str, int]:
    book = find_book(request.form.get("book_id", ""))
    customer = find_customer(request.form.get("email", ""))
    quantity = whole_number(request.form.get("quantity", ""))

    errors = {}
    if customer is None:
        errors["email"] = "No customer has this email address."
    if quantity is None or not 1 <= quantity <= MOST_COPIES:
        errors["quantity"] = f"Order between 1 and {MOST_COPIES} copies."
    if errors:
        return render_template("book.html", book=book, form=request.form, errors=errors), 400

    line = OrderLine(book=book, quantity=quantity, unit_price=book.price)
    order = Order(customer=customer, lines=[line])
    db.session.add(order)
    db.session.commit()
    flash(f"Thank you, this is your order {order.id}.")
    return redirect(url_for("orders.customer", customer_id=order.customer_id))


def find_book(text: str) -> Book:
    book_id = whole_number(text)
    book = db.session.get(Book, book_id) if book_id is not None else None
    return book or abort(400, "There is no such book.")


def find_customer(email: str) -> Customer | None:
    email = email.replace("\0", "").strip().lower()
    return db.session.scalar(select(Customer).where(Customer.email == email))


def whole_number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
