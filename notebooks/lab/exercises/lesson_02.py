from ..checks.finding import Finding, Rule
from ..checks.replay_rule import replay
from ..checks.rules import accepts, column, keeps_rows, only, part, refuses, revisions, together
from ..starting import Start
from . import Exercise


def makes(*tables: str) -> Rule:
    """The revisions make these tables and no others, whether they are applied or not."""

    def examine(evidence):
        up = evidence.replay().get("up")
        if not up or up.failed:
            return None  # the rule replay tells it
        found, expected = set(up.after.schema.tables), set(tables)
        if found == expected:
            return None
        shown = "tables: " + (", ".join(sorted(found)) or "none"), "tables: " + ", ".join(sorted(expected))
        if not found:
            return Finding(
                "your revision makes no table.",
                *shown,
                "upgrade() in the file. flask db revision compares nothing; flask db migrate writes what it finds",
            )
        if missing := sorted(expected - found):
            return Finding(
                f"no revision makes {', '.join(missing)}.",
                *shown,
                "the imports in bookshop/__init__.py: which modules with models does nobody import?",
            )
        return Finding(
            f"a revision makes {', '.join(sorted(found - expected))}, too.",
            *shown,
            "the models: which of them is not the bookshop's?",
        )

    return Rule("tables", examine)


FIRST = Exercise(
    "02_first",
    start=Start("initialised", left="02_first"),
    goal="""
        A revision with a message that makes five tables out of nothing: books, customers,
        orders, order_lines and suppliers. Going back to base leaves none of them.
        Your database may stay empty.
    """,
    rules=(
        revisions(may_wait=True),
        makes("books", "customers", "orders", "order_lines", "suppliers"),
        replay(may_wait=True),
    ),
)


def _voucher(amount: str) -> str:
    return f"INSERT INTO vouchers (id, code, amount) OVERRIDING SYSTEM VALUE VALUES (-1, 'T{amount}', {amount})"


RANGE = "the CHECK in the model; whether the revision makes it: a CHECK that comes later is not detected"

VOUCHERS = Exercise(
    "02_vouchers",
    goal="""
        vouchers
            id            integer                   primary key
            code          character varying(12)     not null, no two the same
            amount        numeric(8,2)              not null, from 5 to 100
            customer_id   integer                   refers to customers, may be empty
        PostgreSQL itself refuses every other amount. The revision is applied.
    """,
    rules=(
        revisions(),
        together(
            "columns",
            column("vouchers", "id", "integer", required=True),
            column("vouchers", "code", "character varying(12)", required=True),
            column("vouchers", "amount", "numeric(8,2)", required=True),
            column("vouchers", "customer_id", "integer"),
        ),
        together(
            "keys",
            part("vouchers", "primary key", ("id",)),
            part("vouchers", "unique", ("code",)),
            part("vouchers", "foreign key", ("customer_id",), like="REFERENCES customers"),
        ),
        together(
            "amounts",
            refuses("low", _voucher("4.99"), "a voucher for less than 5 gets in.", RANGE),
            refuses("high", _voucher("100.01"), "a voucher for more than 100 gets in.", RANGE),
            accepts("lowest", _voucher("5"), "a voucher for 5 does not get in.", RANGE),
            accepts("highest", _voucher("100"), "a voucher for 100 does not get in.", RANGE),
        ),
        only("vouchers"),
        keeps_rows(),
        replay(),
    ),
)


def _book(price: str) -> str:
    return f"INSERT INTO books (id, name, author, price) VALUES (-1, 'A test', 'Nobody', {price})"


def _models_as_they_are(evidence) -> Finding | None:
    if "bookshop/models.py" not in evidence.changed():
        return None
    return Finding(
        "the models have changed, and they were what Ravi wanted.",
        "another bookshop/models.py",
        "the models as they were, and tables that follow them",
        "git diff bookshop/models.py; git checkout -- bookshop/models.py brings them back",
    )


UNSEEN = Exercise(
    "02_unseen",
    start=Start("filled", left="02_unseen"),
    goal="""
        All that bookshop/models.py asks for holds in the tables, too, also what flask db check
        does not look for. Revisions make it so and can take it back. They are applied.
    """,
    rules=(
        Rule("models", _models_as_they_are),
        revisions(mend=("stricter_books_and_order_lines",)),
        together(
            "price",
            refuses(
                "negative",
                _book("-0.01"),
                "a book with a negative price gets in.",
                "__table_args__ in class Book, and what of it stands in the revision",
            ),
            accepts("nothing", _book("0"), "a book that costs nothing does not get in.", "the CHECK in the revision"),
        ),
        column("order_lines", "quantity", "integer", required=True, default="1"),
        only("books.author", "books.price", "order_lines.quantity"),
        keeps_rows(),
        replay(),
    ),
)

EXERCISES = (FIRST, VOUCHERS, UNSEEN)
