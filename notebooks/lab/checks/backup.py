"""Backups: the rule that restores one into an empty database, and a copy of the learner's database."""

import gzip
import re
import tarfile
from pathlib import Path

from sqlalchemy.engine import URL

from ..schema import differences
from .clients import client
from .evidence import Evidence
from .finding import Finding, Rule, few
from .keeps import EVERYTHING
from .snapshot import Snapshot

# Lines with which a file for psql leaves the database that it is read into.
LEAVES = re.compile(rb"^\s*(\\c(onnect)?\s|(CREATE|DROP|ALTER)\s+DATABASE\s)", re.MULTILINE | re.IGNORECASE)


def backup(file: str) -> Rule:
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
        if not _for_pg_restore(path) and LEAVES.search(_sql(path)):
            return Finding(
                f"{file} was not restored: it would go into the database that it came from.",
                "lines like DROP DATABASE, CREATE DATABASE or \\connect",
                "a backup that can be restored into any empty database",
                "pg_dump without --create",
            )
        url = evidence.another("restored")
        restore(evidence, path, url)
        restored = Snapshot.read(url)
        missing = [text for _, _, text in differences(evidence.start.schema, restored.schema)]
        lost = EVERYTHING.lost(evidence.start, restored) or few(missing)
        if lost or restored.applied != evidence.start.applied:
            return Finding(
                f"{file}, restored into an empty database, does not bring everything back.",
                lost or f"alembic_version: {', '.join(restored.applied) or 'nothing'}",
                "tables, keys, every row and value, and alembic_version as they were at the beginning",
                "whether the backup was made before anything was taken away, and what pg_dump was asked for; "
                f'to begin again, run exercise("{evidence.exercise.name}")',
            )
        return None

    return Rule("backup", examine)


def restore(evidence: Evidence, path: Path, url: URL) -> None:
    """Restore the backup `path` into the database `url`. Statements that fail are passed over."""
    if _for_pg_restore(path):
        with open(path, "rb") as file:
            client(evidence, url, "pg_restore", "--no-owner", "--dbname", url.database, stdin=file)
    else:
        client(evidence, url, "psql", "--quiet", input=_sql(path))


def copy_of_live(evidence: Evidence) -> URL:
    """A copy of the learner's database. It is dumped, since a copy by template would end the sessions there."""
    dump = client(evidence, evidence.url, "pg_dump").stdout
    url = evidence.another("copy")
    client(evidence, url, "psql", "--quiet", input=dump)
    return url


def _for_pg_restore(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(5) == b"PGDMP" or tarfile.is_tarfile(path)


def _sql(path: Path) -> bytes:
    """The statements in a plain backup, which `pg_dump -Z` compresses."""
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
