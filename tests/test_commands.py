"""What a line that begins with `!` does in a lesson, and what `here` promises."""

import re
import subprocess
import sys

from homes import NOTEBOOKS

OPEN = 'from lab import lesson\nhere = lesson("{}")'


def test_output_comes_in_the_order_in_which_it_was_written(cells):
    said = cells(
        OPEN.format("03_upgrade"),
        r"""!python -c "import sys; print('one'); print('two', file=sys.stderr); print('three')" """,
    )
    assert said[1] == "one\ntwo\nthree\n"


def test_a_command_has_no_terminal_and_no_colours(cells):
    said = cells(
        OPEN.format("03_upgrade"),
        "!test -t 0 || echo no input; test -t 1 || echo no output",
        "!git log --oneline | cat -v",
    )
    assert said[1] == "no input\nno output\n"
    assert "^[" not in said[2]


def test_variables_of_the_notebook_and_of_the_shell_are_filled_in(cells):
    said = cells(
        OPEN.format("03_upgrade"),
        "word = 'mine'\n!echo {word} $word",
        "!echo $PGDATABASE | sed 's/_[0-9a-f]*_/_..._/; s/_[0-9a-f]*$/_.../'",
    )
    assert said[1:] == ["mine mine\n", "course_..._03_upgrade_...\n"]


def test_the_exit_code_can_be_asked_for(cells):
    assert cells(OPEN.format("03_upgrade"), "!exit 3", "_exit_code")[2] == "3"


def test_a_command_in_the_background_is_refused_in_words(cells):
    assert "cannot leave a command running" in cells(OPEN.format("03_upgrade"), "!sleep 1 &")[1]


def test_ids_of_revisions_are_the_same_every_time_and_never_come_back(cells):
    sources = (
        OPEN.format("03_upgrade"),
        "!flask db upgrade 2> /dev/null",
        "!flask db revision -m one",
        "!rm migrations/versions/0301*.py",
        "!flask db revision -m two",
    )
    first, second = cells(*sources), cells(*sources)
    ids = [re.search(r"versions/(\w{12})_", said)[1] for said in (first[2], first[4])]
    assert ids == [re.search(r"versions/(\w{12})_", said)[1] for said in (second[2], second[4])]
    assert [name[:4] for name in ids] == ["0301", "0302"]


def test_fails_prints_the_class_the_message_and_the_hint_of_a_database_error(cells):
    empty, drop = "def upgrade():\n    pass", "def upgrade():\n    op.drop_table('books')"
    said = cells(
        OPEN.format("04_downgrade"),
        "!flask db revision -m drop",
        f"here.replace('migrations/versions/0401*.py', {empty!r}, {drop!r})",
        'here.fails("flask db upgrade")',
    )
    lines = said[3].splitlines()
    assert lines[:2] == [
        "exit code 1",
        "DependentObjectsStillExist: cannot drop table books because other objects depend on it",
    ]
    assert lines[2].startswith("DETAIL: constraint fk_order_lines_book_id_books")
    assert lines[3] == "HINT: Use DROP ... CASCADE to drop the dependent objects too."
    assert re.fullmatch(r"\(\d+ lines above this left out\)", lines[4])


def test_fails_prints_one_line_of_a_command_that_was_used_wrongly(cells):
    said = cells(OPEN.format("03_upgrade"), 'here.fails("flask db upgrade nowhere")', 'here.fails("flask db upgarde")')
    assert said[1].splitlines()[1] == "Error: Can't locate revision identified by 'nowhere'"
    assert "No such command 'upgarde'" in said[2]


def test_fails_says_when_a_command_does_not_fail(cells):
    assert "was meant to fail here, and it did not: true" in cells(OPEN.format("03_upgrade"), 'here.fails("true")')[1]


def test_replace_refuses_what_is_not_there_exactly_once(cells):
    said = cells(
        OPEN.format("03_upgrade"),
        'here.replace("bookshop/models.py", "String(200)", "String(300)")',
        'here.replace("bookshop/models.py", "String(200)", "String(300)")',
        'here.replace("bookshop/models.py", "Identity()", "Identity()")',
        'here.replace("bookshop/*.py", "a", "b")',
        'here.replace("bookshop/none.py", "a", "b")',
    )
    assert "-    name: Mapped[str] = mapped_column(String(200))\n+" in said[1]
    assert "holds this text 0 times" in said[2]
    assert "holds this text 4 times" in said[3]
    assert "should name one file of this lesson, and it names" in said[4]
    assert "it names 0: none.\nWas the cell that makes it run?" in said[5]


def test_sql_shows_rows_counts_and_refusals(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        'here.sql("SELECT id, name FROM books ORDER BY id")',
        """here.sql("UPDATE books SET price = price WHERE id < %s", 4)""",
        'here.sql("SELECT * FROM nothing")',
    )
    assert said[1].splitlines()[-1] == "(40 rows, 20 shown)"
    assert said[2] == "UPDATE 3"
    assert said[3].startswith('UndefinedTable: relation "nothing" does not exist') and "Traceback" not in said[3]


