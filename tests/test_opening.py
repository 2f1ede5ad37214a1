"""What opening, resuming and leaving a lesson promise."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import psycopg2
import pytest
from homes import NOTEBOOKS, home_of_its_own, lab
from kernel import running
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from pace import pace
from sqlalchemy.engine import make_url

OPEN = 'from lab import lesson\nhere = lesson("{}")'


def environment_of(folder):
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def database_of(folder):
    return make_url(environment_of(folder)["DATABASE_URL"].strip("'"))


def query(url, statement):
    connection = psycopg2.connect(**make_url(url).translate_connect_args(username="user", database="dbname"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def python(code, *arguments, env=None):
    """Run Python code where the notebooks are."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=NOTEBOOKS, env=env, capture_output=True, text=True)


def test_each_starting_point_is_what_its_name_says(home, cells):
    for name, files, tables in [
        ("01_init", False, 0),
        ("02_migrate", 0, 0),
        ("03_upgrade", 3, 0),
        ("04_downgrade", 3, 5),
    ]:
        cells(OPEN.format(name))
        folder = home / "work" / name
        versions = folder / "migrations" / "versions"
        assert (len(list(versions.glob("*.py"))) if versions.parent.exists() else False) == files
        found = query(database_of(folder), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert found == [(tables,)]
        assert (folder / ".git").exists() == (name != "01_init")


def test_of_the_commands_left_in_a_starting_point_only_those_marked_may_fail(cells):
    prepare = """
    from lab.server import choose
    from lab.starting import Start, prepare
    print(prepare(choose(), Start("filled", left="nobody", commands=("{}db upgrade nonsense", "db current"))))"""
    marked, unmarked = cells(prepare.format("-"), prepare.format(""))
    assert "template_nobody" in marked
    assert "`flask db upgrade nonsense` failed" in unmarked and "Can't locate revision" in unmarked


def test_the_opening_says_where_which_and_how_to_go_on(cells):
    said = cells(OPEN.format("04_downgrade"))[0].splitlines()
    assert [line.split()[0] for line in said[:4]] == ["files", "server", "database", "continue"]
    assert said[0].startswith("files      work/04_downgrade/: a fresh copy of the bookshop, release 1")
    assert "PostgreSQL 18." in said[1]
    assert "at revision e2062c5f334d" in said[2]
    assert 'lesson.resume("04_downgrade")' in said[3]


def test_opening_again_keeps_the_earlier_files(home, cells):
    name = "04_downgrade"
    cells(OPEN.format(name))
    (home / "work" / name / "mine.txt").write_text("my work")
    said = cells(OPEN.format(name))[0]
    kept = home / said.split("your earlier files are in ")[1].splitlines()[0]
    assert (kept / "mine.txt").read_text() == "my work"
    assert not (home / "work" / name / "mine.txt").exists()


def test_resuming_brings_back_files_and_data(cells):
    name = "04_downgrade"
    cells(OPEN.format(name), "!echo mine > mine.txt", 'here.sql("DELETE FROM order_lines")')
    said = cells(
        f'from lab import lesson\nhere = lesson.resume("{name}")',
        "!cat mine.txt",
        'here.sql("SELECT count(*) FROM order_lines")',
        "!flask db current",
    )
    assert "as you left them" in said[0]
    assert said[1] == "mine\n"
    assert said[2].splitlines()[2] == "0"
    assert "e2062c5f334d (head)" in said[3]


def test_resuming_what_was_never_opened_or_was_deleted_says_what_to_do(home, cells):
    resume = 'from lab import lesson\nlesson.resume("{}")'
    said = cells(resume.format("07_drop_column"))[0]
    assert said.splitlines() == [
        "There is nothing to resume: this lesson has not been opened here yet.",
        'Begin it with lesson("07_drop_column").',
    ]
    cells(OPEN.format("07_drop_column"))
    subprocess.run(["rm", "-r", home / "work" / "07_drop_column"], check=True)
    said = cells(resume.format("07_drop_column"))[0]
    assert "work/07_drop_column/ is gone" in said
    assert "release 1" in cells(OPEN.format("07_drop_column"))[0]


def test_resuming_after_the_server_was_stopped_starts_it_again(cells):
    name = "04_downgrade"
    cells(OPEN.format(name), 'here.sql("DELETE FROM order_lines")')
    assert lab("stop") == "stopped: the embedded PostgreSQL\n"
    said = cells(
        f'from lab import lesson\nhere = lesson.resume("{name}")', 'here.sql("SELECT count(*) FROM order_lines")'
    )
    assert said[1].splitlines()[2] == "0"


def test_resuming_and_checking_without_the_docker_that_was_there_say_what_to_do(cells):
    in_docker = 'from lab import home\nwith home.changing("lessons/{}") as record:\n    record["kind"] = "docker"'
    lesson, exercise = "14_rollback", "14_lines"
    said = cells(
        OPEN.format(lesson),
        in_docker.format(lesson),
        f'lesson.resume("{lesson}")',
        f'from lab import exercise\nhere = exercise("{exercise}")',
        in_docker.format(exercise),
        f'here.check("{exercise}")',
        DOCKER_HOST="unix:///nowhere/docker.sock",
    )
    assert said[2].splitlines() == [
        "This lesson's database is in Docker, and no engine answers.",
        'Start Docker and run this again; lesson("14_rollback") begins anew on the embedded one.',
    ]
    assert "This exercise's database is in Docker" in said[5]
    assert 'exercise("14_lines") begins anew' in said[5]


def test_an_unknown_lesson_ends_in_two_lines(cells):
    said = cells(OPEN.format("05_add_colum"), "print('after')")
    assert said[0].splitlines() == ['There is no lesson "05_add_colum".', 'Did you mean "05_add_column"?']


def test_a_failed_opening_stops_run_all():
    sources = ['from lab import lesson\nlesson("nonsense")', 'print("went on")']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.raises(CellExecutionError, match="There is no lesson"):
        NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": NOTEBOOKS}}).execute()
    assert notebook.cells[1].outputs == []


def test_a_folder_that_cannot_be_written_ends_in_a_plain_line(tmp_path, cells):
    (tmp_path / "work").write_text("a file where the folder should be")
    said = cells(OPEN.format("03_upgrade"), LAB_HOME=str(tmp_path), LAB_DATABASE="embedded")[0]
    lab("clean", "--yes", LAB_HOME=str(tmp_path))
    assert "Cannot write to" in said and "Traceback" not in said


def test_a_terminal_in_the_lessons_folder_works_like_a_cell(home, cells):
    """A login shell with nothing of the kernel's environment: .env is enough, and git knows who commits."""
    cells(OPEN.format("04_downgrade"), HOME="/")
    programs = Path(sys.executable).parent
    result = subprocess.run(
        ["flask", "db", "current"],
        cwd=home / "work" / "04_downgrade",
        env={"PATH": f"{programs}:{os.defpath}", "HOME": "/", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    assert "e2062c5f334d (head)" in result.stdout, result.stderr
    commit = ["git", "commit", "--quiet", "--allow-empty", "--message", "mine"]
    nobody = {"PATH": os.defpath, "HOME": "/", "GIT_CONFIG_NOSYSTEM": "1"}
    result = subprocess.run(commit, cwd=home / "work" / "04_downgrade", env=nobody, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_settings_of_a_lesson_are_readable_by_its_owner_only(home, cells):
    cells(OPEN.format("04_downgrade"))
    assert (home / "work" / "04_downgrade" / ".env").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home / ".lab").rglob("*.json"))


def test_what_the_shell_holds_for_another_project_does_not_reach_a_lesson(cells):
    said = cells(
        OPEN.format("04_downgrade"),
        "!flask db current",
        "!env | grep -c -e elsewhere -e wrong.py",
        "!git config user.name; git log -1 --format=%an; git rev-parse --show-toplevel | sed 's:.*/::'",
        LAB_DATABASE="",
        DOCKER_HOST="unix:///nowhere",
        FLASK_APP="wrong.py",
        DATABASE_URL="postgresql://me@elsewhere.example/work",
        PGHOST="elsewhere.example",
        FLASK_ENV="production",
        GIT_DIR="/elsewhere",
        LC_ALL="de_DE.UTF-8",
        LANGUAGE="de",
    )
    assert "DATABASE_URL names another host" in said[0]
    assert "e2062c5f334d (head)" in said[1]
    assert said[2].strip() == "1"  # LAB_DATABASE_URL alone, by which the server was chosen
    assert said[3].splitlines()[-1] == "04_downgrade"


def test_a_password_with_odd_characters_works_everywhere(shared_server, cells):
    password = "p@ss'w%ord$ #1\"x"
    query(shared_server, "DROP ROLE IF EXISTS odd")
    query(shared_server, "CREATE ROLE odd LOGIN CREATEDB PASSWORD '" + password.replace("'", "''") + "'")
    url = shared_server.set(username="odd", password=password)
    with home_of_its_own(LAB_DATABASE="url", DATABASE_URL=url.render_as_string(hide_password=False)):
        said = cells(
            OPEN.format("04_downgrade"),
            "!flask db current",
            "!psql -At -c 'SELECT count(*) FROM books'",
            "here.serve()",
            'here.get("/health")',
            LAB_DATABASE="url",
            DATABASE_URL=url.render_as_string(hide_password=False),
        )
    assert "e2062c5f334d (head)" in said[1]
    assert said[2] == "40\n"
    assert '"is_newest":true' in said[4].replace(" ", "")


def test_a_server_that_lets_nobody_connect_to_its_empty_template_will_do(shared_server, cells):
    query(shared_server, "REVOKE CONNECT ON DATABASE template0 FROM PUBLIC")
    query(shared_server, "CREATE ROLE careful LOGIN CREATEDB PASSWORD 'secret'")
    url = shared_server.set(username="careful", password="secret").render_as_string(hide_password=False)
    settings = {"LAB_DATABASE": "url", "DATABASE_URL": url}
    with home_of_its_own(**settings):
        assert "at revision e2062c5f334d" in cells(OPEN.format("04_downgrade"), **settings)[0]
    query(shared_server, "GRANT CONNECT ON DATABASE template0 TO PUBLIC")


def test_two_clones_on_one_server_leave_each_other_alone(shared_server, cells):
    settings = {"LAB_DATABASE": "url", "DATABASE_URL": shared_server.render_as_string(hide_password=False)}
    name = "04_downgrade"
    resume = f'from lab import lesson\nhere = lesson.resume("{name}")'
    with home_of_its_own(**settings) as one:
        cells(OPEN.format(name), 'here.sql("DELETE FROM order_lines")', **settings)
        with home_of_its_own(**settings) as other:
            cells(OPEN.format(name), **settings)
            assert database_of(one / "work" / name).database != database_of(other / "work" / name).database
            assert query(database_of(other / "work" / name), "SELECT count(*) > 0 FROM order_lines") == [(True,)]
        # the other one is gone by now, with all that it made
        settings["LAB_HOME"] = str(one)
        assert "0" in cells(resume, 'here.sql("SELECT count(*) FROM order_lines")', **settings)[1]


def test_cleaning_forgets_no_server_and_contacts_no_other(shared_server, cells):
    given = shared_server.render_as_string(hide_password=False)
    other = "postgresql://me@127.0.0.1:1/work"
    with home_of_its_own(LAB_DATABASE="url", DATABASE_URL=given):
        cells(OPEN.format("04_downgrade"))
        with pytest.raises(RuntimeError, match=f"The course has databases at 127.0.0.1:{shared_server.port}"):
            lab("clean", "--yes", DATABASE_URL=other)
        assert "dropped the database course_" in lab("clean", "--yes")


def test_a_database_without_our_mark_is_never_touched(shared_server, cells):
    """Not even one that has the very name that a lesson would give its own."""
    settings = {"LAB_DATABASE": "url", "DATABASE_URL": shared_server.render_as_string(hide_password=False)}
    with home_of_its_own(**settings) as one:
        cells(OPEN.format("04_downgrade"), **settings)
        name = database_of(one / "work" / "04_downgrade").database
        query(shared_server, f'DROP DATABASE "{name}" WITH (FORCE)')
        query(shared_server, f'CREATE DATABASE "{name}"')
        theirs = shared_server.set(database=name)
        query(theirs, "CREATE TABLE precious AS SELECT 1 AS one")
        cells(OPEN.format("04_downgrade"), **settings)
        assert database_of(one / "work" / "04_downgrade").database != name
    assert query(theirs, "SELECT one FROM precious") == [(1,)]
    query(shared_server, f'DROP DATABASE "{name}"')
    assert query(shared_server, "SELECT datname FROM pg_database WHERE datname LIKE 'course\\_%'") == []


@pytest.mark.parametrize("count", [6])
def test_many_notebooks_open_at_once(home, count):
    """Also where none of them finds the server running or its starting point made."""
    lab("clean", "--yes")
    code = "import sys; from lab import lesson; lesson(sys.argv[1])"
    names = [f"0{number}" for number in range(2, 2 + count)]
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(lambda name: python(code, name), names))
    assert [result.returncode for result in results] == [0] * count, results


def test_the_same_lesson_opened_twice_at_once_is_opened_one_after_the_other(home):
    code = "from lab import lesson; lesson('04_downgrade')"
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: python(code), range(3)))
    assert [result.returncode for result in results] == [0, 0, 0], results
    url = database_of(home / "work" / "04_downgrade")
    assert query(url, "SELECT count(*) FROM books") == [(40,)]


