"""Where the course keeps what it makes, and the id that marks all of it as this checkout's own."""

import fcntl
import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from .problem import Problem

NOTEBOOKS = Path(__file__).resolve().parents[1]
COURSE = NOTEBOOKS.parent
# Tests set LAB_HOME, so that a test run never meets a learner's files, databases or server.
HOME = Path(os.environ.get("LAB_HOME") or NOTEBOOKS).resolve()
WORK = HOME / "work"  # the learner's copies
DATA = HOME / ".lab"  # the course's own records; JupyterLab hides folders whose names start with a dot


def checkout_id() -> str:
    """The random id of this checkout, made at the first call.

    It is made anew where the folder is a copy of another that is still there, or came from another machine: two
    with one id would take each other's databases for their own. A folder that was moved keeps it.
    """
    with changing("id") as record:
        now = {"machine": _machine(), "folder": str(HOME)}
        before = record.get("owner", {})
        moved = before.get("machine") == now["machine"] and not Path(before.get("folder", HOME), "lab").exists()
        if before != now and not moved:
            record["id"] = secrets.token_hex(4)
            # What a copied folder remembers belongs to the folder that it was copied from.
            shutil.rmtree(DATA / "lessons", ignore_errors=True)
            (DATA / "databases.json").unlink(missing_ok=True)
        record["owner"] = now
        return record["id"]


def _machine() -> str:
    """What stays the same on one machine and differs between two; a host's name changes with its network."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@contextmanager
def locked(path: Path):
    """Hold the lock file `path` for a block, against every other process on this machine."""
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_record(name: str) -> dict:
    """The record called `name`, or an empty one where there is none or it is damaged."""
    try:
        record = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@contextmanager
def changing(name: str):
    """The record called `name`, to be changed in a block that no other process enters meanwhile."""
    with locked(DATA / f"{name}.lock"):
        record = read_record(name)
        before = json.dumps(record)
        yield record
        if json.dumps(record) != before:
            write_record(name, record)


def write_record(name: str, record: dict) -> None:
    """Keep `record` under `name`, readable by its owner only, whole or not at all."""
    path = DATA / f"{name}.json"
    write_private(path, json.dumps(record, indent=1) + "\n")


def remove(folder: Path) -> None:
    """Remove a folder, also what somebody made read-only in it; what is not there is removed."""
    for place, _, _ in os.walk(folder):
        with suppress(OSError):
            os.chmod(place, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; replace it in one step if it is there."""
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)


@contextmanager
def writing_to(folder: Path):
    """Tell a full disk or a folder that may not be written as a Problem."""
    try:
        yield
    except OSError as error:
        # shutil collects what went wrong with each file
        reason = error.strerror or error.args[0][-1][-1]
        raise Problem(
            f"Cannot write to {folder}: {reason}.\n"
            "Make room, or give yourself the right to write there; then run this cell again."
        ) from None
