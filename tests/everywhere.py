"""Run the notebooks in every way that the course promises, and look for what a run leaves behind.

    python tests/everywhere.py [WAY[=LESSONS] ...]

All ways, or those named: embedded, reversed, docker, container, devcontainer, debian; each with every lesson, or with
some, as in container=00,05,13. Each is strict and compares with the same stored output. A way that this machine cannot
go is said loudly, and is a failure where CI is set.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import nbformat
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))

from lab.compose import LABEL, compose_command

COURSE = Path(__file__).parents[1]
NOTEBOOKS = sorted((COURSE / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PYTEST = [sys.executable, "-m", "pytest", "--nbval", "-q"]
DEVCONTAINER = ["npx", "--yes", "@devcontainers/cli@0.89.0"]
AT_ONCE = 2  # a core each: with three, two cores are too busy for a million rows under traffic
WORKERS = ["-n", str(AT_ONCE)]


def embedded(lessons: list[str]) -> int:
    """In order, two at a time, on the embedded server."""
    return run([*PYTEST, *WORKERS, *lessons], LAB_DATABASE="embedded")


def in_reverse(lessons: list[str]) -> int:
    """In reverse order, each notebook in a pytest, a home and a server of its own, and every `flask` cold."""
    return each_alone(lessons, LAB_DATABASE="embedded")


def each_alone(lessons: list[str], **variables: str) -> int:
    """The cells of notebooks that run in reverse order, each in a pytest of its own."""

    def alone(lesson: str) -> int:
        return run([*PYTEST, lesson], LAB_WARM="0", **variables)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(alone, reversed(lessons)))


def docker(lessons: list[str]) -> int:
    """On Docker's PostgreSQL, started by the course as for a learner."""
    need_an_engine()
    label = f"label={LABEL}"
    ps = ["docker", "ps", "--all", "--quiet", "--filter", label]
    there = subprocess.run(ps, capture_output=True, text=True).stdout.strip()
    try:
        return run([*PYTEST, *WORKERS, *lessons], LAB_DATABASE="docker")
    finally:
        if not there:  # one that was there before may hold somebody's lessons, running or stopped
            subprocess.run([*compose_command(), "down", "--volumes"], cwd=COURSE, capture_output=True)


def container(lessons: list[str]) -> int:
    """In the container that `docker compose up` starts where there is no Python; what you do there outlives it."""
    need_an_engine()
    lab, db = free_port(), free_port()
    compose = [*compose_command(), "--project-name", "course-proof"]
    in_lab = [*compose, "exec", "-T", "lab"]
    open_it = "from lab import lesson; here = lesson{}('05_add_column')"
    write = "; open('note', 'w').write('kept'); here.sql('CREATE TABLE note ()')"
    read = "; here.sql('SELECT FROM note'); print(open('note').read())"

    def start() -> None:
        call([*compose, "up", "-d", "lab"], COURSE_LAB_PORT=str(lab), COURSE_DB_PORT=str(db))
        token = token_in_the_log(compose, lab)
        contents = f"http://127.0.0.1:{lab}/api/contents"
        if (answers(f"{contents}?token={token}"), answers(contents)) != (200, 403):
            sys.exit("failed: JupyterLab in its container does not ask for the token that it prints")
        assert call([*compose, "port", "lab", str(lab)]).strip() == f"127.0.0.1:{lab}"
        assert call([*in_lab, "id", "-un"]).strip() == "learner"

    call([*compose, "build", "--quiet", "lab"])
    try:
        start()
        cells = run([*in_lab, "sh", "-c", 'cd .. && exec "$@"', "sh", "python", *PYTEST[1:], *WORKERS, *lessons])
        call([*in_lab, "python", "-c", open_it.format("") + write])
        call([*compose, "down"])
        start()
        assert "kept" in call([*in_lab, "python", "-c", open_it.format(".resume") + read])
        return cells
    finally:
        call([*compose, "down", "--volumes"])


def devcontainer(lessons: list[str]) -> int:
    """In the devcontainer, brought up as an editor does it, by the devcontainers' own program."""
    need_an_engine()
    if not shutil.which("npx"):
        raise CannotGo("npx (of Node.js) is missing")
    project = {"COMPOSE_PROJECT_NAME": "course-devcontainer"}
    ports = {"COURSE_LAB_PORT": str(free_port()), "COURSE_DB_PORT": str(free_port())}
    inside = [*DEVCONTAINER, "exec", "--workspace-folder", "."]
    try:
        call([*DEVCONTAINER, "up", "--workspace-folder", "."], **project, **ports)
        assert "Ready" in call([*inside, "sh", "-c", "cd notebooks && python -m lab check"], **project)
        return run([*inside, "python", *PYTEST[1:], *WORKERS, *lessons], **project)
    finally:
        call([*compose_command(), "down", "--volumes"], **project)


