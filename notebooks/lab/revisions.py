"""The revision files of a copy, read as Alembic reads them."""

from pathlib import Path

from alembic.script import Script, ScriptDirectory
from alembic.util.exc import CommandError

from .problem import Problem


def read(migrations: Path) -> list[Script]:
    """The revisions in the folder `migrations`, newest first. A file that cannot be read is a Problem."""
    if not migrations.is_dir():
        raise Problem(
            "There is no folder migrations here.\n"
            "`flask db init` makes it; where it was there before, `git restore migrations` brings it back."
        )
    try:
        # walk_revisions imports the files, so a learner's slip of the pen comes out here
        return list(ScriptDirectory(str(migrations)).walk_revisions())
    except CommandError as error:
        raise Problem(f"The revisions cannot be read: {error}") from None
    except KeyError as error:
        raise Problem(
            f"No revision file has the id {error}, and another one follows it.\n"
            "Was a file deleted, or its down_revision mistyped? `git status` shows what has changed."
        ) from None
    except (Exception, SystemExit) as error:
        raise Problem(
            f"A revision file cannot be read: {type(error).__name__}: {error}\nMend it, then run this cell again."
        ) from None
