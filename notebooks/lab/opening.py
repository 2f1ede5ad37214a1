"""Opening a lesson or an exercise: a copy of the bookshop, a database of its own, an environment for its commands."""

import datetime
import os
import shutil
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

from IPython import get_ipython
from sqlalchemy.engine import URL

from . import course, database, environment, exercises, home, pictures, progress, starting
from .checks.evidence import fingerprint
from .commands import RevisionIds, Shell
from .here import Here
from .pictures import Picture
from .problem import Problem
from .server import Server, choose, choose_again, clients, connect
from .starting import Start

EARLIER = home.WORK / "earlier"


def lesson(name: str) -> Here:
    """Begin the lesson `name` afresh; what an earlier attempt left in its folder is kept aside.

    The folder of this process becomes the lesson's, and `!` runs commands in it. Whatever cannot be done
    is a Problem, and then nothing in the folder of an earlier attempt has changed.
    """
    entry = course.find(name)
    return _begin("lesson", entry.name, Start(entry.start))


def exercise(name: str) -> Here:
    """Begin the exercise `name` afresh, as a lesson is begun, and show its goal. What was passed stays passed."""
    entry = exercises.find(name)
    here = _begin("exercise", entry.name, entry.start)
    print(f"goal       {entry.shown_goal()}")
    return here


def _begin(opener: str, name: str, start: Start) -> Here:
    server = choose()
    template = starting.prepare(server, start)
    folder = home.WORK / name
    with home.locked(home.DATA / "opening" / f"{name}.lock"), _draft(folder) as draft:
        starting.lay_out(draft, start)
        _close_current()
        url = database.create(server, name, template)
        starting.write_settings(draft, url)
        kept = _keep_aside(folder)
        draft.rename(folder)
        home.write_record(f"lessons/{name}", {"kind": server.kind, "database": url.database})
        here = _enter(opener, name, server, folder, url)
        if opener == "exercise":
            with home.changing(f"lessons/{name}") as record:
                record["begun"] = fingerprint(folder, url)
        release = "" if start.state == "application" else ", release 1"
        left = ", and what somebody left in it" if start.patch else ""
        print(f"files      {_shown(folder)}: a fresh copy of the bookshop{release}{left}")
        _describe(opener, name, server, url)
    if kept:
        print(
            f"kept       your earlier files are in {_shown(kept)}\n"
            "           (so is a terminal that was here: cd again)"
        )
    return here


def _resume_lesson(name: str) -> Here:
    """Go back to the lesson `name` as it was left: its files and its data, on the server it was opened on."""
    return _resume("lesson", course.find(name).name)


def _resume_exercise(name: str) -> Here:
    """Go back to the exercise `name` as it was left: its files and its data, on the server it was opened on."""
    return _resume("exercise", exercises.find(name).name)


lesson.resume = _resume_lesson
exercise.resume = _resume_exercise


def _resume(opener: str, name: str) -> Here:
    home.checkout_id()  # a copied folder forgets here what it has from the other one
    record = home.read_record(f"lessons/{name}")
    folder = home.WORK / name
    begin = f'Begin it with {opener}("{name}").'
    if "kind" not in record:
        raise Problem(f"There is nothing to resume: this {opener} has not been opened here yet.\n{begin}")
    if not folder.is_dir():
        raise Problem(f"The {opener}'s folder {_shown(folder)} is gone.\n{begin}")
    server = choose_again(record["kind"], opener, name)
    url = server.url.set(database=record["database"])
    if not database.exists(url):
        raise Problem(f"The {opener}'s database is gone from {server}.\n{begin}")
    # The server may have come back on another port.
    starting.write_settings(folder, url)
    _close_current()
    here = _enter(opener, name, server, folder, url, resumed=True)
    print(f"files      {_shown(folder)}: as you left them")
    _describe(opener, name, server, url)
    print("gone       the notebook's variables and the website: where you need them, run their cells again")
    return here


def lessons() -> Picture:
    """The table of lessons, with the minutes that each takes, whether it was opened here, and what was passed."""
    rows = [
        (entry.number, entry.title, f"{entry.minutes} min", progress.of(entry), entry) for entry in course.lessons()
    ]
    text = [f"{number}  {title:<44}{minutes:>6}  {passed}".rstrip() for number, title, minutes, passed, _ in rows]
    linked = [(number, pictures.Link(entry.notebook, title), *rest) for number, title, *rest, entry in rows]
    return Picture("\n".join(text), markup=pictures.html_table(("", "lesson", "time", "progress"), linked))


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
        folder.chmod(0o755)  # only root may move a folder that was made read-only
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


def _enter(opener: str, name: str, server: Server, folder: Path, url: URL, resumed: bool = False) -> Here:
    """Make this process's folder, environment and `!` those of the lesson."""
    environment.enter(url, clients(server))
    os.chdir(folder)
    ids = RevisionIds(name, folder)
    ipython = get_ipython()
    if ipython is not None:
        ipython.system = Shell(ipython, ids)
    global _current
    _current = Here(opener, folder, server, url, ids, resumed)
    return _current


_current: Here | None = None


def _close_current() -> None:
    """End what a lesson opened earlier in this kernel left running."""
    if _current is not None:
        _current._close()


def _describe(opener: str, name: str, server: Server, url: URL) -> None:
    print(f"server     {server}")
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        applied = database.applied_revisions(cursor)
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        empty = cursor.fetchone()[0] == 0
    state = f"at revision {', '.join(applied)}" if applied else "empty" if empty else "no revision applied"
    print(f"database   {state}")
    print(f'continue   after a restart: from lab import {opener}; here = {opener}.resume("{name}")')


def _shown(folder: Path) -> str:
    """A path as a learner sees it in JupyterLab's file browser, which shows the folder notebooks/."""
    return f"{folder.relative_to(home.HOME).as_posix()}/"
