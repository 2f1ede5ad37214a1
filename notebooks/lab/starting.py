"""Starting points: the copy of the bookshop with which a lesson or an exercise begins, and what its database holds.

Both are made as a person would make them, with git and with the application's own commands.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from . import database, environment, home
from .commands import last_words
from .problem import Problem
from .server import Server, connect

APPLICATION = home.COURSE / "sample_app"
EXERCISES = home.NOTEBOOKS / "lab" / "exercises"
NOT_COPIED = shutil.ignore_patterns(
    ".env", "__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"
)
FILLED_BY = {"filled": "seed", "large": "seed --orders 1000000"}
IDENTITY = ["-c", "user.name=The bookshop", "-c", "user.email=shop@bookshop.example", "-c", "commit.gpgsign=false"]


@dataclass(frozen=True)
class Start:
    """Where a lesson or an exercise begins.

    `state` is one of course.STARTS. To that, somebody may have added something for the exercise named by `left`:
    changes of the files (its patch, if there is one), `flask` commands that ran in the changed copy, and then SQL.
    A command that begins with "-", as in a Makefile, may have failed.
    """

    state: str
    left: str = ""
    commands: tuple[str, ...] = ()
    sql: str = ""

    @property
    def patch(self) -> Path | None:
        path = EXERCISES / f"{self.left}.patch"
        return path if path.exists() else None


def prepare(server: Server, start: Start) -> str:
    """The template database for `start`, made where it is not there yet."""
    if start.commands or start.sql:
        before, commands = prepare(server, Start(start.state)), start.commands
    elif start.state in FILLED_BY:
        # What was left in the files alone changes nothing in the database.
        start, before, commands = Start(start.state), "template0", ("db upgrade", FILLED_BY[start.state])
    else:
        return "template0"
    purpose = f"template_{start.left or start.state}_{_fingerprint(start)}"
    return database.template(server, purpose, before, fill=lambda url: _fill(url, start, commands))


def lay_out(folder: Path, start: Start) -> None:
    """Copy the application to the empty `folder`, with what was left in it.

    The copy is a git repository with both committed; in lesson 01 the learner makes the repository.
    """
    with home.writing_to(folder.parent):
        folder.chmod(0o755)
        shutil.copytree(APPLICATION, folder, ignore=NOT_COPIED, dirs_exist_ok=True)
        if start.state == "application":
            shutil.rmtree(folder / "migrations")
        elif start.state == "initialised":
            for revision in (folder / "migrations" / "versions").glob("*.py"):
                revision.unlink()
    if start.state == "application":
        if start.patch:
            _git(folder, "apply", str(start.patch))
        return
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "config", "color.ui", "false")
    _commit_all(folder, "release 1")
    if start.patch:
        _git(folder, "apply", str(start.patch))
        _commit_all(folder, "what was left here")
    if not _git(folder, "config", "--default", "", "--get", "user.email"):
        # Cells bring an identity along; in a terminal git refuses to commit without one.
        _git(folder, "config", "user.name", "Learner")
        _git(folder, "config", "user.email", "learner@bookshop.example")


def _commit_all(folder: Path, message: str) -> None:
    _git(folder, "add", "--all")
    _git(folder, *IDENTITY, "commit", "--quiet", "--message", message)


def _git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`, and in no repository around it; what it said."""
    date = "2026-11-01T09:00:00+0000"
    variables = {
        **plain_environment(),
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, env=variables, capture_output=True, text=True)
    except FileNotFoundError:
        raise Problem("The lessons need git, and there is none on PATH.\nInstall git and restart JupyterLab.") from None
    if result.returncode:
        raise Problem(f"git could not prepare the fresh copy: {result.stderr.strip()}")
    return result.stdout.strip()


def write_settings(folder: Path, url: URL) -> None:
    """Write the copy's `.env`, or put the database into one that the learner has changed."""
    path = folder / ".env"
    # In single quotes a shell and python-dotenv read the same, whatever a password holds.
    line = f"DATABASE_URL='{url.render_as_string(hide_password=False)}'"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = ["FLASK_APP=manage.py", "FLASK_ENV=development"]
    home.write_private(path, "\n".join([*without_database(lines), line]) + "\n")


def without_database(lines: list[str]) -> list[str]:
    """The lines of a `.env` but for the one that names the database."""
    return [line for line in lines if not re.match(r"(export\s+)?DATABASE_URL\s*=", line)]


def plain_environment() -> dict[str, str]:
    """This process's environment without what would win over the copy's .env."""
    foreign = environment.FOREIGN + environment.FOREIGN_NAMES
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _fill(url: URL, start: Start, commands: tuple[str, ...]) -> None:
    """Bring the database `url` to the starting point, as a person would: with the application's own commands."""
    with tempfile.TemporaryDirectory(prefix="bookshop-") as scratch:
        folder = Path(scratch)
        lay_out(folder, start)
        write_settings(folder, url)
        for command in commands:
            may_fail, command = command.startswith("-"), command.removeprefix("-")
            result = subprocess.run(
                ["flask", *shlex.split(command)],
                cwd=folder,
                env={**plain_environment(), "PATH": environment.path()},  # warm, once there is a parent
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if result.returncode and not may_fail:
                said, _ = last_words(result.stdout + result.stderr)
                raise Problem(f"The starting point could not be made: `flask {command}` failed.\n{said}")
        if start.sql:
            with closing(connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute(start.sql)


def _fingerprint(start: Start) -> str:
    """Changes when the sample application does, or what was left in it, so that no outdated template is used."""
    digest = hashlib.sha256(repr(start).encode())
    for path in [*sorted(APPLICATION.rglob("*")), *([start.patch] if start.patch else [])]:
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".env":
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]