def test_a_query_that_takes_too_long_can_be_interrupted(home):
    code = (
        "import os, signal, threading; from lab import lesson; here = lesson('04_downgrade');"
        "threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT]).start(); here.sql('SELECT pg_sleep(60)')"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=NOTEBOOKS, capture_output=True, text=True, timeout=30)
    assert "QueryCanceled: canceling statement due to user request" in result.stderr


def test_the_schema_marks_what_has_changed(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        "here.schema()",
        'here.sql("ALTER TABLE books ADD stars integer, DROP author, ALTER price TYPE numeric(10,2)")',
        'here.sql("DROP TABLE order_lines")',
        "here.schema()",
        "here.schema()",
    )
    marks = {tuple(line.split()[:2]) for line in said[4].splitlines() if line[0] != " "}
    assert {("+", "stars"), ("-", "author"), ("~", "price"), ("-", "order_lines")} <= marks
    assert all(line[0] == " " for line in said[5].splitlines())


def test_a_table_shows_the_names_of_its_parts(cells):
    said = cells(OPEN.format("04_downgrade"), 'here.table("order_lines")', 'here.table("nothing")')
    for name in ("pk_order_lines", "fk_order_lines_book_id_books", "ix_order_lines_order_id", "order_lines_id_seq"):
        assert name in said[1]
    assert 'There is no table "nothing"' in said[2]


def test_revisions_show_two_heads_a_syntax_error_and_a_missing_folder(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        "!flask db revision -m one && flask db revision -m two --head e206 --splice --rev-id 04ff",
        "here.revisions()",
        "!echo 'def upgrade(:' >> migrations/versions/04ff_two.py",
        "here.revisions()",
        "!rm -r migrations",
        "here.revisions()",
    )
    assert said[2].count("| head") + said[2].count("  head") == 2
    assert "A revision file cannot be read: SyntaxError" in said[4]
    assert "`flask db init` makes it" in said[6]


def test_a_page_an_error_and_a_website_that_does_not_start(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        'here.get("/")',
        "here.serve()",
        'here.get("/books/1")',
        'here.get("/?q=Brontë no such book")',
        'here.sql("ALTER TABLE books RENAME name TO title")',
        'here.get("/books/1")',
        "!echo 'nonsense(' >> bookshop/models.py",
        "here.serve()",
    )
    assert "here.serve() starts it" in said[1]
    assert said[3].startswith("GET /books/1: 200 OK\n")
    assert said[4].startswith("GET /?q=Brontë no such book: 200 OK")
    assert said[6].splitlines()[0] == "GET /books/1: 500 Internal Server Error"
    assert said[6].splitlines()[2].startswith("UndefinedColumn: column books.name does not exist")
    assert said[8].startswith("The bookshop does not start: SyntaxError")


def test_a_website_keeps_the_code_and_the_templates_that_it_was_started_with(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        "here.serve()",
        'here.replace("bookshop/templates/book.html", "Order this book", "Buy it")',
        'here.get("/books/1")',
        "here.serve()",
        'here.get("/books/1")',
    )
    assert "Order this book" in said[3]
    assert "Buy it" in said[5]


def test_a_form_can_be_sent(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        "here.serve()",
        'here.post("/orders", book_id=2, email="amir.adams1@example.com", quantity=3)',
        'here.post("/orders", book_id=2, email="nobody@example.com", quantity=3)',
    )
    assert said[2] == "POST /orders: 302 Found, leads to /customers/1"
    assert said[3].startswith("POST /orders: 400 Bad Request")
    assert "No customer has this email address." in said[3]


def test_a_resumed_lesson_goes_on_with_its_second_database(cells):
    count = '!psql -At -d {other.name} -c "SELECT count(*) FROM books"'
    cells(
        OPEN.format("04_downgrade"),
        'other = here.database("backup", copy=True)',
        '!psql -q -d {other.name} -c "TRUNCATE order_lines, orders, books"',
    )
    resume = 'from lab import lesson\nhere = lesson.resume("04_downgrade")'
    again = 'other = here.database("backup", copy=True)'
    said = cells(resume, again, count, again, count)
    assert said[1:] == ["backup: as you left it\n", "0\n", "", "40\n"]


def test_a_copy_can_be_made_while_the_website_runs(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        "here.serve()",
        'here.get("/books/1")',
        'copy = here.database("second", copy=True)',
        '!psql -At -d {copy.name} -c "SELECT count(*) FROM books"',
        'here.get("/books/1")',
    )
    assert said[4] == "40\n"
    assert said[5].startswith("GET /books/1: 200 OK")


def test_a_second_database_is_empty_or_a_copy(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        'empty = here.database("second")',
        """!psql -At -d {empty.name} -c "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'" """,
        'copy = here.database("second", copy=True)',
        '!psql -At -d {copy.name} -c "SELECT count(*) FROM books"',
        "copy",
    )
    assert (said[2], said[4]) == ("0\n", "40\n")
    assert "postgresql" not in said[5]
