"""Running commands as a person would: what `!` does in a lesson, and commands that must fail."""

import codecs
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import home
from .problem import Problem

# Flask-Migrate 4.1 reads its options from the environment, too.
MAKES_A_REVISION = re.compile(r"\bflask db (?:migrate|revision|merge)\b")
REVISION_OPTIONS = ("FLASK_DB_MIGRATE_REV_ID", "FLASK_DB_REVISION_REV_ID", "FLASK_DB_MERGE_REV_ID")


class RevisionIds:
    """Hands the next revision of a lesson its id, so that what a lesson prints is the same every time.

    An id is the lesson's number, the number of the revision, and eight characters that look like any
    other id. One that was used never comes back, also after its file was deleted: the count is kept.
    """

    def __init__(self, lesson: str, folder: Path):
        self.lesson = lesson
        self.folder = folder
        self.record = f"lessons/{lesson}"

    @contextmanager
    def offered(self, line: str):
        """Put the next unused id into the environment for a block that runs `line`.

        A line that may make two revisions gets none, nor does what runs outside of such a block: Alembic then makes
        up an id, as it does in a terminal.
        """
        makes_one = len(MAKES_A_REVISION.findall(line)) == 1
        if makes_one:
            for option in REVISION_OPTIONS:
                os.environ[option] = self._id(self._used() + 1)
        try:
            yield
        finally:
            for option in REVISION_OPTIONS:
                os.environ.pop(option, None)
            if makes_one:
                self._used()  # noted now, since the file may be deleted before the next one is made

    def _used(self) -> int:
        """How many ids were used: those noted before, and those of files that stand in the lesson's folder."""
        with home.changing(self.record) as record:
            used = record.get("revisions", 0)
            # anywhere below the folder, since it may hold a colleague's clone
            while any(self.folder.rglob(f"versions/{self._id(used + 1)}*")):
                used += 1
            record["revisions"] = used
        return used

    def _id(self, count: int) -> str:
        digest = hashlib.sha256(f"{self.lesson}/{count}".encode()).hexdigest()
        return f"{self.lesson[:2]}{count:02}{digest[:8]}"


class Shell:
    """What a line that begins with `!` calls in a lesson's notebook.

    Like IPython's own, but the command has no terminal: Alembic breaks its lines at the terminal's width,
    at a place that depends on how long the path is, and other programs add colour and pagers.
    """

    def __init__(self, ipython, revision_ids: RevisionIds):
        self.ipython = ipython
        self.revision_ids = revision_ids

    def __call__(self, line: str) -> None:
        if line.rstrip().endswith("&") and not line.rstrip().endswith("&&"):
            raise Problem("A cell cannot leave a command running in the background.\nUse a JupyterLab terminal for it.")
        # depth 1: the variables of the cell that called us fill {name} and $name
        line = self.ipython.var_expand(line, depth=1)
        with self.revision_ids.offered(line):
            self.ipython.user_ns["_exit_code"] = stream(line)


def stream(line: str) -> int:
    """Run `line` in a shell, print what it says as it says it; its exit code. An interrupt ends it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with _running(line) as process:
        while chunk := process.stdout.read1():
            sys.stdout.write(decoder.decode(chunk))
            sys.stdout.flush()
        return process.wait()


@dataclass
class Failure:
    """What a failed command said, cut down to what matters."""

    exit_code: int
    message: str
    left_out: int

    def __repr__(self):
        above = f"\n({self.left_out} lines above this left out)" if self.left_out else ""
        return f"exit code {self.exit_code}\n{self.message}{above}"


def fails(line: str) -> Failure:
    """Run `line`, which has to fail; what it said. A command that does not fail is a Problem."""
    with _running(line) as process:
        said = process.communicate()[0].decode("utf-8", "replace")
    if process.returncode == 0:
        print(said, end="")
        raise Problem(
            f"This command was meant to fail here, and it did not: {line}\n"
            "Did an earlier cell not run, or has its change been undone? Run the notebook from the top."
        )
    message, left_out = last_words(said)
    return Failure(process.returncode, message, left_out)


def last_words(said: str) -> tuple[str, int]:
    """The error at the end of a program's output, and how many lines stand above it.

    A traceback ends in the class and the message; for a database error SQLAlchemy puts the driver's
    class in brackets, the server's DETAIL and HINT below it, and then the statement, which is left out.
    """
    lines = said.rstrip().splitlines()
    tracebacks = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if not tracebacks:
        # Flask-Migrate logs its errors, in front of which stands the logger's name
        last = re.sub(r"^ERROR \[\w+\] ", "", lines[-1].strip()) if lines else "(it said nothing)"
        return last, max(len(lines) - 1, 0)
    end = next((n for n in range(tracebacks[-1] + 1, len(lines)) if lines[n][:1].strip()), len(lines) - 1)
    error, _, message = lines[end].partition(": ")
    driver = re.match(r"\((?:\w+\.)*(\w+)\) (.*)", message)
    if driver:
        error, message = driver.groups()
    kept = [f"{error.rpartition('.')[2]}: {message}" if message else error]
    for line in lines[end + 1 :]:
        if line.startswith(("DETAIL:", "HINT:")):
            kept.append(re.sub(r":\s+", ": ", line, count=1))
    return "\n".join(kept), end


@contextmanager
def _running(line: str):
    """Run `line` in a shell beside the block; an interrupt ends it, also one that comes while it starts."""
    process = None
    try:
        with _interrupted_later():
            process = subprocess.Popen(
                line,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that an interrupt reaches the whole pipeline, and only it
            )
        yield process
    except BaseException:
        if process:
            _end(process)
        raise
    finally:
        if process:
            process.stdout.close()


@contextmanager
def _interrupted_later():
    """Keep an interrupt back until the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # only that one is interrupted
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _end(process: subprocess.Popen) -> None:
    """End a command and its children: asked, then told, then killed. psycopg2 does not hear an interrupt
    while it waits for the server."""
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended
            return
        try:
            process.wait(timeout=2)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # who asks once more need not wait any longer
            continue
