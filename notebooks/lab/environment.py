"""The environment of a lesson's commands: the same on every machine, and apart from the learner's own."""

import functools
import locale
import os
import sys
from pathlib import Path

from sqlalchemy.engine import URL

from . import warm
from .home import WORK

# What a learner's shell may hold for another project would win over the lesson's own .env.
FOREIGN = ("FLASK_", "PG", "GIT_", "SQLALCHEMY_", "ALEMBIC_")
FOREIGN_NAMES = ("DATABASE_URL", "SECRET_KEY", "LANGUAGE", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")
FOREIGN_NAMES += ("CI", "BUILD_NUMBER")  # pytest writes longer lines on a build server


def enter(url: URL, clients: Path) -> None:
    """Set this process's environment for a lesson whose database is `url`; `clients` holds psql and pg_dump."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name in FOREIGN_NAMES:
            del os.environ[name]
    os.environ.update(
        PATH=path(clients),
        **libpq(url),
        PSQLRC=os.devnull,  # a learner's own timing would stand in the output
        LC_ALL=_utf8_locale(),
        NO_COLOR="1",
        CLICOLOR="0",
        # lines of output and of logging come in the order in which they were written, as in a terminal
        PYTHONUNBUFFERED="1",
        # no __pycache__ in listings, and no stale one after two edits within a second
        PYTHONDONTWRITEBYTECODE="1",
        GIT_CEILING_DIRECTORIES=str(WORK),
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_CONFIG_NOSYSTEM="1",
        GIT_AUTHOR_NAME="Learner",
        GIT_AUTHOR_EMAIL="learner@bookshop.example",
        GIT_COMMITTER_NAME="Learner",
        GIT_COMMITTER_EMAIL="learner@bookshop.example",
        GIT_AUTHOR_DATE="2026-11-02T09:00:00+0000",
        GIT_COMMITTER_DATE="2026-11-02T09:00:00+0000",
        GIT_PAGER="cat",
        GIT_TERMINAL_PROMPT="0",
    )
    os.environ.update(warm.start())  # with the same environment as the commands
    # The kernel itself reads revision files for the pictures.
    sys.dont_write_bytecode = True


def path(*clients: Path) -> str:
    """This process's PATH with a lesson's programs first: the warm `flask`, `clients`, and those of this Python."""
    programs = [str(place) for place in (warm.BIN, *clients, Path(sys.executable).parent)]
    others = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if place not in programs]
    return os.pathsep.join((programs if warm.ON else programs[1:]) + others)


def libpq(url: URL) -> dict[str, str]:
    """The variables that name the database `url` to psql and pg_dump, which do not read .env."""
    variables = {
        "PGHOST": url.host or str(url.query.get("host", "")),
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username or "",
        "PGPASSWORD": url.password or "",
        "PGDATABASE": url.database,
    }
    # empty means something else to libpq than not set
    return {name: value for name, value in variables.items() if value}


@functools.cache
def _utf8_locale() -> str:
    """A UTF-8 locale without translations that this system has."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for name in ("C.UTF-8", "C.utf8", "en_US.UTF-8", "POSIX"):
            try:
                locale.setlocale(locale.LC_CTYPE, name)
            except locale.Error:
                continue
            return name
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return "C"
