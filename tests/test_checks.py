"""What here.check promises, whatever state the learner's folder, database and records are in."""

import shutil
import subprocess
import sys
import threading
import time

import psutil
import pytest
from homes import NOTEBOOKS, lab
from kernel import Kernel

NAME = "05_phone"
BEGIN = f'from lab import exercise, lessons\n\nhere = exercise("{NAME}")'
CHECK = f'here.check("{NAME}")'
MODEL = """here.replace("bookshop/models.py", "    fax: ", '''\\
    phone: Mapped[str | None] = mapped_column(String(40))
    fax: ''')"""
SOLUTION = f"""{MODEL}
!flask db migrate -m "add phone" 2>&1 | tail -n 1
!flask db upgrade 2>&1 | tail -n 1"""


@pytest.fixture(scope="module")
def kernel(home):
    kernel = Kernel()
    yield kernel
    kernel.close()


def check(kernel, *cells):
    """Begin the exercise, run cells, and check; what the check said."""
    kernel.run(BEGIN)
    for cell in cells:
        kernel.run(cell)
    return kernel.run(CHECK)


def test_what_was_never_begun_says_how_to_begin(kernel, home):
    said = kernel.run('from lab import lesson\nhere = lesson("05_add_column")\nhere.check("05_shipping")')
    assert said.endswith('○ 05_shipping: not begun yet.\nBegin it with exercise("05_shipping").\n')


def test_an_unknown_name_is_told_with_the_name_that_was_meant(kernel):
    kernel.run(BEGIN)
    with pytest.raises(AssertionError, match=r'There is no exercise "05_fone"\.\nDid you mean "05_phone"'):
        kernel.run('here.check("05_fone")')
    with pytest.raises(AssertionError, match=r"(?s)There is no exercise .05_pho..*Did you mean"):
        kernel.run('from lab import exercise\nexercise("05_pho")')


def test_without_a_name_the_exercise_that_is_open_is_checked(kernel):
    kernel.run(BEGIN)
    assert kernel.run("here.check()") == kernel.run(CHECK)


def test_the_opening_says_what_to_reach_and_how_to_go_on(kernel):
    said = kernel.run(BEGIN).splitlines()
    assert [line.split()[0] for line in said if line[:1] != " "][-1] == "goal"
    assert f'here = exercise.resume("{NAME}")' in "\n".join(said)


def test_what_was_passed_is_remembered_everywhere(kernel, home):
    assert check(kernel, SOLUTION).startswith(f"✓ {NAME}: passed. That makes 1 of ")
    assert "1 of " in lab("status").split("Add a column")[1].splitlines()[0]
    other = Kernel()
    assert "1 of " in other.run("from lab import lessons\nlessons()").split("Add a column")[1].splitlines()[0]
    other.close()
    # ... also when the exercise and its lesson are opened again
    kernel.run('from lab import lesson\nlesson("05_add_column")')
    kernel.run(BEGIN)
    assert "1 of " in kernel.run("lessons()").split("Add a column")[1].splitlines()[0]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"passed": 5}', '{"passed": [1, {}]}', "\0\xff"])
def test_a_damaged_progress_file_costs_nothing_but_itself(kernel, home, damage):
    (home / ".lab" / "progress.json").write_text(damage, encoding="latin-1")
    assert "exercises passed" not in lab("status")
    kernel.run(BEGIN)
    kernel.run(SOLUTION)
    assert kernel.run(CHECK).startswith("✓")
    assert "1 of " in lab("status")


def test_a_check_can_be_repeated_and_changes_nothing(kernel, home):
    said = check(kernel, SOLUTION)
    state = kernel.run("!git status --porcelain; flask db current 2>/dev/null")
    assert kernel.run(CHECK) == said
    assert kernel.run("!git status --porcelain; flask db current 2>/dev/null") == state
    assert "_replay" not in (home / ".lab" / "databases.json").read_text()


