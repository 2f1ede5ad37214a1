from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, only, revisions, rows
from ..starting import Start
from . import Exercise

PAGES = ("GET /books/1", "GET /customers/1")

PHONE = Exercise(
    "05_phone",
    goal="""
        customers
            phone         character varying(40)
        phone may be empty, and no customer has one yet. The revision is applied.
    """,
    rules=(
        revisions(),
        column("customers", "phone", "character varying(40)", default=None),
        rows(
            "nobody has one",
            "SELECT name, phone FROM customers WHERE phone IS NOT NULL ORDER BY id LIMIT 3",
            [],
            "some customers have a phone number, and nobody has asked them for it.",
            "an UPDATE or a default in your revision",
        ),
        only("customers.phone"),
        keeps_rows(),
        replay(pages=PAGES),
    ),
)

SHIPPING = Exercise(
    "05_shipping",
    goal="""
        orders
            shipping      numeric(8,2)              not null
        2.95 for an order that is shipped, 0 for any other, and no default in the table.
        The website takes orders as before.
    """,
    rules=(
        revisions(),
        column("orders", "shipping", "numeric(8,2)", required=True, default=None),
        rows(
            "values",
            "SELECT DISTINCT status, shipping::text FROM orders ORDER BY status, shipping",
            [("new", "0.00"), ("paid", "0.00"), ("shipped", "2.95")],
            "some orders have another value for shipping than the task says.",
            "the UPDATE in your revision",
        ),
        only("orders.shipping"),
        keeps_rows(),
        replay(pages=(*PAGES, "POST /orders book_id=1&email=amir.adams1@example.com&quantity=1")),
    ),
)

JOINED = Exercise(
    "05_joined",
    start=Start(
        "filled", left="05_joined", sql="INSERT INTO customers (name, email) VALUES ('Nora New', 'nora@example.com')"
    ),
    goal="""
        customers
            joined_on     date                      not null
        the day of the customer's first order (in UTC), or 2026-01-01 for who has ordered nothing.
        A revision does it, and can be undone.
    """,
    rules=(
        revisions(mend=("add_joined_on_to_customers",)),
        column("customers", "joined_on", "date", required=True),
        rows(
            "values",
            """
            SELECT name, joined_on::text, coalesce(first, '2026-01-01')::text
              FROM customers LEFT JOIN (SELECT customer_id, min(ordered_at)::date AS first FROM orders GROUP BY 1) AS o
                ON customer_id = customers.id
             WHERE joined_on IS DISTINCT FROM coalesce(first, '2026-01-01') ORDER BY id LIMIT 3
            """,
            [],
            "not every customer has the right day. Some that do not, with the day found and the right one:",
            "the UPDATE in the revision",
        ),
        only("customers.joined_on"),
        keeps_rows(),
        replay(),
    ),
)

EXERCISES = (PHONE, SHIPPING, JOINED)
