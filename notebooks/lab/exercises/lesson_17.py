import tempfile
from itertools import permutations
from pathlib import Path

import psycopg2

from ..checks.evidence import once
from ..checks.finding import Finding, Rule, few
from ..checks.keeps import Keeps
from ..checks.replay_rule import replay
from ..checks.rules import column, keeps_rows, only, revisions, rows, together
from ..checks.snapshot import looking_at
from ..checks.traffic_rule import blocks_nobody
from ..starting import Start
from ..web import check_out
from . import Exercise

# Commits that a copy begins with, as git finds them by their message.
RELEASE_1, LEFT_HERE = ":/^release 1", ":/^what was left here"


@once
def upgraded(evidence):
    """A fresh copy of the starting data at the head, one for all rules; None where that fails: the replay tells it."""
    url = evidence.fresh("upgraded")
    failed, _ = evidence.commands.run(url, "flask db upgrade")
    return None if failed else url


# 1: the second deployment

ORDER = "POST /orders book_id=1&email=amir.adams1@example.com&quantity={copies}"
ITS_PAGE = "GET /customers/1 shows {copies} ×"


def _side_by_side(evidence) -> Finding | None:
    """An order that the one version takes is shown by the other."""
    url = upgraded(evidence)
    if url is None:
        return None
    with tempfile.TemporaryDirectory(prefix="bookshop-") as copy:
        check_out(evidence.folder, LEFT_HERE, copy)
        versions = {"the version that serves": Path(copy), "your version": evidence.folder}
        for copies, (writer, reader) in enumerate(permutations(versions), start=5):
            for who, request in ((writer, ORDER), (reader, ITS_PAGE)):
                request = request.format(copies=copies)
                failed, where = evidence.commands.run(url, request, versions[who])
                if failed:
                    return Finding(
                        f"an order that {writer} takes is not shown by {reader}.",
                        f"{who}, {request}: {failed}",
                        "both versions take orders on the new schema, and each shows those of the other",
                        where if who == "your version" else "what the version that serves reads, and who writes it",
                    )
    return None


ONLY_COPIES = """\
INSERT INTO order_lines (order_id, book_id, quantity, copies, unit_price) VALUES (502, 1, NULL, 9, 5.99)"""


def _reads_copies(evidence) -> Finding | None:
    """A line as the third deployment will write it is on the page."""
    url = upgraded(evidence)
    if url is None:
        return None
    with looking_at(url) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(ONLY_COPIES)
        except psycopg2.Error:
            return None  # quantity is still required, as the rule for the columns says
        connection.commit()
    failed, where = evidence.commands.run(url, "GET /customers/3 shows 9 ×")
    if not failed:
        return None
    return Finding(
        "your version still reads quantity.",
        f"the page of an order line with 9 copies and no quantity, as deployment 3 will write it: {failed}",
        "the page shows 9 ×, and the sum of the order counts them",
        where or "bookshop/templates/customer.html, and the sum in bookshop/models.py",
    )


REPLAYED = {"pages": ("GET /customers/1", ORDER.format(copies=7)), "written": ONLY_COPIES}


def _quantity_comes_back(evidence) -> Finding | None:
    """A line that deployment 3 has written has its quantity after going back."""
    steps = evidence.replay(**REPLAYED)
    back = steps.get("back")
    if back is None or back.failed or steps["up"].after.schema.tables["order_lines"].columns["quantity"].required:
        return None  # as the rules for the replay and for the columns say
    lines = [line for line in back.after.rows["order_lines"] if line["order_id"] == 502]
    if sorted(line["quantity"] or 0 for line in lines) == [1, 9]:
        return None
    return Finding(
        f"after {back.command} a line that deployment 3 has written is not what it was.",
        "quantity in its order: " + ", ".join(str(line["quantity"]) for line in lines),
        "1 and 9, what copies was",
        "downgrade() in your revision",
    )


COPIES = Exercise(
    "17_copies",
    start=Start(
        "filled",
        left="17_copies",
        commands=("db upgrade",),
        sql="""
            INSERT INTO orders (customer_id, ordered_at) VALUES (2, '2026-10-12 10:00+00'), (3, '2026-10-12 11:00+00');
            INSERT INTO order_lines (order_id, book_id, quantity, copies, unit_price)
            VALUES (501, 4, 2, 2, 10.49), (502, 5, 1, 1, 7.99)
        """,
    ),
    goal="""
        order_lines
            quantity      integer
            copies        integer                   not null
        Each line has the same number in both. Your version reads copies, and serves beside the one
        that was left here: each takes orders, and shows those of the other. The revision is applied,
        and can be undone, also when deployment 3 has written lines with no quantity.
    """,
    rules=(
        revisions(),
        together(
            "columns",
            column("order_lines", "copies", "integer", required=True),
            column("order_lines", "quantity", "integer"),
        ),
        rows(
            "filled",
            "SELECT count(*) FROM order_lines WHERE copies IS DISTINCT FROM quantity",
            [(0,)],
            "in some order lines copies is not what quantity is (counted).",
            "the UPDATE that fills copies",
        ),
        Rule("side by side", _side_by_side),
        Rule("reads copies", _reads_copies),
        only("order_lines.copies", "order_lines.quantity"),
        keeps_rows(),
        replay(**REPLAYED),
        Rule("way back", _quantity_comes_back),
    ),
)

