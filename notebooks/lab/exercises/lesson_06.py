from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, no_column, only, revisions
from ..starting import Start
from . import Exercise

SEED = ("flask seed --orders 20",)

PRICE_IS_KEPT = Keeps(moved={("order_lines", "unit_price"): "price"})

RENAME = Exercise(
    "06_rename",
    # What a book costs today is no longer what was paid for it.
    start=Start("filled", left="06_rename", sql="UPDATE books SET price = price + 1 WHERE id % 5 = 0"),
    goal="""
        order_lines
            price         numeric(8,2)              not null
        It holds what unit_price held, and unit_price is gone. A downgrade brings it back, filled.
        Pages, orders and flask seed work as before.
    """,
    rules=(
        revisions(),
        keeps_rows(PRICE_IS_KEPT),  # before the column: its default may be what hides the loss
        column("order_lines", "price", "numeric(8,2)", required=True, default=None),
        no_column("order_lines", "unit_price"),
        only("order_lines.price", "order_lines.unit_price"),
        replay(
            PRICE_IS_KEPT,
            # The page that follows the order shows its lines.
            pages=("POST /orders book_id=1&email=amir.adams1@example.com&quantity=3 shows at £5.99",),
            last=SEED,
        ),
    ),
)

NAME_IS_KEPT = Keeps(moved={("customers", "name"): "full_name"})

CONTRACT = Exercise(
    "06_contract",
    start=Start(
        "filled",
        left="06_contract",
        commands=("db upgrade",),
        sql="""
            INSERT INTO customers (name, email) VALUES ('Tilda Till', 'tilda@example.com'),
                                                       ('Theo Till', 'theo@example.com');
            INSERT INTO customers (full_name, email) VALUES ('Wanda Web', 'wanda@example.com')
        """,
    ),
    goal="""
        customers
            full_name     character varying(120)    not null
        and no column name. Every customer keeps the name that somebody typed, in full_name after
        your revision, and in name as well after its downgrade.
    """,
    rules=(
        revisions(),
        column("customers", "full_name", "character varying(120)", required=True),
        no_column("customers", "name"),
        only("customers.full_name", "customers.name"),
        keeps_rows(NAME_IS_KEPT),
        replay(NAME_IS_KEPT, pages=("GET /customers/1",), last=SEED),
    ),
)

MOMENT_IS_KEPT = Keeps(moved={("orders", "ordered_at"): "placed_at"})

LOST = Exercise(
    "06_lost",
    start=Start("filled", left="06_lost"),
    goal="""
        orders
            placed_at     timestamp with time zone  not null, default now()
        and no column ordered_at. Each order has the moment it had before, after the upgrade and
        after a downgrade. The revision is applied.
    """,
    rules=(
        revisions(mend=("rename_ordered_at_to_placed_at",)),
        column("orders", "placed_at", "timestamp with time zone", required=True, default="now()"),
        no_column("orders", "ordered_at"),
        only("orders.placed_at", "orders.ordered_at"),
        keeps_rows(MOMENT_IS_KEPT),
        replay(MOMENT_IS_KEPT, pages=("GET /customers/1",)),
    ),
)

EXERCISES = (RENAME, CONTRACT, LOST)
