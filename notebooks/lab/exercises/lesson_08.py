import re
from dataclasses import dataclass, replace

from ..checks.finding import Finding, Rule, few
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, only, refuses, revisions, rows
from ..starting import Start
from . import Exercise

PAGES = ("GET /", "GET /books/1", "GET /customers/1")


def values(table: str, name: str, right, pages: tuple[str, ...], problem: str, look: str) -> Rule:
    """Each row has in column `name` what `right(row, start)` says of it as it was at the start.

    That holds in the live database, and also where the revisions run by themselves, in the replay with `pages`.
    """

    def wrong_in(now, start):
        found = {row["id"]: row.get(name) for row in now.rows.get(table, [])}
        expected = {row["id"]: right(row, start) for row in start.rows[table]}
        return [
            f"{table[:-1]} {key}{_was(row[name])}: {_word(found[key])}, not {_word(expected[key])}"
            for key, row in ((row["id"], row) for row in start.rows[table])
            if key in found and found[key] != expected[key]
        ]

    def examine(evidence):
        steps = evidence.replay(pages)
        up = steps["up"].after if "up" in steps else None
        mine = wrong_in(evidence.live, evidence.start)
        fresh = wrong_in(up, evidence.start) if up else []
        if mine and up and not fresh:
            again = f'exercise("{evidence.exercise.name}")'
            return Finding(
                "your revision is right; your database is not, since it lost old values in an earlier try.",
                few(mine),
                "all as the task says, as on a fresh copy after flask db upgrade",
                "no downgrade brings back what an upgrade has lost. Keep your files and begin again: "
                f"{again} moves them to work/earlier; put them back from there, then flask db upgrade",
            )
        if mine:
            return Finding(problem, few(mine), "all as the task says", look)
        if fresh:
            return Finding(
                problem,
                few(fresh),
                "all as the task says; look at a fresh copy after flask db upgrade",
                "what the revision does is not enough: what was done by hand has to be in it",
            )
        return None

    return Rule("values", examine)


def _was(value) -> str:
    return f" ({value!r})" if isinstance(value, str) else ""


def _word(value) -> str:
    return "nothing" if value is None else str(value)


def _first_year(row, start):
    found = re.search(r"\d{4}", row["published"] or "")
    return int(found[0]) if found else None


PUBLISHED = ("books", "published")

YEAR = Exercise(
    "08_year",
    start=Start(
        "filled",
        left="08_year",
        commands=("db upgrade",),
        sql="""
            UPDATE books SET published = CASE id % 8
                WHEN 1 THEN 'c. ' || year WHEN 3 THEN year || ' (again ' || year + 12 || ')'
                WHEN 5 THEN 'unknown' WHEN 7 THEN '' ELSE year || '' END
              FROM (SELECT id AS book, 1800 + id * 3 AS year FROM books) AS years WHERE book = id
        """,
    ),
    goal="""
        books
            published     integer
        the year that stands first in the old text, as 1809 in '1809 (again 1821)', and empty where there is none.
        A revision converts it. Going back it is a text of 20 characters again, though no longer the old one.
    """,
    rules=(
        revisions(),
        column("books", "published", "integer"),
        values(
            *PUBLISHED,
            _first_year,
            PAGES,
            "not every book has the right year. Some that do not, with the old text:",
            "the expression in postgresql_using: try it with SELECT before you upgrade",
        ),
        only("books.published"),
        keeps_rows(Keeps(changes=(PUBLISHED,))),
        replay(Keeps(changes=(PUBLISHED,), lost_on_the_way_back=(PUBLISHED,)), pages=PAGES),
    ),
)

DELIVERY = ("orders", "delivery")
ORDERED = (*PAGES, "POST /orders book_id=1&email=amir.adams1@example.com&quantity=1")


def _delivered(row, start):
    return "collect" if row["status"] == "new" else row["delivery"]


def _readable(evidence) -> Finding | None:
    """After going back no order holds a word that the older model does not know."""
    back = evidence.replay(ORDERED).get("back")
    if back is None or back.failed:
        return None  # that is the replay's to tell
    left = [row["id"] for row in back.after.rows["orders"] if row["delivery"] not in ("post", "courier")]
    if not left:
        return None
    return Finding(
        "after flask db downgrade there are orders that the older model cannot read.",
        f"{len(left)} orders with 'collect'; to a model with post and courier that is a LookupError, and a page's 500",
        "no order with 'collect' after flask db downgrade",
        "downgrade(): the word may stay in the type, but not in the rows",
    )


def _up_again(evidence) -> Finding | None:
    """After going back the revisions go up again: a value of an enum may have stayed, or a type."""
    steps = evidence.replay(ORDERED)
    if any(step.failed for step in steps.values()):
        return None  # that is the replay's to tell; otherwise its database is at the head now
    back, _ = evidence.commands.run(evidence.scratch, steps["back"].command)
    failed, where = evidence.commands.run(evidence.scratch, "flask db upgrade")
    if not back and not failed:
        return None
    return Finding(
        "after flask db downgrade your revision cannot be applied a second time.",
        back or failed,
        "up, back and up again",
        where or "what downgrade() leaves behind, and whether upgrade() minds it",
    )


