"""Running PostgreSQL's own programs on a database of a check."""

import os
import subprocess

from sqlalchemy.engine import URL

from ..environment import libpq
from ..problem import Problem
from ..server import clients
from ..starting import plain_environment
from .evidence import Evidence

PATIENCE = 20  # seconds for one program


def client(evidence: Evidence, url: URL, program: str, *arguments: str, **streams) -> subprocess.CompletedProcess:
    """Run psql, pg_dump or pg_restore on the database `url`; what it wrote, as bytes. `streams` is its input."""
    if not streams:
        streams["stdin"] = subprocess.DEVNULL
    try:
        return subprocess.run(
            [str(clients(evidence.server) / program), *arguments],
            env={**plain_environment(), **libpq(url), "PSQLRC": os.devnull},
            capture_output=True,
            timeout=PATIENCE,
            **streams,
        )
    except subprocess.TimeoutExpired:
        raise Problem(
            f"{program} did not come to an end.\nIs a transaction open in a terminal that holds a lock?"
        ) from None
