"""Run the notebooks in every way that the course promises, and look for what a run leaves behind.

    python tests/everywhere.py [WAY ...]     all ways, or those named: embedded, reversed, docker, debian

Each way is strict and compares with the same stored output. A way that this machine cannot go is said
loudly, and is a failure where CI is set.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))

from lab.compose import LABEL, compose_command

COURSE = Path(__file__).parents[1]
NOTEBOOKS = sorted((COURSE / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PYTEST = [sys.executable, "-m", "pytest", "--nbval", "-q"]


def embedded() -> int:
    """In order, two at a time, on the embedded server."""
    return run([*PYTEST, "-n", "2", "notebooks"], LAB_DATABASE="embedded")


def in_reverse() -> int:
    """In reverse order, each notebook in a pytest, a home and a server of its own."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda path: run([*PYTEST, str(path)], LAB_DATABASE="embedded"), reversed(NOTEBOOKS)))


def docker() -> int:
    """On Docker's PostgreSQL, started by the course as for a learner."""
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        raise CannotGo("no Docker engine answers")
    label = f"label={LABEL}"
    ps = ["docker", "ps", "--all", "--quiet", "--filter", label]
    there = subprocess.run(ps, capture_output=True, text=True).stdout.strip()
    try:
        return run([*PYTEST, "-n", "2", "notebooks"], LAB_DATABASE="docker")
    finally:
        if not there:  # one that was there before may hold somebody's lessons, running or stopped
            subprocess.run([*compose_command(), "down", "--volumes"], cwd=COURSE, capture_output=True)


def debian() -> int:
    """On Debian's PostgreSQL, 15 or the newest installed, given by URL; pg_virtualenv makes one and removes it."""
    if not shutil.which("pg_virtualenv"):
        raise CannotGo("pg_virtualenv (Debian's package postgresql) is missing")
    url = "postgresql://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/postgres"
    left = "SELECT datname FROM pg_database WHERE datname LIKE 'course%'"
    command = f'LAB_DATABASE=url DATABASE_URL="{url}" "$@" && test -z "$(psql -At -c "{left}" postgres)"'
    return run(["pg_virtualenv", "sh", "-c", command, "sh", *PYTEST, "-n", "2", "notebooks"])


WAYS = {"embedded": embedded, "reversed": in_reverse, "docker": docker, "debian": debian}


class CannotGo(Exception):
    """This machine lacks what a way needs."""


def run(command: list[str], **variables: str) -> int:
    """Run pytest; the number of notebook cells that passed. A failure ends everything."""
    result = subprocess.run(
        command,
        cwd=COURSE,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    cells = re.search(r"^notebook cells: (\d+) passed$", result.stdout, re.MULTILINE)
    if result.returncode or not cells:
        print(result.stdout)
        sys.exit(f"failed: {' '.join(command)}")
    return int(cells[1])


def traces() -> set[str]:
    """What a run could leave behind: processes, files, folders of servers, containers and volumes."""
    found = set()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if "waitress" in words or "flask-migrations-course" in words or ".lab/" in words or "ipykernel" in words:
            found.add(f"process {process.pid}: {words[:150]}")
    found |= {f"file {path}" for path in Path(tempfile.gettempdir()).glob("bookshop-*")}
    for folder in (
        COURSE / "notebooks" / ".lab" / "tests",
        COURSE / "notebooks" / "work",
        Path("/var/lib/flask-migrations-course"),
    ):
        found |= {f"file {path}" for path in folder.glob("*")} if folder.is_dir() else set()
    git = subprocess.run(["git", "status", "--porcelain"], cwd=COURSE, capture_output=True, text=True)
    found |= {f"git: {line}" for line in git.stdout.splitlines()}
    for listing in (["ps", "--all", "--format", "{{.Names}}"], ["volume", "ls", "--format", "{{.Name}}"]):
        if shutil.which("docker"):
            listed = subprocess.run(["docker", *listing], capture_output=True, text=True)
            found |= {f"docker: {name}" for name in listed.stdout.split()}
    return found


def main(names: list[str]) -> int:
    if unknown := set(names) - set(WAYS):
        print(f"There is no way called {', '.join(sorted(unknown))}. Choose from {', '.join(WAYS)}.")
        return 2
    expected = sum(cell.cell_type == "code" for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells)
    failed = False
    for name in names or WAYS:
        before, start = traces(), time.monotonic()
        try:
            cells = WAYS[name]()
        except CannotGo as reason:
            print(f"{name}: NOT RUN, {reason}", flush=True)
            failed |= bool(os.environ.get("CI"))
            continue
        print(
            f"{name}: {cells} notebook cells passed in {time.monotonic() - start:.0f} s. {WAYS[name].__doc__}",
            flush=True,
        )
        if cells != expected:
            print(f"  but the notebooks hold {expected} code cells")
            failed = True
        if left := traces() - before:
            print("  and it left behind:", *sorted(left), sep="\n    ")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