def test_an_answer_can_be_left_and_resumed_in_another_kernel(kernel):
    kernel.run(BEGIN)
    kernel.run(MODEL)
    other = Kernel()
    other.run(f'from lab import exercise\nhere = exercise.resume("{NAME}")')
    other.run('!flask db migrate -m "add phone"\n!flask db upgrade')
    assert other.run(CHECK).startswith("✓")
    other.close()


def test_two_people_check_the_same_answer_at_once(kernel):
    check(kernel, SOLUTION)
    code = f"from lab import exercise; here = exercise.resume('{NAME}'); {CHECK}"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, cwd=NOTEBOOKS, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].splitlines()[-1][0] for process in both] == ["✓", "✓"]


# A state in which a learner's folder or database may be, and what the check has to say of it.
STATES = {
    "the migrations folder is gone": (
        "import shutil; shutil.rmtree('migrations')",
        ["There is no folder migrations", "git restore migrations"],
    ),
    "there never was a head": ("!rm migrations/versions/*.py", ["changed or deleted", "git checkout"]),
    "two heads": (
        f'{SOLUTION}\n!flask db revision --head=e2062c5f334d --splice -m "another" 2>&1 | tail -n 1',
        ["there are 2 heads", "flask db heads"],
    ),
    "a syntax error in a model": (
        f"{SOLUTION}\nopen('bookshop/models.py', 'a').write('def (')",
        ["the application does not start", "SyntaxError", "bookshop/models.py, line"],
    ),
    "a syntax error in a revision": (
        "open('migrations/versions/1_broken.py', 'w').write('def (')",
        ["A revision file cannot be read: SyntaxError"],
    ),
    "an import that fails": (
        f"{SOLUTION}\nopen('bookshop/models.py', 'a').write('import nothing_of_this_name')",
        ["the application does not start", "No module named 'nothing_of_this_name'"],
    ),
    "models that end the program": (
        f"{SOLUTION}\nopen('bookshop/models.py', 'a').write('raise SystemExit(3)')",
        ["the application does not start"],
    ),
    "models that ask and print": (
        f"{SOLUTION}\nopen('bookshop/models.py', 'a').write('print(1)\\ninput()')",
        ["the application does not start", "Aborted!"],
    ),
    "a model that is gone": (
        f"{SOLUTION}\n!rm bookshop/models.py",
        ["the application does not start", "No module named 'bookshop.models'"],
    ),
    "env.py is broken": (
        f"{SOLUTION}\nopen('migrations/env.py', 'a').write('1 / 0')",
        ["do not run on a fresh copy", "ZeroDivisionError", "migrations/env.py, line"],
    ),
    "a revision applied in part": (
        f"""{SOLUTION}
here.sql("UPDATE alembic_version SET version_num = 'e2062c5f334d'")""",
        ["the database does not stand at your newest revision", "flask db upgrade"],
    ),
    "an applied revision that is gone": (
        f"{SOLUTION}\n!rm migrations/versions/*_add_phone.py",
        ["there is no revision for your change yet"],
    ),
    "no alembic_version": (
        f'{SOLUTION}\nhere.sql("DROP TABLE alembic_version")',
        ["the database does not stand at your newest revision", "no revision"],
    ),
    "the tables are gone": (
        f'{SOLUTION}\nhere.sql("DROP TABLE order_lines, orders, books, customers")',
        ["customers has no column phone", "no such table"],
    ),
    "a table of another shape": (
        f'{SOLUTION}\nhere.sql("ALTER TABLE order_lines DROP COLUMN id")',
        ["something changed that has nothing to do with the task", "order_lines.id"],
    ),
    "changed by hand after the upgrade": (
        f'{SOLUTION}\nhere.sql("ALTER TABLE customers RENAME CONSTRAINT pk_customers TO mine")',
        ["something changed that has nothing to do with the task"],
    ),
    "the folder is gone": (
        "import os, shutil; os.chdir('..'); shutil.rmtree('05_phone')",
        ["its folder is gone", f'Begin it with exercise("{NAME}")'],
    ),
    "a file that cannot be read": (
        f"{SOLUTION}\nimport os; os.mkdir('bookshop/models.py~'); os.symlink('nowhere', 'notes.txt')",
        ["passed"],
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_a_check_tells_any_state_in_plain_words(kernel, state):
    cell, phrases = STATES[state]
    said = check(kernel, cell)
    assert said[0] in "✗○✓"
    assert "Traceback" not in said
    assert "could not be checked" not in said
    for phrase in phrases:
        assert phrase in said


def test_the_database_of_an_exercise_may_be_gone(kernel):
    kernel.run(BEGIN)
    said = kernel.run(f"""
from lab import database
from lab.server import choose
database.drop(choose(), "{NAME}")
{CHECK}""")
    assert "its database is gone" in said
    assert f'Begin it with exercise("{NAME}")' in said


def test_a_check_starts_the_server_again(kernel):
    kernel.run(BEGIN)
    kernel.run(SOLUTION)
    lab("stop")
    assert kernel.run(CHECK).startswith("✓")
    kernel.run(BEGIN)


SLEEPS = """
path = next(__import__("pathlib").Path("migrations/versions").glob("*_add_phone.py"))
path.write_text(path.read_text().replace("def upgrade():", '''
def upgrade():
    import os, time; open("asleep", "w").close(); time.sleep(60)'''))"""
LEAVES = SLEEPS.replace("time.sleep(60)", "os.fork() or time.sleep(60); os._exit(3)")
WARM_AND_COLD = pytest.mark.parametrize("warm", [0, 1], ids=["cold", "warm"])


def answered(kernel, home, change: str, warm: int) -> set[int]:
    """Begin the exercise, answer it with a change, to be checked warm or cold; the processes in its folder."""
    for cell in (BEGIN, SOLUTION, change, f"import os; os.environ['LAB_WARM'] = '{warm}'"):
        kernel.run(cell)
    return in_folder(home)


def in_folder(home) -> set[int]:
    return {p.pid for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(home / "work" / NAME)}


def is_left_alone(home, before: set[int]) -> bool:
    """Whether the processes in the exercise's folder are those from before; one that was killed may take a moment."""
    deadline = time.monotonic() + 5
    while in_folder(home) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return in_folder(home) == before


@WARM_AND_COLD
def test_a_check_that_is_interrupted_leaves_nothing_behind(kernel, home, warm):
    before = answered(kernel, home, SLEEPS, warm)

    def interrupt():
        while not (home / "work" / NAME / "asleep").exists():
            time.sleep(0.1)
        kernel.interrupt()

    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        kernel.run(CHECK)
    assert time.monotonic() - start < 25
    assert is_left_alone(home, before)
    assert "_replay" not in (home / ".lab" / "databases.json").read_text()


@WARM_AND_COLD
@pytest.mark.parametrize("change", [SLEEPS, LEAVES], ids=["sleeps", "leaves a process"])
def test_a_replay_that_never_ends_is_ended(kernel, home, change, warm):
    # a cold one begins with imports
    kernel.run(f"from lab.checks import replay; replay.PATIENCE = {3 if warm else 10}")
    before = answered(kernel, home, change, warm)
    start = time.monotonic()
    said = kernel.run(CHECK)
    assert time.monotonic() - start < 40  # what the revision does or leaves takes 60
    assert "`flask db upgrade` did not come to an end" in said
    assert "wait for something" in said
    assert is_left_alone(home, before)
    kernel.run("replay.PATIENCE = 30")


def test_a_deleted_home_of_records_is_no_error(kernel, home):
    kernel.run(BEGIN)
    shutil.rmtree(home / ".lab" / "lessons")
    assert "not begun yet" in kernel.run(CHECK)
