import ast
from pathlib import Path

from ..checks.finding import Finding, Rule, few
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, only, part, revisions, rows, together
from ..checks.snapshot import Snapshot
from ..starting import Start
from . import Exercise

SPLIT = Exercise(
    "09_split",
    start=Start(
        "filled",
        left="09_split",
        sql="INSERT INTO books (name, author, price) VALUES ('The Odyssey', 'Homer', 9.99),"
        " ('Don Quixote', 'Miguel de Cervantes', 12.49), ('Faust', 'Johann Wolfgang von  Goethe', 8.99)",
    ),
    goal="""
        books
            author_first  character varying(120)
            author_last   character varying(120)    not null
        Both together, with a space between, are the author of each book. The revision is applied.
    """,
    rules=(
        revisions(),
        column("books", "author_first", "character varying(120)"),
        column("books", "author_last", "character varying(120)", required=True),
        rows(
            "values",
            """
            SELECT author, author_first, author_last FROM books
             WHERE author_first IS DISTINCT FROM substring(author FROM '^(.*) [^ ]+$')
                OR author_last IS DISTINCT FROM coalesce(substring(author FROM ' ([^ ]+)$'), author)
             ORDER BY id LIMIT 3
            """,
            [],
            "not every author is split as the task says. Some that are not, with author_first and author_last:",
            "the UPDATE in your revision: what it does with one word, and with more than two",
            words="the last word in author_last, all before it in author_first, and nothing there for a single word",
        ),
        only("books.author_first", "books.author_last"),
        keeps_rows(),
        replay(pages=("GET /books/1",)),
    ),
)

TOO_MANY_AND_MISSING = """
SELECT 'too much: customer ' || a.customer, a.kind, quote_literal(a.number) FROM ({found} EXCEPT ALL {right}) AS a
UNION ALL
SELECT 'missing: customer ' || b.customer, b.kind, quote_literal(b.number) FROM ({right} EXCEPT ALL {found}) AS b
 ORDER BY 1, 2, 3
""".format(
    found="SELECT customer_id AS customer, kind::text, number::text FROM contact_numbers",
    right="SELECT id AS customer, 'fax' AS kind, fax::text AS number FROM customers WHERE fax <> ''",
)


def _numbers(snapshot: Snapshot) -> list[tuple]:
    """The rows of contact_numbers, whatever their ids."""
    return sorted(
        (row.get("customer_id"), row.get("kind"), row.get("number")) for row in snapshot.rows["contact_numbers"]
    )


def _filled_by_the_revision(evidence) -> Finding | None:
    step = evidence.replay().get("up")
    if step is None or step.failed or "contact_numbers" not in step.after.rows:
        return None  # that is the replay's to tell
    made, found = _numbers(step.after), _numbers(evidence.live)
    if made == found:
        return None
    return Finding(
        "your revision does not fill the table as your database has it.",
        f"{len(made)} rows on a fresh copy of the starting data, {len(found)} rows in your database",
        "the same rows, put in by the revision",
        "what was filled in by hand, or which file was changed after it had been applied",
    )


NUMBERS = Exercise(
    "09_numbers",
    # Some customers left the field of the form empty.
    start=Start("filled", left="09_numbers", sql="UPDATE customers SET fax = '' WHERE id IN (4, 5, 8)"),
    goal="""
        contact_numbers
            id            integer                   primary key
            customer_id   integer                   not null, refers to customers
            kind          character varying(10)     not null
            number        character varying(40)     not null
        A row of kind fax for each customer with a number, put there by the revision.
    """,
    rules=(
        revisions(),
        together(
            "columns",
            column("contact_numbers", "customer_id", "integer", required=True),
            column("contact_numbers", "kind", "character varying(10)", required=True),
            column("contact_numbers", "number", "character varying(40)", required=True),
        ),
        part("contact_numbers", "foreign key", ("customer_id",), like="customers"),
        rows(
            "numbers",
            TOO_MANY_AND_MISSING,
            [],
            "contact_numbers does not hold the fax numbers that there are. What differs, with kind and number:",
            "the INSERT in your revision, and its WHERE: NULL and '' are no numbers",
            words="one row of kind fax for each customer with a number, and no other row",
        ),
        Rule("filled", _filled_by_the_revision),
        only("contact_numbers"),
        keeps_rows(),
        replay(),
    ),
)

BEFORE_DANA = "e2062c5f334d"


def _same_totals(evidence) -> Finding | None:
    """Undone and run again on a copy of the starting data, Dana's revision gives each order the total it has."""
    url = evidence.fresh("refilled")
    for command in (f"flask db downgrade {BEFORE_DANA}", "flask db upgrade"):
        if evidence.commands.run(url, command)[0]:
            return None  # that is the replay's to tell
    right = {row["id"]: row["paid_total"] for row in evidence.start.rows["orders"]}
    made = {row["id"]: row.get("paid_total") for row in Snapshot.read(url).rows["orders"]}
    others = [order for order, total in right.items() if made.get(order) != total]
    if not others:
        return None
    found = few([f"order {order}: {_word(made.get(order))}, and here it is {right[order]}" for order in others])
    expected = "quantity times price of all lines, and 0.00 for an order that has none"
    if all(total is None for total in made.values()):
        return Finding(
            "on the orders of release 1 the file fills in no total at all.",
            found,
            expected,
            "Dana's loop: it is to be said in another way, not to be taken out",
        )
    if all(made.get(order) is None and not right[order] for order in others):
        look = "the UPDATE in Dana's file, and orders without lines: SQL's sum of nothing is NULL"
    else:
        look = "what Dana's file computes now, beside Order.total in bookshop/models.py"
    return Finding("on the orders of release 1 the file makes other totals than it made here.", found, expected, look)


def _word(value) -> str:
    return "NULL" if value is None else str(value)


def _no_model(evidence) -> Finding | None:
    """No revision imports the application: what is in it changes, and what a revision does must not."""
    ours = {path.stem for path in evidence.folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    for revision in evidence.revisions:
        for node in ast.walk(ast.parse(Path(revision.path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            if found := [name for name in names if name.partition(".")[0] in ours]:
                return Finding(
                    "a revision imports the application, so the next change of a model may break it again.",
                    f"an import from {found[0]}",
                    "a revision that names tables and columns, never a model",
                    f"{evidence.path(revision)}, line {node.lineno}",
                )
    return None


EMPTY = Exercise(
    "09_empty",
    start=Start(
        "filled",
        left="09_empty",
        # The two revisions ran here when they were written; today the first one would not run any more.
        commands=("db stamp head",),
        sql="""
            ALTER TABLE orders ADD paid_total numeric(10, 2);
            ALTER TABLE orders ADD note varchar(200);
            DELETE FROM order_lines WHERE order_id = 7;
            UPDATE orders SET paid_total =
                   (SELECT coalesce(sum(quantity * unit_price), 0) FROM order_lines WHERE order_id = orders.id)
        """,
    ),
    goal="""
        flask db upgrade runs on an empty database, from the first revision to the last, and on the orders
        of release 1, where it gives each order the total that it has here. No revision imports a model.
    """,
    rules=(
        revisions(mend=("add_paid_total_to_orders",)),
        Rule("same totals", _same_totals),
        only(),
        keeps_rows(),
        replay(Keeps(lost_on_the_way_back=(("orders", "paid_total"),)), below=BEFORE_DANA),
        Rule("no model", _no_model),
    ),
)

EXERCISES = (SPLIT, NUMBERS, EMPTY)
