"""The warm `flask` promises to be the cold one: what either says and does, byte for byte."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from kernel import Kernel, running

OPEN = 'from lab import lesson\nhere = lesson("05_add_column")'
COLD = "import os; del os.environ['LAB_WARM_SOCKET']; os.environ['PATH'] = os.environ['PATH'].partition(os.pathsep)[2]"

# A Flask application of one file, whose commands tell of the process that they run in.
PROBE = """
import os, signal, sys, time
from flask import Flask

app, count = Flask(__name__), 0

@app.cli.command()
def state():
    global count
    count += 1
    main = {name: value for name, value in vars(sys.modules["__main__"]).items() if isinstance(value, str)}
    mask = os.umask(0o77)
    signals = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)]
    print(count, sys.argv, sys.path, main, os.getcwd(), oct(mask), signals, sys.flags, sys.stdout)
    print(sorted(item for item in os.environ.items() if item[0] not in ("LAB_WARM_SOCKET", "PATH")))
    print(sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else "")

@app.cli.command()
def loud():
    for number in range(40000):
        print("a very long line of output", number, file=(sys.stdout, sys.stderr)[number % 2])

@app.cli.command()
def listens():
    print(sys.stdin.read().upper())

@app.cli.command()
def raises():
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise RuntimeError("out of ideas") from error

@app.cli.command()
def leaves():
    sys.exit(7)

@app.cli.command()
def crashes():
    print("last words")
    signal.raise_signal(signal.SIGKILL)

@app.cli.command()
def sleeps():
    open("asleep", "w").close()
    try:
        time.sleep(60)
    finally:
        open("woken", "w").close()

@app.cli.command()
def waits():
    open("asleep", "w").close()
    os.system("sleep 61.75")
    open("woken", "w").close()