def token_in_the_log(compose: list[str], port: int) -> str:
    """The token in the address that JupyterLab prints in its container."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        logs = call([*compose, "logs", "lab"])
        if found := re.findall(rf"http://127\.0\.0\.1:{port}/lab\S*\?token=(\w+)", logs):
            return found[-1]
        time.sleep(0.5)
    sys.exit("failed: JupyterLab in its container prints no address")


def answers(url: str) -> int:
    """The status that a page answers with."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def call(command: list[str], **variables: str) -> str:
    """Run a command that has to succeed; what it printed."""
    result = subprocess.run(command, cwd=COURSE, env={**os.environ, **variables}, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def need_an_engine() -> None:
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        raise CannotGo("no Docker engine answers")


def debian(lessons: list[str]) -> int:
    """As reversed, but on one server, Debian's 15 or the newest, by URL; pg_virtualenv makes it and removes it."""
    if not shutil.which("pg_virtualenv"):
        raise CannotGo("pg_virtualenv (Debian's package postgresql) is missing")
    until_told = "echo postgresql://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/postgres; cat"
    server = subprocess.Popen(["pg_virtualenv", "sh", "-c", until_told], stdin=PIPE, stdout=PIPE, text=True)
    try:
        url = next((line.strip() for line in server.stdout if line.startswith("postgresql:")), None)
        if not url:
            sys.exit("failed: pg_virtualenv makes no server")
        there = {"LAB_DATABASE": "url", "DATABASE_URL": url}
        cells = each_alone(lessons, **there) + run([*PYTEST, "tests/test_one_version.py"], **there)
        if left := call(["psql", "-At", "-c", "SELECT datname FROM pg_database WHERE datname LIKE 'course%'", url]):
            sys.exit(f"failed: databases are left behind:\n{left}")
        return cells
    finally:
        server.communicate()  # closes its input, and so ends it


WAYS = {
    "embedded": embedded,
    "reversed": in_reverse,
    "docker": docker,
    "container": container,
    "devcontainer": devcontainer,
    "debian": debian,
}


class CannotGo(Exception):
    """This machine lacks what a way needs."""


def run(command: list[str], **variables: str) -> int:
    """Run pytest; the number of notebook cells that passed, if any. A failure ends everything."""
    result = subprocess.run(
        command,
        cwd=COURSE,
        env={**os.environ, **variables},
        stdout=PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    cells = re.search(r"^notebook cells: (\d+) passed$", result.stdout, re.MULTILINE)
    if result.returncode:
        print(result.stdout)
        sys.exit(f"failed: {' '.join(command)}")
    return int(cells[1]) if cells else 0


def traces() -> set[str]:
    """What a run could leave behind: processes, files, folders of servers, containers and volumes."""
    found = set()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        ours = ("waitress", "flask-migrations-course", ".lab/", "ipykernel", "lab/warm/", "lab/traffic/")
        if any(word in words for word in ours):
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
    named = [name.partition("=") for name in names or WAYS]
    if unknown := {name for name, _, _ in named} - set(WAYS):
        print(f"There is no way called {', '.join(sorted(unknown))}. Choose from {', '.join(WAYS)}.")
        return 2
    failed = False
    for name, _, numbers in named:
        chosen = [path for path in NOTEBOOKS if not numbers or path.name[:2] in numbers.split(",")]
        if not chosen:
            print(f"There is no lesson {numbers}.")
            return 2
        expected = sum(cell.cell_type == "code" for path in chosen for cell in nbformat.read(path, 4).cells)
        before, start = traces(), time.monotonic()
        try:
            cells = WAYS[name]([path.relative_to(COURSE).as_posix() for path in chosen])
        except CannotGo as reason:
            print(f"{name}: NOT RUN, {reason}", flush=True)
            failed |= bool(os.environ.get("CI"))
            continue
        print(
            f"{name}: {cells} notebook cells passed in {time.monotonic() - start:.0f} s. {WAYS[name].__doc__}",
            flush=True,
        )
        if cells != expected:
            print(f"  but these notebooks hold {expected} code cells")
            failed = True
        if left := traces() - before:
            print("  and it left behind:", *sorted(left), sep="\n    ")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