def test_an_opening_that_is_killed_leaves_nothing_that_is_not_found_again(home):
    lab("clean", "--yes")
    lab("prepare")
    for delay in (0.1, 0.2, 0.3, 0.4):  # somewhere between the first and the last step of an opening
        code = "from lab import lesson; print('ready', flush=True); lesson('04_downgrade')"
        with subprocess.Popen([sys.executable, "-c", code], cwd=NOTEBOOKS, stdout=subprocess.PIPE, text=True) as kernel:
            kernel.stdout.readline()
            time.sleep(delay)
            kernel.kill()
    assert python("from lab import lesson; lesson('04_downgrade')").returncode == 0
    url = database_of(home / "work" / "04_downgrade")
    found = query(url, "SELECT datname FROM pg_database WHERE datname LIKE 'course\\_%\\_04\\_downgrade\\_%'")
    assert found == [(url.database,)]


def test_a_lesson_goes_on_in_a_course_that_was_moved_and_a_copy_begins_afresh(tmp_path):
    code = "from lab import lesson; lesson{}('04_downgrade')"
    settings = {**os.environ, "LAB_HOME": str(tmp_path / "one"), "LAB_DATABASE": "embedded"}
    (tmp_path / "one" / "lab").mkdir(parents=True)  # what a home looks like in a clone
    assert python(code.format(""), env=settings).returncode == 0
    (tmp_path / "one").rename(tmp_path / "two")
    settings["LAB_HOME"] = str(tmp_path / "two")
    moved = python(code.format(".resume"), env=settings)
    assert "as you left them" in moved.stdout, moved.stderr
    lab("stop", **settings)
    shutil.copytree(tmp_path / "two", tmp_path / "three", symlinks=True)
    copied = python(code.format(".resume"), env={**settings, "LAB_HOME": str(tmp_path / "three")})
    assert "has not been opened here yet" in copied.stderr
    lab("clean", "--yes", **settings)


