import re

import psycopg2

from ..checks.evidence import NOT_LOOKED_AT
from ..checks.finding import Finding, Rule, few
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay, way_back
from ..checks.rules import keeps_rows, no_column, only, revisions
from ..starting import Start
from . import Exercise

PAGES = ("GET /", "GET /books/1", "GET /customers/1")
COMMENT = re.compile(r"\s*(#|--|\{#|<!--).*")


def unused(word: str) -> Rule:
    """The website's code, its pages and its SQL do not speak of `word` any more, but in comments."""

    def examine(evidence):
        found = []
        for path in sorted((evidence.folder / "bookshop").rglob("*")):
            if path.suffix not in (".py", ".html", ".sql") or NOT_LOOKED_AT & set(path.parts):
                continue
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            where = path.relative_to(evidence.folder).as_posix()
            found += [
                f"{where}:{number}: {line.strip()}"
                for number, line in enumerate(lines, 1)
                if re.search(rf"\b{word}\b", COMMENT.sub("", line))
            ]
        if found:
            return Finding(
                f"there is still code that speaks of {word}.",
                few(found),
                "no line",
                f"grep -rn {word} bookshop. In a template a name that is gone shows as nothing, so no page would fail",
            )
        return None

    return Rule("unused", examine)


DROP = Exercise(
    "07_drop",
    start=Start(
        "filled",
        left="07_drop",
        commands=("db upgrade",),
        sql="UPDATE books SET shelf = chr(65 + id % 5) || (1 + id % 7)",
    ),
    goal="""
        books has no column shelf, and no code asks for one. Going back one step adds it again, empty,
        with its index. The pages answer, and nothing else is lost.
    """,
    rules=(
        revisions(),
        unused("shelf"),
        only("books.shelf"),
        keeps_rows(Keeps(changes=(("books", "shelf"),))),
        replay(
            Keeps(changes=(("books", "shelf"),), lost_on_the_way_back=(("books", "shelf"),)),
            pages=(*PAGES, "GET /?q=emma"),
        ),
    ),
)

ORDERED = (*PAGES, "POST /orders book_id=1&email=amir.adams1@example.com&quantity=1")
SEEDED = ("flask seed",)


def _latecomers(evidence) -> Finding | None:
    """An order that came in without a channel has the website's after going back."""
    steps = evidence.replay(ORDERED, SEEDED)
    if "back" not in steps or steps["back"].failed:
        return None  # that is the replay's to tell
    known = {row["id"] for row in evidence.start.rows["orders"]}
    channels = {row.get("channel") for row in steps["back"].after.rows.get("orders", []) if row["id"] not in known}
    if channels <= {"web", None}:
        return None
    return Finding(
        "an order that came in meanwhile has the wrong channel after going back.",
        ", ".join(map(str, channels)),
        "web",
        "the UPDATE in downgrade(): what it writes where the archive knows no channel",
    )


KEEP = Exercise(
    "07_keep",
    start=Start(
        "filled",
        left="07_keep",
        commands=("db upgrade",),
        sql="UPDATE orders SET channel = 'phone' WHERE id % 7 = 3;"
        " UPDATE orders SET channel = 'shop' WHERE id % 11 = 5",
    ),
    goal="""
        orders has no column channel; the website takes orders, and flask seed fills empty tables.
        flask db downgrade brings the column back as it was, required and without a default, and every order
        has its old channel. An order that came in meanwhile gets 'web'.
    """,
    rules=(
        revisions(),
        no_column("orders", "channel"),
        only("orders.channel", new_tables=True),  # the archive
        Rule("latecomers", _latecomers),
        replay(Keeps(changes=(("orders", "channel"),)), pages=ORDERED, last=SEEDED),
        way_back(),
    ),
)

TOO_MANY_AND_MISSING = """
SELECT (SELECT count(*) FROM (SELECT name, email FROM mailing_list EXCEPT ALL {right}) AS a),
       (SELECT count(*) FROM ({right} EXCEPT ALL SELECT name, email FROM mailing_list) AS b)
""".format(right="SELECT name, email FROM customers WHERE id IN (SELECT customer_id FROM orders)")


def mailing_list() -> Rule:
    """The view is there without the title, as long as the column is gone, and with it where the column is back."""

    def examine(evidence):
        return _of_live(evidence) or _on_the_way(evidence)

    return Rule("view", examine)


def _of_live(evidence):
    if finding := _wrong_view(evidence.live, ["email", "name"], "in your database"):
        return finding
    try:
        many, missing = evidence.query(TOO_MANY_AND_MISSING)[0]
        found = f"{many} too many, {missing} missing" if many or missing else ""
    except psycopg2.Error as error:  # a table or a type that nobody has thought of
        found = str(error).strip().splitlines()[0]
    if found:
        return Finding(
            "mailing_list does not list the customers that it should.",
            found,
            "the customers who have ordered something, each of them once",
            "the WHERE of the view as it was: grep -A3 mailing_list migrations/versions/*",
        )
    return None


def _on_the_way(evidence):
    steps = evidence.replay(PAGES)
    up, back = (steps[name].after if name in steps else None for name in ("up", "back"))
    if up and (finding := _wrong_view(up, ["email", "name"], "after flask db upgrade of a fresh copy")):
        return finding
    customers = back.schema.tables.get("customers") if back else None
    if not customers or "title" not in customers.columns:
        return None  # that is the replay's to tell
    where = f"after {steps['back'].command}"
    if finding := _wrong_view(back, ["email", "name", "title"], where):
        return finding
    _, listed = back.views["mailing_list"]
    _, before = evidence.start.views["mailing_list"]
    if listed != before:
        return Finding(
            f"mailing_list lists other customers than before, {where}.",
            f"{listed} rows",
            f"{before} rows",
            "the WHERE of the view that downgrade() makes",
        )
    return None


def _wrong_view(snapshot, columns, where):
    if "mailing_list" not in snapshot.views:
        return Finding(
            f"there is no view mailing_list {where}.",
            f"views: {', '.join(snapshot.views) or 'none'}",
            f"mailing_list, with {', '.join(columns)}",
            "whether each DROP of the view is followed by a CREATE VIEW. CASCADE drops it as well",
        )
    found, _ = snapshot.views["mailing_list"]
    if sorted(found) != columns:
        return Finding(
            f"mailing_list has other columns {where} than it should have there.",
            ", ".join(found),
            ", ".join(columns),
            "the CREATE VIEW in upgrade() and the one in downgrade(): they differ in one column",
        )
    return None


TITLE = ("customers", "title")

VIEW = Exercise(
    "07_view",
    start=Start(
        "filled",
        left="07_view",
        commands=("db upgrade 1f70d6ba38c5",),
        sql="UPDATE customers SET title = 'Dr' WHERE id % 4 = 1;"
        " INSERT INTO customers (name, email) VALUES ('Nora New', 'nora@example.com')",
    ),
    goal="""
        customers has no column title, and the view mailing_list has name and email of the same customers
        as before. Going back one step, both have the title again, though it is empty.
    """,
    rules=(
        revisions(mend=("drop_customers_title",)),
        only("customers.title"),
        keeps_rows(Keeps(changes=(TITLE,))),
        mailing_list(),
        replay(Keeps(changes=(TITLE,), lost_on_the_way_back=(TITLE,)), pages=PAGES),
    ),
)

EXERCISES = (DROP, KEEP, VIEW)