# 2: a program that nobody can change

# What each writes, and what has to be in both columns then.
WRITERS = {
    "the till, a new customer": ("INSERT INTO customers (name, email) VALUES ('Ann Till', 'ann')", "Ann Till"),
    "the till, another name": ("UPDATE customers SET name = 'Amir Till' WHERE id = 1", "Amir Till"),
    "the website, a new customer": ("INSERT INTO customers (full_name, email) VALUES ('Bo Web', 'bo')", "Bo Web"),
    "the website, another name": ("UPDATE customers SET full_name = 'Amir Web' WHERE id = 1", "Amir Web"),
}
TILL_AFTERWARDS = (
    "INSERT INTO customers (name, email) VALUES ('Cleo Till', 'cleo')",
    "UPDATE customers SET name = 'Amir Till' WHERE id = 1",
)


def _in_step(evidence) -> Finding | None:
    """Whoever writes one of the two columns has written both."""
    url = upgraded(evidence)
    if url is None:
        return None
    wrong = []
    with looking_at(url) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for who, (statement, expected) in WRITERS.items():
            try:
                cursor.execute(f"{statement} RETURNING name, full_name")
            except psycopg2.Error as error:
                wrong.append(f"{who}: {str(error).strip().splitlines()[0]}")
                continue
            if (found := cursor.fetchone()) != (expected, expected):
                wrong.append(f"{who}: name {found[0]}, full_name {found[1]}")
    if not wrong:
        return None
    return Finding(
        "not everybody who writes one of the two columns has written both.",
        few(wrong),
        "the same in name and full_name, whoever writes, and whichever of the two",
        "TG_OP in the function says INSERT or UPDATE; OLD is the row as it was; and on what the trigger is called",
    )


def _till_goes_on(evidence) -> Finding | None:
    """After a downgrade the till works as before."""
    url = upgraded(evidence)
    if url is None or evidence.commands.run(url, f"flask db downgrade {evidence.start.applied[0]}")[0]:
        return None
    with looking_at(url) as connection, connection.cursor() as cursor:
        for statement in TILL_AFTERWARDS:
            try:
                cursor.execute(statement)
            except psycopg2.Error as error:
                return Finding(
                    "after flask db downgrade the till does not work any more.",
                    f"{statement}: {str(error).strip().splitlines()[0]}",
                    "customers as it was before the upgrade",
                    "a column takes its trigger along only if downgrade() says so",
                )
    return None


STEP = Exercise(
    "17_till",
    start=Start("filled", left="17_till"),
    goal="""
        customers
            name          character varying(120)    not null
            full_name     character varying(120)    not null
        Both are the same for every customer, whoever writes: the till knows name alone, the website
        full_name alone, and each makes customers and changes names. After flask db downgrade the till
        works as before. The revision is applied.
    """,
    rules=(
        revisions(mend=("full_name_beside_name",)),
        column("customers", "full_name", "character varying(120)", required=True),
        rows(
            "filled",
            "SELECT count(*) FROM customers WHERE full_name IS DISTINCT FROM name",
            [(0,)],
            "some customers have not the same in both columns (counted).",
            "the UPDATE in the revision",
        ),
        Rule("in step", _in_step),
        Rule("way back", _till_goes_on),
        only("customers.full_name"),
        keeps_rows(),
        replay(pages=("GET /customers/1",)),
    ),
)

# 3: a plan that looks fine

TITLE = Keeps(moved={("books", "name"): "title"})

PLAN = Exercise(
    "17_title",
    start=Start("filled", left="17_title"),
    goal="""
        books
            title         character varying(200)    not null
        It holds what name holds. sh upgrade.sh runs while release 1 serves and somebody's report
        reads books; then your version serves beside. Nobody waits for longer than a second, and no
        request fails. The revision is applied.
    """,
    rules=(
        revisions(mend=("name_of_a_book_is_its_title",)),
        column("books", "title", "character varying(200)", required=True),
        only("books.title", "books.name"),
        keeps_rows(TITLE),
        replay(TITLE, pages=("GET /", "GET /books/1"), last=("flask seed --orders 20",)),
        blocks_nobody("sh upgrade.sh", beside="SELECT count(*) FROM books", versions=(RELEASE_1,), deploy=""),
    ),
)

EXERCISES = (COPIES, STEP, PLAN)
