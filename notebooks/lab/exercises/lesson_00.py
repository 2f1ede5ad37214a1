from copy import deepcopy
from dataclasses import replace

from ..checks.evidence import Evidence
from ..checks.finding import Finding, Rule, few
from ..checks.keeps import Keeps
from ..checks.rules import keeps_rows, only
from ..schema import differences
from ..starting import Start
from . import Exercise


def _added(evidence: Evidence, table: str) -> list[dict]:
    """The rows of `table` that were not there at the beginning."""
    there_were = {row["id"] for row in evidence.start.rows[table]}
    return [row for row in evidence.live.rows.get(table, []) if row.get("id") not in there_were]


def _new_customer(evidence: Evidence) -> Finding | None:
    added = _added(evidence, "customers")
    look = 'here.sql("SELECT * FROM customers WHERE id > 30"); DELETE FROM customers WHERE id = ... takes one away'
    if len(added) != 1:
        found = [f"{row.get('id')} | {row.get('name')} | {row.get('email')}" for row in added]
        problem = "you are in the table more than once." if added else "there is no new row in customers."
        return Finding(
            problem,
            few(found) or f"{len(evidence.live.rows.get('customers', []))} customers, none of them new",
            "one new row",
            look if added else 'here.sql("INSERT INTO customers (...) VALUES (...)"), which adds one',
        )
    name, email = added[0].get("name") or "", added[0].get("email") or ""
    if not name.strip():
        return Finding("the new customer has no name.", f"name '{name}'", "a name", look)
    if "@" not in email.strip("@"):
        return Finding("the new customer has no email address.", f"email '{email}'", "something@something", look)
    if email != email.strip().lower():
        return Finding(
            "the website will not find this customer: it looks for addresses in lower case.",
            f"email '{email}'",
            f"email '{email.strip().lower()}'",
            'here.sql("UPDATE customers SET email = ... WHERE id = ...")',
        )
    return None


def nothing_else(*tables: str) -> Rule:
    """No row was added in `tables`."""

    def examine(evidence):
        added = [f"{table}: {len(rows)} more" for table in tables if (rows := _added(evidence, table))]
        if added:
            return Finding(
                "there are new rows where nothing was to be added.",
                few(added),
                "the rows that were there",
                'here.sql("DELETE FROM ... WHERE id = ...") takes one away',
            )
        return None

    return Rule("nothing else", examine)


BUYER, BOOK, COPIES = "amir.adams1@example.com", 7, 3


def _new_order(evidence: Evidence) -> Finding | None:
    added = _added(evidence, "orders")
    emails = {row.get("id"): row.get("email") for row in evidence.live.rows.get("customers", [])}
    found = [f"order {row.get('id')} of {emails.get(row.get('customer_id'))}, {row.get('status')}" for row in added]
    look = 'here.sql("SELECT * FROM orders ORDER BY id DESC LIMIT 3")'
    expected = f"one order of {BUYER}, new"
    if len(added) != 1:
        problem = f"there are {len(added)} new orders." if added else "there is no new order."
        return Finding(problem, few(found) or "only orders that were there before", expected, look)
    if emails.get(added[0].get("customer_id")) != BUYER:
        return Finding(
            "somebody else would get Amir's books.", found[0], expected, look + ", and Amir's id in customers"
        )
    if added[0].get("status") != "new":
        return Finding("nobody would pack this order: it does not stand as new.", found[0], expected, look)
    return None


def _its_lines(evidence: Evidence) -> Finding | None:
    orders = {row.get("id") for row in _added(evidence, "orders")}
    if not orders:
        return None
    price = next(row["price"] for row in evidence.start.rows["books"] if row["id"] == BOOK)
    lines = [row for row in _added(evidence, "order_lines") if row.get("order_id") in orders]
    found = {tuple(map(row.get, ("order_id", "book_id", "quantity", "unit_price"))) for row in lines}
    if len(lines) == len(orders) and found == {(order, BOOK, COPIES, price) for order in orders}:
        return None
    shown = [f"{row.get('quantity')} x book {row.get('book_id')} at {row.get('unit_price')}" for row in lines]
    return Finding(
        "the order does not hold what Amir asked for." if lines else "the new order is empty.",
        few(shown) or "no row of order_lines belongs to it",
        f"one line: {COPIES} x book {BOOK} at {price}",
        'here.sql("SELECT * FROM order_lines ORDER BY id DESC LIMIT 3")',
    )


# What a colleague renamed: the table, the column as it is called now, and as release 1 calls it.
RENAMED = (("books", "writer", "author"), ("order_lines", "price", "unit_price"))


def _release_1(evidence: Evidence) -> Finding | None:
    expected = deepcopy(evidence.start.schema)
    for table, wrong, right in RENAMED:
        columns = expected.tables[table].columns
        columns[right] = replace(columns.pop(wrong), name=right)
    if other := differences(expected, evidence.live.schema):
        return Finding(
            "the tables are not those of release 1.",
            few([text for _, _, text in other]),
            "no difference (- is missing, + should not be there, ~ is not the same)",
            "here.schema(), beside the picture that this lesson began with",
        )
    return None


def _website(evidence: Evidence) -> Finding | None:
    for page in ("GET /books/1", "GET /customers/1"):
        error, where = evidence.commands.run(evidence.url, page)
        if error:
            return Finding(
                "the website still answers with an error.",
                f"{page}: {error}",
                f"{page}: 200 OK",
                where or "the column in the error; the code of release 1 knew it as it was",
            )
    return None


CUSTOMER = Exercise(
    "00_customer",
    goal="""
        customers
            one row more, with a name and an email in lower case
        Nothing else is changed.
    """,
    rules=(
        Rule("new customer", _new_customer),
        nothing_else("books", "orders", "order_lines"),
        keeps_rows(),
        only(),
    ),
)

ORDER = Exercise(
    "00_order",
    goal="""
        orders
            one row more: of Amir Adams, with the status new
        order_lines
            one row for it: 3 copies at the book's price
        Nothing else is changed.
    """,
    rules=(
        Rule("new order", _new_order),
        Rule("its lines", _its_lines),
        nothing_else("books", "customers"),
        keeps_rows(),
        only(),
    ),
)

BY_HAND = Exercise(
    "00_by_hand",
    start=Start(
        "filled",
        left="00_by_hand",
        sql="""
            ALTER TABLE books RENAME COLUMN author TO writer;
            ALTER TABLE order_lines RENAME COLUMN unit_price TO price;
            INSERT INTO books (name, writer, price) VALUES ('The Moonstone', 'Wilkie Collins', 8.49);
        """,
    ),
    goal="""
        The schema is that of release 1, as the picture in this lesson shows it.
        The website answers 200 for books and for customers, with the code as it is.
        Every author and every price is there.
    """,
    rules=(
        Rule("schema of release 1", _release_1),
        keeps_rows(Keeps(moved={(table, wrong): right for table, wrong, right in RENAMED})),
        Rule("website", _website),
    ),
)

EXERCISES = (CUSTOMER, ORDER, BY_HAND)
