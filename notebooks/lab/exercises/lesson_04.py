from ..checks.backup import backup
from ..checks.finding import Finding, Rule
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import accepts, keeps_rows, no_column, only, refuses, revisions
from ..starting import Start
from . import Exercise


def stands_at(revision: str) -> Rule:
    """`alembic_version` says that the database is at `revision`."""

    def examine(evidence):
        applied = evidence.live.applied
        if applied == [revision]:
            return None
        return Finding(
            "the database does not say that it is where the old release left it.",
            f"in alembic_version: {', '.join(applied) or 'nothing'}",
            revision,
            "flask db history shows the order; flask db downgrade changes the tables and alembic_version together",
        )

    return Rule("stands at", examine)


BACK = Exercise(
    "04_back",
    goal="""
        The database is at d1aec552451b: customers has no column fax, every other row and value is there.
        The file before.dump holds the whole database as it was before, in any format that is one file.
    """,
    rules=(
        stands_at("d1aec552451b"),
        no_column("customers", "fax"),
        keeps_rows(Keeps(changes=(("customers", "fax"),))),
        backup("before.dump"),
    ),
)

PASS = Exercise(
    "04_pass",
    start=Start("filled", left="04_pass", commands=("db upgrade",)),
    goal="""
        Going back one revision leaves the database as if 9c4e1d7b20fa had never been applied, and coming
        forward works again. At the end the database is at the head, and no row is missing.
    """,
    rules=(
        revisions(mend=("find_orders_by_status",)),
        only("orders.status"),
        keeps_rows(),
        replay(below="e2062c5f334d"),
    ),
)

FORWARD = Exercise(
    "04_forward",
    start=Start(
        "filled",
        left="04_forward",
        commands=("db upgrade",),
        sql="UPDATE orders SET gift_note = 'Happy birthday, from number ' || id WHERE id % 45 = 20",
    ),
    goal="""
        An order line may hold up to 99 copies, and still at least one. All gift notes are there.
        A new revision does it, and going back one step leaves the tables as Sam's revision had made them.
    """,
    rules=(
        revisions(),
        accepts(
            "takes many",
            "UPDATE order_lines SET quantity = 99 WHERE id = 1",
            "the shop still cannot sell 99 copies at once.",
            "the name in PostgreSQL's message, and here.table of the table it speaks of",
        ),
        refuses(
            "refuses none",
            "UPDATE order_lines SET quantity = 0 WHERE id = 1",
            "an order line of no copies is accepted now.",
            'here.table("order_lines"): ck_order_lines_quantity_positive was there before Sam came',
        ),
        only("order_lines.quantity"),
        keeps_rows(),
        replay(pages=("GET /customers/1",)),
    ),
)

EXERCISES = (BACK, PASS, FORWARD)
