"""The course's commands for a terminal: `python -m lab COMMAND`, in the folder notebooks/. `make` calls them."""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import compose, course, database, embedded, home, progress, server
from .problem import Problem
from .starting import Start, prepare


def status() -> None:
    """Show the lessons with what you have opened and passed, and which PostgreSQL they would use."""
    for lesson in course.lessons():
        print(f"{lesson.number}  {lesson.title:<44}{lesson.minutes:>3} min  {progress.of(lesson)}".rstrip())
    print(f"\nserver: {server.choose()}")


def check() -> None:
    """Check that this machine is ready for the course: git, PostgreSQL, a database made and dropped."""
    if not shutil.which("git"):
        raise Problem("git is missing.\nInstall it: https://git-scm.com/downloads")
    flask = Path(sys.executable).with_name("flask")
    if not _runs(flask):
        raise Problem(f"{flask} does not run.\nWas this folder moved? Delete .venv and run `make check` again.")
    chosen = server.choose()
    print(f"server: {chosen}")
    prepare(chosen, Start("filled"))
    server.connect(database.create(chosen, "check")).close()
    database.drop(chosen, "check")
    print("Ready. Open JupyterLab with `make lab`, and begin with 00_start_here.ipynb.")


def prepare_all() -> None:
    """Start the server and make the starting points of the lessons, so that the first opening is quick.

    But for the one with a million orders, which takes longer and more room than most will ever need.
    """
    chosen = server.choose()
    for start in sorted({lesson.start for lesson in course.lessons()} - {"large"}):
        prepare(chosen, Start(start))
    print(f"server: {chosen}")


def stop() -> None:
    """Stop the embedded PostgreSQL and Docker's; their data stays."""
    stopped = ["the embedded PostgreSQL" for launcher in _launchers() if launcher.stop()]
    if home.HOME == home.NOTEBOOKS and compose.stop():
        stopped.append("Docker's PostgreSQL")
    print(f"stopped: {' and '.join(stopped) or 'nothing was running'}")


def clean(yes: bool) -> None:
    """Remove what the course made: this checkout's databases, its embedded server, the learner's copies."""
    if not yes:
        print(
            f"This removes your work, what you have passed, the notebooks kept in {home.WORK}, and"
            " this checkout's databases."
        )
        print("Type yes to go on: ", end="", flush=True)
        if sys.stdin.readline().strip().lower() != "yes":
            print("Nothing was removed.")
            return
    for left_over in (home.DATA / "tests").glob("home-*"):
        # of a test run that was killed
        variables = {**os.environ, "LAB_HOME": str(left_over)}
        subprocess.run([sys.executable, "-m", "lab", "clean", "--yes"], cwd=home.NOTEBOOKS, env=variables)
    for place in sorted(database.places() - {"embedded"}):  # those of the embedded server go with its folder
        for name in database.drop_all(_server_at(place)):
            print(f"dropped the database {name}")
    for launcher in _launchers():
        launcher.stop()
        shutil.rmtree(launcher.folder, ignore_errors=True)
    home.remove(home.WORK)
    home.remove(home.DATA)
    print("Everything that the course made is removed, but for .venv and what Docker keeps.")


def fresh(name: str) -> None:
    """Get the notebook of a lesson back as it was shipped; the changed one is kept beside the lessons' copies."""
    if not name:
        raise Problem("Which lesson?\nName it: make fresh LESSON=05")
    lesson = course.find(name)
    path = home.NOTEBOOKS / lesson.notebook
    if path.exists() and _changed(path):
        print(f"yours is kept as {_kept(path)}\n(to run it, move it beside the other notebooks)")
    _git("checkout", "HEAD", "--", str(path))
    print(f"{path.name} is as it was shipped. Close its tab in JupyterLab and open it again.")


def update() -> None:
    """Fetch the newest version of the course; notebooks that you have changed are kept aside first."""
    for lesson in course.lessons():
        if _changed(home.NOTEBOOKS / lesson.notebook):
            fresh(lesson.name)
    print(_git("pull", "--ff-only"))


def _runs(program: Path) -> bool:
    """Whether `program` can be started. In an environment that was moved its first line names a Python that is gone."""
    try:
        return subprocess.run([program, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def _launchers() -> list[embedded.Embedded]:
    folder = embedded.data_folder(home.DATA, home.checkout_id())
    return [embedded.Embedded(folder)] if folder.is_dir() else []


def _server_at(place: str) -> server.Server:
    """The server that the records call `place`, so that nothing is forgotten that was made there."""
    if place == "docker":
        return server.choose("docker", "made there")
    # Compared before anything is sent: DATABASE_URL may name a server that the course has nothing to do with.
    if not server.GIVEN_URL or server.Server("url", server.parse(server.GIVEN_URL)).place != place:
        raise Problem(f"The course has databases at {place}.\nSet DATABASE_URL to that server and run this again.")
    return server.choose("url", "made there")


def _changed(path: Path) -> bool:
    return bool(_git("status", "--porcelain", "--", str(path)))


def _kept(path: Path) -> Path:
    """Copy a notebook to work/mine/; where to."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d %H.%M.%S")
    kept = home.WORK / "mine" / f"{path.stem} {stamp}.ipynb"
    with home.writing_to(kept.parent):
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, kept)
    return kept.relative_to(home.COURSE)


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=home.COURSE, capture_output=True, text=True)
    if result.returncode:
        raise Problem(f"`git {arguments[0]}` failed: {result.stderr.strip()}")
    return result.stdout.strip()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, function: Callable) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        return command

    add("status", status)
    add("check", check)
    add("prepare", prepare_all)
    add("stop", stop)
    add("clean", clean).add_argument("--yes", action="store_true", help="do not ask")
    add("fresh", fresh).add_argument("name", metavar="LESSON", help="its name or number, as in 05")
    add("update", update)
    chosen = vars(parser.parse_args(arguments))
    try:
        chosen.pop("function")(**chosen)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
