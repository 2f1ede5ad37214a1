"""Opening a lesson: a copy of the bookshop, a database of its own, and an environment for its commands."""

import datetime
import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

from IPython import get_ipython
from sqlalchemy.engine import URL

from . import course, database, environment, home
from .commands import RevisionIds, Shell, last_words
from .course import Lesson
from .here import Here
from .pictures import Picture
from .problem import Problem
from .server import Server, choose, clients, connect

APPLICATION = home.COURSE / "sample_app"
NOT_COPIED = shutil.ignore_patterns(
    ".env", "__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"
)
EARLIER = home.WORK / "earlier"


def lesson(name: str) -> Here:
    """Begin the lesson `name` afresh; what an earlier attempt left in its folder is kept aside.

    The folder of this process becomes the lesson's, and `!` runs commands in it. Whatever cannot be done
    is a Problem, and then nothing of an earlier attempt has changed.
    """
    entry = course.find(name)
    server = choose()
    start = prepare(server, entry.start)
    folder = home.WORK / entry.name
    with home.locked(home.DATA / "opening" / f"{entry.name}.lock"), _draft(folder) as draft:
        _lay_out(draft, entry.start)
        _git_repository(draft, entry.start)
        _close_current()
        url = database.create(server, entry.name, start)
        _write_settings(draft, url)
        kept = _keep_aside(folder)
        draft.rename(folder)
        home.write_record(f"lessons/{entry.name}", {"kind": server.kind, "database": url.database})
        here = _enter(entry, server, folder, url)
        release = "" if entry.start == "application" else ", release 1"
        print(f"files      {_shown(folder)}: a fresh copy of the bookshop{release}")
        _describe(entry, server, url)
    if kept:
        print(f"kept       your earlier files are in {_shown(kept)}")
    return here


def resume(name: str) -> Here:
    """Go back to the lesson `name` as it was left: its files and its data, on the server it was opened on."""
    entry = course.find(name)
    home.checkout_id()  # a copied folder forgets here what it has from the other one
    record = home.read_record(f"lessons/{entry.name}")
    folder = home.WORK / entry.name
    begin = f'Begin it with lesson("{entry.name}").'
    if "kind" not in record:
        raise Problem(f"There is nothing to resume: this lesson has not been opened here yet.\n{begin}")
    if not folder.is_dir():
        raise Problem(f"The lesson's folder {_shown(folder)} is gone.\n{begin}")
    server = choose(record["kind"], "as when it was opened")
    url = server.url.set(database=record["database"])
    if not database.exists(url):
        raise Problem(f"The lesson's database is gone from {server}.\n{begin}")
    # The server may have come back on another port.
    _write_settings(folder, url)
    _close_current()
    here = _enter(entry, server, folder, url, resumed=True)
    print(f"files      {_shown(folder)}: as you left them")
    _describe(entry, server, url)
    print("gone       the notebook's variables and the website: where you need them, run their cells again")
    return here


lesson.resume = resume