def test_opening_on_a_running_server_takes_about_a_second(cells):
    cells(OPEN.format("04_downgrade"))
    said = cells(
        "import time; from lab import lesson",
        "start = time.monotonic(); lesson('04_downgrade')",
        "print(time.monotonic() - start)",
    )
    assert float(said[2]) < 3 * pace()  # about 0.15 on an idle machine; kernels and servers start beside it here


@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "with its group, as Jupyter does"])
def test_a_killed_kernel_takes_its_website_with_it(home, whole_group):
    code = (
        "import os, time; from lab import lesson; here = lesson('04_downgrade'); here.serve();"
        "print(here._website.process.pid, flush=True); time.sleep(60)"
    )
    pipe = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=NOTEBOOKS, **pipe) as kernel:
        number = next(line for line in kernel.stdout if line.strip().isdigit())
        website = psutil.Process(int(number))
        family = [website, *website.children(recursive=True)]
        assert len(family) >= 2
        (os.killpg if whole_group else os.kill)(kernel.pid, signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_an_interrupted_command_is_ended(home):
    code = (
        "from lab import lesson, commands; here = lesson('04_downgrade'); print('ready', flush=True);"
        "commands.stream('psql -c \"SELECT pg_sleep(61)\"')"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=NOTEBOOKS, **pipes) as kernel:
        while kernel.stdout.readline().strip() != "ready":
            pass
        deadline = time.monotonic() + 10
        while not (psqls := [p for p in psutil.Process(kernel.pid).children(recursive=True) if p.name() == "psql"]):
            assert time.monotonic() < deadline
        kernel.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in kernel.communicate()[1]
    assert psutil.wait_procs(psqls, timeout=5)[1] == []


INTERRUPTED_AT_ITS_START = """
import os, signal, subprocess
from lab import commands

start = subprocess.Popen._execute_child

def interrupted(*arguments):
    start(*arguments)
    os.kill(os.getpid(), signal.SIGINT)

subprocess.Popen._execute_child = interrupted
commands.stream("sleep 61.25")
"""


def test_a_command_that_is_interrupted_while_it_starts_is_ended(home):
    code = [sys.executable, "-c", INTERRUPTED_AT_ITS_START]
    said = subprocess.run(code, cwd=NOTEBOOKS, capture_output=True, text=True)
    assert said.stderr.rstrip().endswith("KeyboardInterrupt")
    assert not running("61.25")


@pytest.mark.parametrize("times", [1, 2])
def test_a_command_that_does_not_hear_an_interrupt_is_ended_however_often_one_comes(times):
    code = """from lab import commands; commands.stream("trap '' INT; echo ready; sleep 61.5")"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=NOTEBOOKS, **pipes) as kernel:
        assert kernel.stdout.readline() == "ready\n"
        for _ in range(times):
            kernel.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert "KeyboardInterrupt" in kernel.communicate()[1]
    assert not running("61.5")


def test_a_test_run_leaves_a_learners_attempt_as_it_was(home, cells):
    """Here the learner's home is this file's; the test run makes one of its own, as every run does."""
    name = "04_downgrade"
    cells(OPEN.format(name), "!echo mine > mine.txt", 'here.sql("DELETE FROM order_lines")')

    def attempt():
        # not the server's own files: it runs on
        paths = [*(home / "work").rglob("*"), *(home / ".lab").rglob("*.json")]
        files = {path.relative_to(home): hash(path.read_bytes()) for path in paths if path.is_file()}
        return files, query(database_of(home / "work" / name), "SELECT count(*) FROM order_lines")

    before = attempt()
    opening = f"notebooks/{name}.ipynb::Cell 0"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbval", opening], cwd=NOTEBOOKS.parent, capture_output=True, text=True
    )
    assert "notebook cells: 1 passed" in result.stdout, result.stdout
    assert attempt() == before
