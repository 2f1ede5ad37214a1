"""Faults that a learner meets, each really done. Each ends in a clear line, and the next `lesson(...)` works.

| fault | what is promised | where |
|---|---|---|
| the kernel killed in an upgrade | nothing of it is applied; the next opening works | here |
| the server killed in or between cells | one line; resuming has files and data back | here, in_docker.py |
| the container paused or removed | one line; the next opening starts it again | in_docker.py |
| a port taken | another port, or a line with the variable to set | test_embedded.py, in_docker.py |
| a stale pid file, a foreign process of that number | neither obeyed nor harmed | test_embedded.py |
| a lock held by somebody who was killed | is free again | here |
| a full disk, under the work or the server | a line that says so, nothing half made or lost | here, test_embedded.py |
| a clock that jumps, forwards and back | attempts are kept apart all the same | here |
| two kernels on one lesson | the later one has it; the earlier one is told | here, test_opening.py |
| a file broken, deleted, made read-only | kept aside under the name that the opening prints | here |
| a database of our name that is not ours | left alone | test_opening.py |
| a role that may not create databases | a line with the cure | test_server.py |
| a network that resets connections | one line; works again as soon as it does not | here |
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from homes import NOTEBOOKS, home_of_its_own, lab
from kernel import Kernel
from sqlalchemy.engine import make_url

OPEN = 'from lab import lesson\nhere = lesson("05_add_column")'
RESUME = 'from lab import lesson\nhere = lesson.resume("05_add_column")'
BOOKS = "here.sql(\"SELECT count(*) FROM books WHERE name <> ''\")"


@pytest.fixture
def kernel(home):
    kernel = Kernel()
    kernel.run(OPEN)
    yield kernel
    kernel.close()


def told(kernel: Kernel, source: str) -> str:
    """What a learner is told by a cell that cannot do its work: a line or two, and no traceback."""
    with pytest.raises(AssertionError) as caught:
        kernel.run(source)
    said = str(caught.value).removeprefix(source).strip()
    assert "Traceback" not in said and said.count("\n") <= 2, said
    return said


def postmaster(home: Path) -> psutil.Process:
    """The server that the lesson uses."""
    servers = (process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres")
    return next(process for process in servers if url_of(home).port in listening(process))


def url_of(home: Path):
    settings = (home / "work" / "05_add_column" / ".env").read_text()
    return make_url(re.search(r"DATABASE_URL='?([^'\n]+)", settings)[1])


def listening(process: psutil.Process) -> list[int]:
    with suppress(psutil.Error):
        return [c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return []


def write_a_slow_revision(kernel: Kernel, home: Path) -> None:
    """A revision that writes, and then sleeps in its transaction."""
    kernel.run("!flask db revision -m slow")
    folder = home / "work" / "05_add_column"
    revision = next(folder.glob("migrations/versions/*_slow.py"))
    steps = (
        'def upgrade():\n    op.execute("ALTER TABLE books ADD COLUMN half text")\n'
        '    op.execute("SELECT pg_sleep(30)")\n\n\ndef unused'
    )
    revision.write_text(revision.read_text().replace("def upgrade", steps, 1))


def sessions(home: Path, words: str) -> list:
    connection = psycopg2.connect(
        **url_of(home).set(database="postgres").translate_connect_args(username="user", database="dbname")
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE query ~ %s AND pid <> pg_backend_pid() AND state = 'active'",
            [words],
        )
        found = cursor.fetchall()
    connection.close()
    return found


def wait_until(true, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_kernel_killed_in_an_upgrade_leaves_nothing_of_it(home):
    first = Kernel()
    first.run(OPEN)
    write_a_slow_revision(first, home)
    first.client.execute("!flask db upgrade")
    wait_until(lambda: sessions(home, "pg_sleep"))
    os.kill(first.manager.provisioner.pid, signal.SIGKILL)
    wait_until(lambda: not sessions(home, "pg_sleep"))  # the command ends with its kernel, and rolls back
    first.close()
    second = Kernel()
    assert "as you left" in second.run(RESUME)
    assert "e2062c5f334d" in second.run("!flask db current")
    assert "half" not in second.run('here.table("books")')
    second.run(OPEN)
    second.close()


def test_a_server_killed_during_a_cell_is_back_with_the_next_one(kernel, home):
    server = postmaster(home)
    when_asleep(home, lambda: kill(server))
    assert "server closed the connection" in told(kernel, 'here.sql("SELECT pg_sleep(30)")')
    assert "as you left" in kernel.run(RESUME)
    assert "40" in kernel.run(BOOKS)


def test_a_server_killed_during_an_upgrade_rolls_it_back(kernel, home):
    write_a_slow_revision(kernel, home)
    server = postmaster(home)
    when_asleep(home, lambda: kill(server))
    assert "server closed the connection" in kernel.run('here.fails("flask db upgrade")')
    kernel.run(RESUME)
    assert "e2062c5f334d" in kernel.run("!flask db current")
    assert "half" not in kernel.run('here.table("books")')


def test_a_server_killed_between_cells_is_told_and_comes_back(kernel, home):
    kill(postmaster(home))
    assert "The lesson's database does not answer." in told(kernel, BOOKS)
    assert "connection" in kernel.run("!flask db current 2>&1 | tail -3")
    kernel.run(OPEN)
    assert "40" in kernel.run(BOOKS)


def when_asleep(home: Path, act) -> None:
    """Do something, in a thread, as soon as a session of the lesson sleeps."""
    threading.Thread(target=lambda: (wait_until(lambda: sessions(home, "pg_sleep")), act()), daemon=True).start()


def kill(server: psutil.Process) -> None:
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([server], timeout=10)


def test_two_kernels_on_one_lesson(kernel, home):
    other = Kernel()
    assert "your earlier files are in work/earlier/05_add_column" in other.run(OPEN)
    assert "database" in told(kernel, BOOKS)
    assert "40" in other.run(BOOKS)
    kernel.run(RESUME)  # and both may go on with the attempt that there is now
    assert "40" in kernel.run(BOOKS)
    other.close()


@pytest.mark.parametrize(
    "damage",
    [
        "open('bookshop/models.py', 'a').write('def (')",
        "import shutil; shutil.rmtree('bookshop'); shutil.rmtree('migrations')",
        "!chmod -R a-w . && chmod a-w bookshop migrations",
        "open('.env', 'w').write('nonsense')",
        "!rm -rf .git .env",
    ],
    ids=["syntax error", "deleted", "read-only", "settings overwritten", "settings and history deleted"],
)
def test_a_damaged_copy_is_kept_aside_and_a_fresh_one_opened(kernel, home, damage):
    kernel.run("open('mine', 'w').write('precious')")
    kernel.run(damage)
    said = kernel.run(OPEN)
    aside = re.search(r"your earlier files are in (work/earlier/.*)/\n", said)[1]
    assert (home / aside / "mine").read_text() == "precious"
    assert "(head)" in kernel.run("!flask db current 2>/dev/null")
    assert "40" in kernel.run(BOOKS)


def test_clean_removes_what_was_made_read_only():
    with home_of_its_own() as home:
        copy = home / "work" / "05_add_column"
        copy.mkdir(parents=True)
        (copy / "mine").touch()
        copy.chmod(0o555)
        lab("clean", "--yes")
        assert not (home / "work").exists()


def test_files_changed_by_hand_end_in_one_line_of_flask(kernel):
    kernel.run("open('bookshop/models.py', 'a').write('def (')")
    assert "SyntaxError: invalid syntax" in kernel.run('here.fails("flask db current")')


def test_a_lock_of_somebody_who_was_killed_is_free(kernel):
    code = (
        "import time; from contextlib import ExitStack; from lab.home import DATA, locked\n"
        "held = ExitStack()\n"
        "for lock in [*DATA.rglob('*.lock')]:\n    held.enter_context(locked(lock)); print(lock.name)\n"
        "print('all held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=NOTEBOOKS, stdout=subprocess.PIPE, text=True) as holder:
        held = list(iter(holder.stdout.readline, "all held\n"))
        assert {"id.lock\n", "05_add_column.lock\n"} <= set(held)
        holder.kill()
    kernel.run(OPEN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this root may not mount a small disk")
    try:
        with home_of_its_own():
            shared = os.environ["LAB_HOME"]
            kernel = Kernel()
            kernel.run(OPEN)
            kernel.run("open('mine', 'w').write('precious')")
            work = Path(shared) / "work"
            shutil.copytree(work, tmp_path / "work", symlinks=True)
            shutil.rmtree(work)
            work.symlink_to(tmp_path / "work")
            (tmp_path / "filler").write_bytes(b"x" * shutil.disk_usage(tmp_path).free)
            assert "No space left on device" in told(kernel, OPEN)
            (tmp_path / "filler").unlink()
            kernel.run(OPEN)
            assert "40" in kernel.run(BOOKS)
            kept = [path.read_text() for path in work.rglob("mine")]
            assert kept == ["precious"]
            kernel.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(not shutil.which("faketime"), reason="Debian's faketime is not installed")
def test_a_clock_that_jumps_keeps_attempts_apart(home):
    code = "from lab import lesson; here = lesson('05_add_column'); open('jump', 'a').write('{}')"
    for jump in ("+400d", "-3d", "-3d", "+0d"):
        subprocess.run(
            ["faketime", "-f", jump, sys.executable, "-c", code.format(jump)],
            cwd=NOTEBOOKS,
            check=True,
            capture_output=True,
        )
    attempts = [home / "work" / "05_add_column", *(home / "work" / "earlier").glob("05_add_column*")]
    jumps = [path.read_text() for attempt in attempts for path in attempt.glob("jump")]
    assert sorted(jumps) == ["+0d", "+400d", "-3d", "-3d"]
    kernel = Kernel()
    kernel.run(RESUME)
    assert "40" in kernel.run(BOOKS)
    kernel.close()


class Network:
    """A way to a server that can be broken: every connection through it ends with a reset."""

    def __init__(self, port: int):
        self.to = port
        self.broken = False
        self.pairs = []
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.door.accept()
            except OSError:
                return
            if self.broken:
                self._reset(near)
                continue
            far = socket.create_connection(("127.0.0.1", self.to))
            self.pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while said := one.recv(65536):
                other.sendall(said)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def _reset(self, one: socket.socket) -> None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()

    def break_down(self) -> None:
        self.broken = True
        for near, far in self.pairs:
            self._reset(near)
            far.close()
        self.pairs.clear()


@contextmanager
def through_a_network(server):
    network = Network(server.port)
    url = server.set(port=network.port).render_as_string(hide_password=False)
    try:
        yield network, {"LAB_DATABASE": "url", "DATABASE_URL": url}
    finally:
        network.broken = False


def test_a_network_that_resets_connections_is_told_and_works_again(shared_server):
    with through_a_network(shared_server) as (network, variables), home_of_its_own(**variables):
        kernel = Kernel(**variables)
        kernel.run(OPEN)
        network.break_down()
        assert "The lesson's database does not answer." in told(kernel, BOOKS)
        assert "does not let us in: " in told(kernel, OPEN)
        network.broken = False
        kernel.run(OPEN)
        assert "40" in kernel.run(BOOKS)
        kernel.close()
