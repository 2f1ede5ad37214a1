from ..checks.evidence import Evidence
from ..checks.finding import Finding, Rule
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import accepts, column, keeps_rows, only, part, refuses, revisions, rows, same_files, together
from ..checks.snapshot import looking_at
from ..checks.traffic_rule import blocks_nobody
from ..starting import Start
from . import Exercise

WAREHOUSE = Exercise(
    "16_warehouse",
    start=Start("filled", left="16_warehouse"),
    goal="""
        orders
            channel     character varying(20)      not null   default 'web'
            entered_at  timestamp with time zone   the moment at which a new order is entered, empty for the old ones
            status      character varying(20)      refuses more than 10 characters
        flask db upgrade leaves the orders in the file in which they are. The revision is applied.
    """,
    rules=(
        revisions(mend=("prepare_orders_for_the_warehouse",)),
        together(
            "columns",
            column("orders", "channel", "character varying(20)", required=True, default="'web'"),
            column("orders", "entered_at", "timestamp with time zone"),
            column("orders", "status", "character varying(20)", required=True, default="'new'"),
        ),
        rows(
            "old orders",
            "SELECT count(entered_at) FROM orders WHERE id <= 500",
            [(0,)],
            "old orders got a moment of entry, and nobody knows theirs (counted: with a moment).",
            "the default of entered_at: does it come together with the column, or after it?",
        ),
        accepts(
            "moment",
            # divides by zero where the moment is another one
            "WITH made AS (INSERT INTO orders (id, customer_id) VALUES (-1, 1) RETURNING entered_at) "
            "SELECT 1 / coalesce(entered_at > now() - interval '1 minute', false)::int FROM made",
            "a new order does not get the moment of its entry.",
            "the default of entered_at",
        ),
        together(
            "status",
            refuses(
                "eleven",
                "UPDATE orders SET status = 'eleven char' WHERE id = 1",
                "a status of eleven characters gets into the table.",
                "the constraint on orders.status",
            ),
            accepts(
                "ten",
                "UPDATE orders SET status = 'ten chars.' WHERE id = 1",
                "a status of ten characters is refused.",
                "the constraint on orders.status",
            ),
        ),
        same_files("each statement of upgrade(): which of them has to put something else into every row?"),
        only("orders.channel", "orders.entered_at", "orders.status"),
        keeps_rows(),
        replay(pages=("GET /customers/1", "POST /orders book_id=1&quantity=1&email=amir.adams1@example.com")),
    ),
)

# The row of a constraint is written when it is added and once more when it is validated; its triggers are not.
# Within a transaction, what was written by a later statement has the higher cmin.
TRANSACTIONS = """
SELECT conname::text, convalidated, c.xmin <> t.xmin,
       (SELECT count(*) FROM orders AS o WHERE o.xmin = t.xmin AND o.cmin::text::int > t.cmin::text::int)
  FROM pg_constraint AS c JOIN pg_trigger AS t ON tgconstraint = c.oid AND tgrelid = conrelid
 WHERE contype = 'f' AND conrelid = 'orders'::regclass AND confrelid = to_regclass('vouchers')
 ORDER BY 3 LIMIT 1
"""


def _in_two_transactions(evidence: Evidence) -> Finding | None:
    """One upgrade of the starting data adds the key in one transaction and validates it in a later one."""
    url = evidence.fresh("transactions")
    if evidence.commands.run(url, "flask db upgrade")[0]:
        return None  # that is the replay's to tell
    with looking_at(url) as connection, connection.cursor() as cursor:
        cursor.execute(TRANSACTIONS)
        key = cursor.fetchone()
    if not key or not key[1]:  # a key that is missing or not validated is told by another rule
        return None
    name, _, apart, mended = key
    if not apart:
        return Finding(
            "one flask db upgrade makes and checks the key in a single transaction.",
            f"{name} was added and validated by the same transaction: both tables are locked all the while",
            "added NOT VALID in one transaction, validated in a later one",
            "how many transactions the run has: lesson 14's transaction_per_migration, or autocommit_block()",
        )
    if mended:
        return Finding(
            "old orders are mended while the new key still has both tables locked.",
            f"{mended} orders were written after {name} was added, by the same transaction",
            "the key alone in its transaction; the old orders are mended in a later one",
            "which of your transactions the UPDATE is in",
        )
    return None


VOUCHERS = Exercise(
    "16_vouchers",
    start=Start(
        "filled",
        left="16_vouchers",
        commands=("db upgrade",),
        sql="""
            INSERT INTO vouchers (code) SELECT 'SPRING-' || n FROM generate_series(1, 20) AS n;
            UPDATE orders SET voucher_id = 1 + id / 10 % 20 WHERE id % 10 = 3;
            DELETE FROM vouchers WHERE id = 13
        """,
    ),
    goal="""
        orders
            voucher_id   a foreign key to vouchers, which PostgreSQL has checked for all orders
        An order whose voucher is not there has none. One flask db upgrade adds the key in one transaction
        and checks it in another. All revisions are applied.
    """,
    rules=(
        revisions(),
        part("orders", "foreign key", ("voucher_id",), like="REFERENCES vouchers"),
        rows(
            "vouchers",
            "SELECT count(*) FROM orders WHERE voucher_id IS NOT NULL",
            [(48,)],
            "not exactly those orders have a voucher whose voucher is there (counted: with a voucher).",
            "the UPDATE: it takes the voucher only from orders whose voucher_id is not in vouchers",
        ),
        Rule("two transactions", _in_two_transactions),
        only("orders.voucher_id"),
        keeps_rows(Keeps(changes=(("orders", "voucher_id"),))),
        replay(
            Keeps(
                changes=(("orders", "voucher_id"),),
                lost_on_the_way_back=(("orders", "voucher_id"),),
            )
        ),
    ),
)

DEALERS = Exercise(
    "16_dealers",
    start=Start("large", left="16_dealers"),
    goal="""
        customers
            bought   numeric(12,2)   of customers with a fax number: the sum of all that they have ordered
        Under traffic flask db upgrade blocks nobody for longer than a second. The revisions are applied.
    """,
    rules=(
        together(
            "column",
            revisions(mend=("add_bought_to_customers",)),
            column("customers", "bought", "numeric(12,2)"),
        ),
        rows(
            "values",
            """
            SELECT count(*) FILTER (WHERE fax IS NOT NULL AND bought IS NULL),
                   count(*) FILTER (WHERE fax IS NULL AND bought IS NOT NULL),
                   count(*) FILTER (WHERE id <= 300 AND fax IS NOT NULL AND bought <>
                       (SELECT sum(quantity * unit_price) FROM order_lines JOIN orders ON orders.id = order_id
                         WHERE customer_id = customers.id))
              FROM customers
            """,
            [(0, 0, 0)],
            "not every customer has the right value (counted: empty, too many, wrong among the first 300).",
            "what fills customers.bought, and whether it reached the last id",
        ),
        together("nothing else", only("customers.bought"), keeps_rows()),
        blocks_nobody(),
    ),
)

EXERCISES = (WAREHOUSE, VOUCHERS, DEALERS)