def lessons() -> Picture:
    """The table of lessons, with the minutes that each takes and whether it was opened here."""
    rows = [
        (entry.title, f"{entry.minutes} min", "opened" if was_opened(entry) else "", entry)
        for entry in course.lessons()
    ]
    text = [f"{entry.number}  {title:<44}{minutes:>6}  {progress}".rstrip() for title, minutes, progress, entry in rows]
    linked = [
        (entry.number, f'<a href="{entry.notebook}">{html.escape(title)}</a>', minutes, progress)
        for title, minutes, progress, entry in rows
    ]
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in linked)
    head = "<tr><th></th><th>lesson</th><th>time</th><th>progress</th></tr>"
    return Picture("\n".join(text), markup=f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")


def was_opened(entry: Lesson) -> bool:
    """Whether the lesson was opened in this checkout."""
    return "kind" in home.read_record(f"lessons/{entry.name}")


def prepare(server: Server, start: str) -> str:
    """The template database for the starting point `start`, made where it is not there yet."""
    if start != "filled":
        return "template0"
    purpose = f"template_{start}_{_fingerprint()}"
    return database.template(server, purpose, fill=lambda url: _fill(url))


def _fill(url: URL) -> None:
    """Upgrade and fill the database `url` as a person would: with the application's own commands."""
    with tempfile.TemporaryDirectory(prefix="bookshop-") as scratch:
        folder = Path(scratch)
        _lay_out(folder, "filled")
        _write_settings(folder, url)
        for command in (["db", "upgrade"], ["seed"]):
            result = subprocess.run(
                [sys.executable, "-m", "flask", *command],
                cwd=folder,
                env=_plain_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if result.returncode:
                said, _ = last_words(result.stdout + result.stderr)
                raise Problem(f"The starting point could not be made: `flask {' '.join(command)}` failed.\n{said}")


def _plain_environment() -> dict[str, str]:
    """This process's environment without what would win over the copy's .env."""
    foreign = environment.FOREIGN + environment.FOREIGN_NAMES
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _fingerprint() -> str:
    """Changes when the sample application does, so that no outdated template is used."""
    digest = hashlib.sha256()
    for path in sorted(APPLICATION.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".env":
            digest.update(path.relative_to(APPLICATION).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def _keep_aside(folder: Path) -> Path | None:
    """Move an earlier attempt away; where to, or None if there was none."""
    if not folder.exists():
        return None
    with home.writing_to(EARLIER):
        EARLIER.mkdir(parents=True, exist_ok=True)
        stamp = datetime.datetime.now().strftime("%Y-%m-%d %H.%M.%S")
        kept = EARLIER / f"{folder.name} {stamp}"
        while kept.exists():
            kept = kept.with_name(kept.name + "+")
        folder.rename(kept)
    return kept


@contextmanager
def _draft(folder: Path):
    """A folder beside `folder` to prepare what shall stand there; removed if it was not moved there in the end."""
    with home.writing_to(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _lay_out(folder: Path, start: str) -> None:
    """Copy the application to the empty `folder`, at the state `start`."""
    with home.writing_to(folder.parent):
        folder.chmod(0o755)
        shutil.copytree(APPLICATION, folder, ignore=NOT_COPIED, dirs_exist_ok=True)
        if start == "application":
            shutil.rmtree(folder / "migrations")
        elif start == "initialised":
            for revision in (folder / "migrations" / "versions").glob("*.py"):
                revision.unlink()


def _write_settings(folder: Path, url: URL) -> None:
    """Write the copy's `.env`, or put the database into one that the learner has changed."""
    path = folder / ".env"
    # In single quotes a shell and python-dotenv read the same, whatever a password holds.
    line = f"DATABASE_URL='{url.render_as_string(hide_password=False)}'"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = ["FLASK_APP=manage.py", "FLASK_ENV=development"]
    lines = [old for old in lines if not re.match(r"(export\s+)?DATABASE_URL\s*=", old)] + [line]
    home.write_private(path, "\n".join(lines) + "\n")


def _git_repository(folder: Path, start: str) -> None:
    """Make the copy a git repository with release 1 committed; in lesson 01 the learner does that."""
    if start == "application":
        return
    identity = ["-c", "user.name=The bookshop", "-c", "user.email=shop@bookshop.example", "-c", "commit.gpgsign=false"]
    date = "2026-11-01T09:00:00+0000"
    variables = {**_plain_environment(), "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}

    def git(*arguments: str) -> subprocess.CompletedProcess:
        try:
            return subprocess.run(["git", *arguments], cwd=folder, env=variables, capture_output=True, text=True)
        except FileNotFoundError:
            raise Problem(
                "The lessons need git, and there is none on PATH.\nInstall git and restart JupyterLab."
            ) from None

    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["config", "color.ui", "false"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "release 1"],
    ):
        result = git(*command)
        if result.returncode:
            raise Problem(f"git could not commit the fresh copy: {result.stderr.strip()}")
    if git("config", "user.email").returncode:
        # Cells bring an identity along; in a terminal git refuses to commit without one.
        git("config", "user.name", "Learner")
        git("config", "user.email", "learner@bookshop.example")


def _enter(entry: Lesson, server: Server, folder: Path, url: URL, resumed: bool = False) -> Here:
    """Make this process's folder, environment and `!` those of the lesson."""
    environment.enter(url, clients(server))
    os.chdir(folder)
    ids = RevisionIds(entry.name, folder)
    ids.offer()
    ipython = get_ipython()
    if ipython is not None:
        ipython.system = Shell(ipython, ids)
    global _current
    _current = Here(folder, server, url, ids, resumed)
    return _current


_current: Here | None = None


def _close_current() -> None:
    """End what a lesson opened earlier in this kernel left running."""
    if _current is not None:
        _current._close()


def _describe(entry: Lesson, server: Server, url: URL) -> None:
    print(f"server     {server}")
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        applied = database.applied_revisions(cursor)
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        empty = cursor.fetchone()[0] == 0
    state = f"at revision {', '.join(applied)}" if applied else "empty" if empty else "no revision applied"
    print(f"database   {state}")
    print(f'continue   after a restart: from lab import lesson; here = lesson.resume("{entry.name}")')


def _shown(folder: Path) -> str:
    """A path as a learner sees it in JupyterLab's file browser, which shows the folder notebooks/."""
    return f"{folder.relative_to(home.HOME).as_posix()}/"