"""

BACKGROUND = "rm -f asleep; flask --app probe sleeps & until [ -f asleep ]; do sleep 0.05; done"
PHONE = """sed -i 's/^    fax: .*/&\\n    phone: Mapped[str | None] = mapped_column(String(40))/' bookshop/models.py"""
TITLE = PHONE.replace("phone", "title")

# They run in this order, each in the state that those before it left.
LINES = [
    *("flask", "flask --help", "flask --version", "flask nonsense", "flask routes", "flask --app nonsense routes"),
    *("flask db", "flask db --help", "flask db migrate --help", "flask db nonsense", "flask db list-templates"),
    *("flask db init", "flask db init -d other && ls other", "flask db init -t nonsense -d third"),
    *("flask db branches", "flask db current", "flask db current -v", "flask db heads", "flask db history -v"),
    *("flask db history -r nonsense:", "flask db show head", "flask db show nonsense"),
    *("flask db check", 'flask db migrate -m "nothing"'),
    *(PHONE, "flask db check", 'flask db migrate -m "add phone"', "flask db check", "flask db upgrade --sql"),
    *("flask db upgrade", "flask db current", "flask db upgrade", "flask db upgrade nonsense"),
    *("flask db downgrade --sql", "flask db downgrade --sql head:base", "flask db downgrade", "flask db downgrade x"),
    *("flask db stamp base", "flask db upgrade", "flask db stamp head", "flask db stamp --purge nonsense"),
    *('flask db revision -m "by hand"', 'flask db revision --head=e2062c5f334d --splice -m "beside"'),
    *(
        "flask db heads",
        "flask db upgrade",
        'flask db merge -m "together" heads',
        "flask db upgrade",
        "flask db branches",
    ),
    *("EDITOR=cat flask db edit head", "flask db edit nonsense"),
    *("flask seed", "flask seed --replace --orders 20", "flask seed --orders=-1"),
    *("flask db history | head -n 1", "flask db history | sort | uniq -c", "flask db current 2>/dev/null"),
    *("flask db current 2>&1 >/dev/null | cat", "flask db heads > heads.txt; cat heads.txt", "yes | flask db heads"),
    *("cd bookshop && flask db heads", "flask db heads && flask db nonsense || echo $?", "flask db heads; echo $?"),
    *("flask db heads <&-", "flask db heads >&-; echo $?", "FLASK_APP=nonsense flask routes", "PATH= flask routes"),
    *("PYTHONWARNINGS=error flask db current", "PYTHONOPTIMIZE=1 flask --app probe state", "LC_ALL=C flask routes"),
    *("flask --app probe state", "flask --app probe state a b", "umask 027; FLASK_DEBUG=1 flask --app probe state"),
    *(
        "cd other && flask --app ../probe state",
        "trap '' INT; flask --app probe state",
        "nohup flask --app probe state",
    ),
    *("flask --app probe loud", "flask --app probe loud | tail -n 1", "flask --app probe loud 2>/dev/null | head -n 1"),
    *("echo words | flask --app probe listens", "flask --app probe raises", "flask --app probe leaves; echo $?"),
    "flask --app probe crashes; echo $?",
    *(f"({BACKGROUND}; kill -{name} $!; wait $!; echo $?) 2>/dev/null" for name in ("TERM", "KILL", "USR1")),
    f"({BACKGROUND}; kill -INT $!; kill -TERM $!; wait $!; echo $?)",
    *("touch click.py; flask db heads; rm click.py", "mkdir mako; flask db history; rmdir mako"),
    *(TITLE, "echo 'raise ValueError(1)' >> bookshop/models.py", "flask db current", "flask routes"),
    *("git checkout bookshop/models.py", "echo 'import nonsense' >> bookshop/models.py", "flask db migrate -m x"),
    *("git checkout bookshop/models.py", "echo 'def x(' >> bookshop/models.py", "flask db current", "flask db check"),
]


def prepare(kernel: Kernel, *preparation: str) -> None:
    """Open the lesson, and put the application of one file beside the bookshop."""
    kernel.run(OPEN)
    for cell in preparation:
        kernel.run(cell)
    kernel.run(f"_ = open('probe.py', 'w').write({PROBE!r})")


def play(kernel: Kernel, *preparation: str) -> list[str]:
    """Open the lesson and run all lines; for each what was said, and the exit code."""
    prepare(kernel, *preparation)
    database = kernel.run("print(here.sql('SELECT current_database()'))").splitlines()[2].strip()
    said = []
    for line in LINES:
        text = kernel.run(f"get_ipython().system({line!r})\nprint(f'exit code {{_exit_code}}')")
        said.append(re.sub(r"(?<=Create Date: ).*", "NOW", text.replace(database, "DATABASE")))
    return said


@pytest.fixture(scope="module")
def kernel(home):
    with pytest.MonkeyPatch.context() as environment:
        # Alembic names branches in the order of a set, which differs from one cold command to the next.
        environment.setenv("PYTHONHASHSEED", "0")
        kernel = Kernel()
        yield kernel
        kernel.close()


def helpers(home: Path) -> set[int]:
    """The warm parents that run for lessons in `home`, and what they have forked; not those of other work beside."""
    running = psutil.process_iter(["cmdline", "environ"])
    return {
        process.pid
        for process in running
        if "lab/warm/parent.py" in " ".join(process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("LAB_HOME") == str(home)
    }


def test_each_command_says_and_does_what_the_cold_one_does(kernel):
    warm = play(kernel)
    cold = play(kernel, COLD)
    differ = [(line, *pair) for line, *pair in zip(LINES, warm, cold, strict=True) if pair[0] != pair[1]]
    assert not differ, "\n\n".join(f"{line}\n--- warm\n{one}\n--- cold\n{other}" for line, one, other in differ)


PARENT = "!echo 'import psutil; print(psutil.Process().parent().cmdline())' | flask shell"


def test_a_command_is_run_by_the_warm_parent(kernel):
    kernel.run(OPEN)
    assert "lab/warm/parent.py" in kernel.run(PARENT)
    assert "lab/warm/parent.py" not in kernel.run(PARENT.replace("| flask", "| LAB_WARM=0 flask"))
    kernel.run("!touch flask.sql")  # stands in place of no library
    assert "lab/warm/parent.py" in kernel.run(PARENT)
    kernel.run("!touch flask.py")
    assert "lab/warm/parent.py" not in kernel.run(PARENT)


def test_what_makes_a_starting_point_is_run_by_the_warm_parent(kernel, tmp_path):
    (tmp_path / "alembic.ini").write_text("[alembic]\n")
    (tmp_path / "env.py").write_text("import psutil\nraise RuntimeError(psutil.Process().parent().cmdline())\n")
    make = f"""