COLLECT = Exercise(
    "08_collect",
    start=Start(
        "filled",
        left="08_collect",
        commands=("db upgrade",),
        sql="UPDATE orders SET delivery = 'courier' WHERE id % 5 = 0",
    ),
    goal="""
        orders.delivery takes a third word, 'collect', and every order that is new has it. All others are
        delivered as before, and an order that says nothing goes by post. One flask db upgrade does it all;
        after flask db downgrade the older model can read every order, and it can be applied again.
    """,
    rules=(
        revisions(),
        column("orders", "delivery", "delivery", required=True, default="'post'"),
        rows(
            "words",
            """
            SELECT enumlabel::text FROM pg_enum JOIN pg_attribute ON atttypid = enumtypid
             WHERE attrelid = 'orders'::regclass AND attname = 'delivery' ORDER BY 1
            """,
            [("collect",), ("courier",), ("post",)],
            "orders.delivery takes other words than the task says.",
            "SELECT enum_range(NULL::delivery), and the revision",
        ),
        values(
            *DELIVERY,
            _delivered,
            ORDERED,
            "some orders are delivered in another way than the task says.",
            "the UPDATE in your revision",
        ),
        only("orders.delivery"),
        keeps_rows(Keeps(changes=(DELIVERY,))),
        replay(Keeps(changes=(DELIVERY,), lost_on_the_way_back=(DELIVERY,)), pages=ORDERED),
        Rule("readable", _readable),
        Rule("up again", _up_again),
    ),
)


def _kept(start) -> dict[int, int]:
    """For each customer at the start the oldest one with the same address."""
    oldest = {}
    for row in start.rows["customers"]:
        oldest.setdefault(row["email"].lower(), row["id"])
    return {row["id"]: oldest[row["email"].lower()] for row in start.rows["customers"]}


@dataclass(frozen=True)
class Merged(Keeps):
    """All rows, but of customers with the same address only the oldest; their orders have moved."""

    changes: tuple = (("orders", "customer_id"),)
    lost_on_the_way_back: tuple = (("orders", "customer_id"),)

    def lost(self, start, now):
        return super().lost(self._without_the_younger(start), now)

    def lost_back(self, start, back):
        return super().lost_back(self._without_the_younger(start), back)

    @staticmethod
    def _without_the_younger(start):
        kept = _kept(start).values()
        return replace(
            start, rows={**start.rows, "customers": [row for row in start.rows["customers"] if row["id"] in kept]}
        )


HAS_AT = "ck_customers_email_has_at"


def _named(evidence) -> Finding | None:
    """The CHECK has the name that the model and the naming convention give it; flask db check does not look."""
    checks = [part.name for part in evidence.live.schema.tables["customers"].parts if part.kind == "check"]
    if HAS_AT in checks or not checks:
        return None
    return Finding(
        "the CHECK on email is not called as in the model.",
        few(checks),
        HAS_AT,
        "create_check_constraint: the naming convention completes a name, unless op.f(...) says that it is complete",
    )


ACCOUNT = Exercise(
    "08_account",
    start=Start(
        "filled",
        left="08_account",
        sql="""
            INSERT INTO customers (name, email)
                 SELECT name, upper(email) FROM customers WHERE id IN (3, 8, 12) ORDER BY id;
            INSERT INTO customers (name, email)
                 SELECT name, initcap(email) FROM customers WHERE id IN (3, 8) ORDER BY id;
            UPDATE orders SET customer_id = CASE customer_id WHEN 3 THEN 31 WHEN 8 THEN 32 ELSE 33 END
             WHERE customer_id IN (3, 8, 12) AND id % 2 = 0;
            UPDATE orders SET customer_id = CASE customer_id WHEN 3 THEN 34 ELSE 35 END
             WHERE customer_id IN (3, 8) AND id % 3 = 0;
            -- Of the accounts of 3 the oldest stands first in the table, of those of 8 it now stands last:
            -- whoever takes any older account takes a wrong one of 3's or of 8's.
            UPDATE customers SET name = name WHERE id = 8;
        """,
    ),
    goal="""
        An address belongs to one customer, in whatever capitals: the oldest account stays as it is and has the
        orders of the others, which go. PostgreSQL refuses a second account, and an address without @.
        A revision does it, and calls the CHECK as the model does, ck_customers_email_has_at. Going back,
        the rules are gone; accounts that were merged stay merged.
    """,
    rules=(
        revisions(mend=("one_account_an_address",)),
        refuses(
            "one address",
            "UPDATE customers SET email = (SELECT upper(email) FROM customers WHERE id = 2) WHERE id = 1",
            "two customers can still have the same address.",
            'here.table("customers"): the unique index on lower(email)',
        ),
        refuses(
            "at",
            "UPDATE customers SET email = 'amir at example.com' WHERE id = 1",
            "an address without @ is still taken.",
            'here.table("customers"): the CHECK on email',
        ),
        values(
            "orders",
            "customer_id",
            lambda row, start: _kept(start)[row["customer_id"]],
            PAGES,
            "some orders belong to another customer than they should.",
            "the UPDATE in the revision: the oldest account with the same lower(email)",
        ),
        only("customers.email"),
        keeps_rows(Merged()),
        replay(Merged(), pages=PAGES),
        Rule("name", _named),
    ),
)

EXERCISES = (YEAR, COLLECT, ACCOUNT)
