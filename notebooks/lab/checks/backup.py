"""Backups: the rule that restores one into an empty database, and a copy of the learner's database."""

import re
import tarfile
from pathlib import Path

from sqlalchemy.engine import URL

from .clients import client
from .evidence import Evidence
from .finding import Finding, Rule
from .keeps import EVERYTHING, Keeps
from .snapshot import Snapshot

# Lines with which a file for psql leaves the database that it is read into.
LEAVES = re.compile(rb"^\s*(\\c(onnect)?\s|(CREATE|DROP|ALTER)\s+DATABASE\s)", re.MULTILINE | re.IGNORECASE)


def backup(file: str, keeps: Keeps = EVERYTHING) -> Rule:
    """`file` in the copy's folder, in any format of pg_dump's that is one file, brings back what the start held."""

    def examine(evidence: Evidence) -> Finding | None:
        path = evidence.folder / file
        if not path.is_file():
            new = sorted(name for name in evidence.changed() if (evidence.folder / name).is_file())
            return Finding(
                f"there is no file {file} in the folder of this exercise.",
                f"{file} is a folder" if path.is_dir() else f"new or changed files: {', '.join(new) or 'none'}",
                f"one file {file} that pg_dump wrote",
                f"pg_dump ... > {file}",
            )
        if not _for_pg_restore(path) and LEAVES.search(path.read_bytes()):
            return Finding(
                f"{file} was not restored: it would go into the database that it came from.",
                "lines like DROP DATABASE, CREATE DATABASE or \\connect",
                "a backup that can be restored into any empty database",
                "pg_dump without --create",
            )
        url = evidence.another("restored")
        restore(evidence, path, url)
        if lost := keeps.lost(evidence.start, Snapshot.read(url)):
            return Finding(
                f"{file}, restored into an empty database, does not bring everything back.",
                lost,
                "every row and every value that was there at the beginning",
                "whether the backup was made before anything was taken away, and what pg_dump was asked for",
            )
        return None

    return Rule("backup", examine)


def restore(evidence: Evidence, path: Path, url: URL) -> None:
    """Restore the backup `path` into the database `url`. Statements that fail are passed over."""
    with open(path, "rb") as file:
        if _for_pg_restore(path):
            client(evidence, url, "pg_restore", "--no-owner", "--dbname", url.database, stdin=file)
        else:
            client(evidence, url, "psql", "--quiet", stdin=file)


def copy_of_live(evidence: Evidence) -> URL:
    """A copy of the learner's database. It is dumped, since a copy by template would end the sessions there."""
    dump = client(evidence, evidence.url, "pg_dump").stdout
    url = evidence.another("copy")
    client(evidence, url, "psql", "--quiet", input=dump)
    return url


def _for_pg_restore(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(5) == b"PGDMP" or tarfile.is_tarfile(path)
