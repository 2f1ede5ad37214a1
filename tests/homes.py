"""A home for the course that is not the learner's: other copies, other records, other databases, other server."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
HOMES = NOTEBOOKS / ".lab" / "tests"


@contextmanager
def home_of_its_own(**variables: str):
    """Point LAB_HOME at a fresh folder for a block; afterwards everything made there is gone.

    The embedded server is used, unless LAB_DATABASE asks for another: a learner's Docker is left alone.
    """
    HOMES.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="home-", dir=HOMES))
    before = dict(os.environ)
    os.environ.setdefault("LAB_DATABASE", "embedded")
    os.environ.setdefault("LAB_TRAFFIC_SECONDS", "6")
    os.environ.update(variables, LAB_HOME=str(home))
    os.environ.pop("LAB_DATABASE_URL", None)  # what this process read from DATABASE_URL, perhaps another one
    try:
        lab("prepare")
        yield home
    finally:
        try:
            lab("clean", "--yes")
        finally:
            shutil.rmtree(home, ignore_errors=True)
            os.environ.clear()
            os.environ.update(before)


def lab(*arguments: str, **variables: str) -> str:
    """Run `python -m lab` as a learner does in a terminal; what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=NOTEBOOKS,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"python -m lab {' '.join(arguments)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout
