"""What there is to see of the answer to an exercise; each thing is looked at when a rule first asks for it."""

import hashlib
from contextlib import ExitStack
from functools import cached_property, wraps
from pathlib import Path
from weakref import WeakKeyDictionary

from sqlalchemy.engine import URL

from .. import database, home, revisions, starting
from ..problem import Problem
from ..server import choose_again
from .replay import Commands, Step, replay
from .snapshot import Snapshot, looking_at

NOT_LOOKED_AT = {".git", "__pycache__", ".ipynb_checkpoints", ".pytest_cache"}


def fingerprint(folder: Path, url: URL) -> dict:
    """The files below `folder` and the database `url`, as short marks that change when they do."""
    return {"files": files(folder), "database": _mark(repr(Snapshot.read(url)).encode())}


def files(folder: Path) -> dict[str, str]:
    """A mark for each file below `folder`, by its path there; `.env` counts without the line of its database."""
    marks = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if NOT_LOOKED_AT & set(name.parts) or not path.is_file():
            continue
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        if name.name == ".env":
            lines = content.decode("utf-8", "replace").splitlines()
            content = "\n".join(starting.without_database(lines)).encode()
        marks[name.as_posix()] = _mark(content)
    return marks


def _mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def once(look):
    """For rules that look at the same thing: what `look(evidence)` found is kept as long as the evidence."""
    seen = WeakKeyDictionary()

    @wraps(look)
    def looked(evidence):
        if evidence not in seen:
            seen[evidence] = look(evidence)
        return seen[evidence]

    return looked


class NotBegun(Problem):
    """There is no answer to look at."""


class Evidence:
    """The answer to `exercise` in the learner's folder and database. Nothing of it is changed.

    A block, since a scratch database and a child process may be made, which end with it.
    """

    def __init__(self, exercise):
        self.exercise = exercise
        self.folder = home.WORK / exercise.name
        record = home.read_record(f"lessons/{exercise.name}")
        begin = f'Begin it with exercise("{exercise.name}").'
        begun = record.get("begun")
        if not isinstance(begun, dict) or not {"kind", "database"} <= record.keys() or "files" not in begun:
            raise NotBegun(f"not begun yet.\n{begin}")
        if not self.folder.is_dir():
            raise NotBegun(f"its folder is gone.\n{begin}")
        self.begun = begun
        self.server = choose_again(record["kind"], "exercise", exercise.name)
        self.url = self.server.url.set(database=record["database"])
        if not database.exists(self.url):
            raise NotBegun(f"its database is gone from {self.server}.\n{begin}")
        self._ends = ExitStack()
        self._replayed = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends.close()

    @cached_property
    def untouched(self) -> bool:
        """Whether files and database are as they were when the exercise was begun."""
        return fingerprint(self.folder, self.url) == self.begun

    @cached_property
    def live(self) -> Snapshot:
        """The exercise's database as it is now."""
        return Snapshot.read(self.url)

    @cached_property
    def start(self) -> Snapshot:
        """The database as it was when the exercise was begun."""
        return Snapshot.read(self.scratch)

    @cached_property
    def scratch(self) -> URL:
        """A database that holds what the exercise began with, for whatever a rule wants to try."""
        return self.fresh("replay")

    def fresh(self, word: str) -> URL:
        """One more database for a rule, with what the exercise began with."""
        return self.another(word, starting.prepare(self.server, self.exercise.start))

    def another(self, word: str, template: str = "template0") -> URL:
        """One more database for a rule, called by `word`; empty, or a copy of `template`."""
        purpose = f"check_{self.exercise.name}_{word}"  # no name of a learner's second database begins so
        self._ends.callback(database.drop, self.server, purpose)
        return database.create(self.server, purpose, template)

    @cached_property
    def commands(self) -> Commands:
        """`flask` commands in the learner's folder; one child process runs those of all rules."""
        return self._ends.enter_context(Commands(self.folder))

    @cached_property
    def revisions(self) -> list:
        """All revisions in the copy, newest first. No folder, or a file that cannot be read, is a Problem."""
        return revisions.read(self.folder / "migrations")

    @property
    def heads(self) -> list[str]:
        """The ids of the revisions that no other one follows."""
        return sorted(revision.revision for revision in self.revisions if revision.is_head)

    @property
    def new_revisions(self) -> list:
        """The revisions that were not there when the exercise was begun."""
        return [revision for revision in self.revisions if self.path(revision) not in self.begun["files"]]

    def path(self, revision) -> str:
        """Where the file of a revision is, from the copy's folder."""
        return Path(revision.path).relative_to(self.folder).as_posix()

    def changed(self) -> set[str]:
        """The files that were changed, added or deleted since the exercise was begun."""
        now, then = files(self.folder), self.begun["files"]
        return {name for name in now.keys() | then.keys() if now.get(name) != then.get(name)}

    def query(self, statement: str) -> list[tuple]:
        """The rows of a query on the exercise's database."""
        with looking_at(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def replay(
        self, pages: tuple[str, ...] = (), last: tuple[str, ...] = (), below: str = "", written: str = ""
    ) -> dict[str, Step]:
        """What the revisions do in a scratch database, see replay.replay(). Rules that ask alike share one replay."""
        asked = (pages, last, below, written)
        if asked not in self._replayed:
            start = self.start  # read before the replay changes the scratch database
            new = {revision.revision for revision in self.new_revisions}
            # where a merge joins two, going down to one of them leaves the other
            between = tuple(revision.down_revision for revision in self.new_revisions if revision.down_revision in new)
            self._replayed[asked] = replay(self.commands, self.scratch, start, *asked, between)
        return self._replayed[asked]