from lab import starting
try:
    starting.prepare(here._server, starting.Start("filled", "nobody", ("db current --directory {tmp_path}",)))
except Exception as problem:
    print(problem)"""
    kernel.run(OPEN)
    assert "lab/warm/parent.py" in kernel.run(make)
    said = kernel.run(f"import os\nos.environ['LAB_WARM'] = '0'\n{make}\ndel os.environ['LAB_WARM']")
    assert "ipykernel_launcher" in said and "lab/warm/parent.py" not in said


CHECKING = """
import psutil
from pathlib import Path
from lab.checks.replay import Commands
from sqlalchemy import make_url

url = make_url(open(".env").read().partition("DATABASE_URL='")[2].partition("'")[0])
with Commands(here._folder) as check:
    for command in "flask db current", "flask db nonsense", "flask routes", "GET /", "GET /nonsense", "flask db check":
        print(check.run(url, command))
    others = [p for p in psutil.process_iter(["pid", "cwd", "cmdline"]) if p.info["cwd"] == os.getcwd()]
    print("run by", *(Path(p.info["cmdline"][1]).name for p in others if p.pid != os.getpid()))
"""


def test_a_check_runs_its_commands_in_one_process_of_the_parent_and_finds_what_a_cold_one_does(kernel):
    found = []
    for preparation in ("import os", COLD):
        kernel.run(OPEN)
        kernel.run(preparation)
        good = kernel.run(CHECKING)
        kernel.run("!echo 'raise ValueError(1)' >> bookshop/models.py")
        found.append((good + kernel.run(CHECKING)).splitlines())
    warm, cold = found
    assert warm == [line.replace("run by replay_child.py", "run by parent.py") for line in cold]
    assert "run by parent.py" in warm and "run by replay_child.py" in cold
    assert "bookshop/models.py, line" in warm[-2]


def test_it_can_be_switched_off(home, monkeypatch):
    monkeypatch.setenv("LAB_WARM", "0")
    before, cold = helpers(home), Kernel()
    try:
        cold.run(OPEN)
        assert "lab/warm/parent.py" not in cold.run(PARENT)
        assert helpers(home) == before
    finally:
        cold.close()


@pytest.mark.parametrize("command", ["sleeps", "waits"])
@pytest.mark.parametrize("preparation", ["", COLD], ids=["warm", "cold"])
def test_an_interrupt_ends_a_command_and_what_it_started(kernel, home, preparation, command):
    prepare(kernel, preparation)
    threading.Thread(target=when_asleep, args=(home, kernel.interrupt), daemon=True).start()
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        kernel.run(f"!flask --app probe {command}")
    assert (home / "work" / "05_add_column" / "woken").exists()  # so it was interrupted, and not killed
    assert not running("61.75")


def test_a_command_that_is_interrupted_before_it_began_never_begins(home):
    before, kernel = helpers(home), Kernel()
    prepare(kernel)
    (parent,) = helpers(home) - before

    def interrupt():
        own = psutil.Process(kernel.manager.provisioner.pid)
        while not any("bin/flask" in " ".join(child.cmdline()) for child in own.children(recursive=True)):
            time.sleep(0.05)
        time.sleep(0.5)
        kernel.interrupt()

    os.kill(parent, signal.SIGSTOP)  # as if it were still importing
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(AssertionError, match="KeyboardInterrupt"):
            kernel.run("!flask --app probe sleeps")
    finally:
        os.kill(parent, signal.SIGCONT)
    kernel.run("!flask db current")  # behind it in the parent's queue
    assert helpers(home) - before == {parent}
    assert not (home / "work" / "05_add_column" / "asleep").exists()
    kernel.close()


def test_nothing_outlives_a_killed_kernel(home):
    before, kernel = helpers(home), Kernel()
    prepare(kernel)
    assert helpers(home) > before
    kernel.client.execute("!flask --app probe sleeps")
    when_asleep(home, lambda: os.kill(kernel.manager.provisioner.pid, signal.SIGKILL))
    deadline = time.monotonic() + 10
    while helpers(home) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert helpers(home) - before == set()
    kernel.close()


def when_asleep(home: Path, do) -> None:
    """Do something as soon as the command in the lesson's folder sleeps."""
    while not (home / "work" / "05_add_column" / "asleep").exists():
        time.sleep(0.05)
    do()
