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
def home_of_its_own():
    """Point LAB_HOME at a fresh folder for a block; afterwards everything made there is gone."""
    HOMES.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="home-", dir=HOMES))
    before = os.environ.get("LAB_HOME")
    os.environ["LAB_HOME"] = str(home)
    try:
        lab("prepare")
        yield home
    finally:
        lab("clean", "--yes")
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            del os.environ["LAB_HOME"]
        else:
            os.environ["LAB_HOME"] = before


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
