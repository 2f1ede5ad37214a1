"""What a lesson hands to its reader as `here`."""

import difflib
import glob
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from sqlalchemy.engine import URL

from . import commands, database, pictures, revisions, traffic
from .checks.check import check
from .commands import Failure, RevisionIds
from .pictures import Picture
from .problem import Problem
from .schema import Schema
from .server import Server, connect
from .traffic import Measured
from .web import Website


@dataclass(frozen=True)
class Database:
    """A second database of a lesson."""

    name: str
    url: str = field(repr=False)  # holds a password


class Here:
    """The lesson that is open: its database, its files and its website."""

    def __init__(self, opener: str, folder: Path, server: Server, url: URL, revision_ids: RevisionIds, resumed: bool):
        self._opener = opener  # "lesson" or "exercise"
        self._folder = folder
        self._resumed = resumed
        self._made = set()  # names of second databases
        self._server = server
        self._url = url
        self._revision_ids = revision_ids
        self._website = None
        self._schema_shown = None

    def __repr__(self):
        return f"<the {self._opener} in {self._folder.name}>"

    def sql(self, query: str, *values) -> Picture:
        """Run one SQL statement on the lesson's database, committed at once; its rows as a table.

        `values` fill the statement's %s. What PostgreSQL refuses is told in its own words.
        """
        with self._cursor() as cursor:
            try:
                cursor.execute(query, values or None)
            except (psycopg2.Error, TypeError, IndexError) as error:  # the last two: values that do not fit the %s
                raise Problem(f"{type(error).__name__}: {str(error).strip()}") from None
            return pictures.result(cursor)

    def table(self, name: str) -> Picture:
        """One table: its columns, and the names of its keys, constraints, indexes and sequences."""
        with self._cursor() as cursor:
            return pictures.table(cursor, name)

    def schema(self) -> Picture:
        """All tables as a picture; from the second time on with a mark on what has changed since the last."""
        with self._cursor() as cursor:
            schema = Schema.read(cursor)
        picture = pictures.schema(schema, self._schema_shown)
        self._schema_shown = schema
        return picture

    def revisions(self) -> Picture:
        """The revisions in migrations/versions as a picture, and where the database stands among them."""
        with self._cursor() as cursor:
            applied = database.applied_revisions(cursor)
        return pictures.revisions(revisions.read(self._folder / "migrations"), applied)

    def database(self, name: str, copy: bool = False) -> "Database":
        """A second database for this lesson, empty or a copy of the first; what it held before is dropped.

        A resumed lesson goes on with the one that it had. The result's `url` is for flask, its `name` for
        psql and pg_dump.
        """
        purpose = f"{self._folder.name}_{name}"
        url = database.find(self._server, purpose) if self._resumed and name not in self._made else None
        if url:
            print(f"{name}: as you left it")
        else:
            url = database.create(self._server, purpose, self._url.database if copy else "template0")
        self._made.add(name)
        return Database(url.database, url.render_as_string(hide_password=False))

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace `old`, which must stand in `file` exactly once, by `new`; shows the change as a diff.

        `file` is relative to the lesson's folder; it may hold a * if only one file matches.
        """
        path = self._only_match(file)
        before = path.read_text(encoding="utf-8")
        if (found := before.count(old)) != 1:
            raise Problem(
                f"{path.relative_to(self._folder)} holds this text {found} times, and it should be once:\n{old}\n"
                "Was this cell run before? Then go on with the next one. If not, open the file and compare."
            )
        after = before.replace(old, new)
        path.write_text(after, encoding="utf-8")
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
        print(path.relative_to(self._folder).as_posix())
        # the first two lines name the files, and lines with @@ say where
        print("\n".join(line for line in list(lines)[2:] if not line.startswith("@@")).rstrip())

    def serve(self, version: str = "") -> None:
        """Start the bookshop's website, in place of one started before.

        It has the code as it is now, or as it is in the commit or tag `version`.
        """
        self._close()
        self._website = Website(self._folder, version=version)
        print(f"the bookshop serves at http://{self._website.address}")

    def get(self, path: str) -> Picture:
        """Ask the running website for `path`, as a browser would."""
        return self._running_website().ask(path)

    def post(self, path: str, **form) -> Picture:
        """Send a form to the running website, as a browser would; the page that it leads to."""
        return self._running_website().ask(path, form)

    def fails(self, command: str) -> Failure:
        """Run a command that must fail; its exit code, the error, and how many lines were left out."""
        with self._revision_ids.offered(command):
            return commands.fails(command)

    def traffic(
        self,
        command: str,
        title: str = "",
        beside: str = "",
        versions: tuple[str, ...] = (),
        deploy: str | None = None,
        rate: float = traffic.RATE,
    ) -> Measured:
        """Run a command while visitors use the website; what they noticed, and what PostgreSQL says of it.

        The website has the code as it is now, or each of the commits or tags `versions` side by side, as during a
        deployment. Once the command has succeeded, the version `deploy` serves beside them. `beside` is SQL that
        another session runs before it, in a transaction that it keeps open over the command's start; "{seconds}" in
        it stands for how long that is. `rate` is in requests a second.
        """
        with self._revision_ids.offered(command):
            return traffic.run(self._folder, self._url, command, title, beside, versions, deploy, rate)

    def check(self, exercise: str = "") -> None:
        """Look at the answer to `exercise`, or to this one, as it is now, and say what was found.

        Nothing of it is changed.
        """
        check(exercise or self._folder.name)

    def _running_website(self) -> Website:
        if self._website is None:
            raise Problem("No website is running in this lesson.\nhere.serve() starts it.")
        return self._website

    def _close(self) -> None:
        if self._website is not None:
            self._website.close()
            self._website = None

    @contextmanager
    def _cursor(self):
        try:
            connection = connect(self._url)
        except Problem:
            raise Problem(
                "The lesson's database does not answer.\n"
                f'here = {self._opener}.resume("{self._folder.name}") starts its server again, if it is ours.'
            ) from None
        # psycopg2 hears of an interrupt only when the server has answered, unless Python does the waiting.
        psycopg2.extensions.set_wait_callback(psycopg2.extras.wait_select)
        try:
            with closing(connection), connection.cursor() as cursor:
                yield cursor
        finally:
            psycopg2.extensions.set_wait_callback(None)

    def _only_match(self, file: str) -> Path:
        matches = [name for name in sorted(glob.glob(file, root_dir=self._folder)) if (self._folder / name).is_file()]
        if len(matches) != 1:
            advice = (
                "Was the cell that makes it run twice? Then delete the newer file."
                if matches
                else "Was the cell that makes it run?"
            )
            found = ", ".join(matches) or "none"
            raise Problem(
                f'"{file}" should name one file of this lesson, and it names {len(matches)}: {found}.\n{advice}'
            )
        return self._folder / matches[0]
