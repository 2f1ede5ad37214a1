"""The commands for a terminal: `python -m lab`, and `make` around them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from homes import NOTEBOOKS, lab

COURSE = NOTEBOOKS.parent

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def clone(tmp_path):
    """A clone of the course as it is in this folder, changes included, that has a place to fetch updates from."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    files = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], COURSE).split("\0")
    for name in filter(None, files):
        if (COURSE / name).exists():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(COURSE / name, origin / name)
    run(["git", "init", "-q", "-b", "main"], origin)
    commit(origin)
    run(["git", "clone", "-q", str(origin), str(clone)], tmp_path)
    return clone


def run(command, folder, **variables):
    inherited = {name: value for name, value in os.environ.items() if name != "LAB_HOME"}
    result = subprocess.run(command, cwd=folder, env={**inherited, **variables}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def commit(folder):
    run(["git", "add", "--all"], folder)
    run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "commit", "-qm", "change"],
        folder,
    )


def in_clone(clone, *arguments):
    return run([sys.executable, "-m", "lab", *arguments], clone / "notebooks")


def change(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    content["cells"][0]["source"] = ["# mine"]
    notebook.write_text(json.dumps(content), encoding="utf-8")


def test_a_machine_can_be_checked_with_one_command():
    said = lab("check")
    assert "server: PostgreSQL" in said and "Ready." in said


def test_the_lessons_are_listed_with_their_minutes():
    said = lab("status")
    assert re.search(r"^05  Add a column to a table that has data +40 min$", said, re.MULTILINE)


def test_every_command_has_a_help_text():
    said = lab("--help")
    for command in ("status", "check", "prepare", "stop", "clean", "fresh", "update"):
        assert f"    {command}" in said


def test_the_shipped_notebook_comes_back_and_the_changed_one_is_kept(clone):
    notebook = clone / "notebooks" / "03_upgrade.ipynb"
    shipped = notebook.read_bytes()
    change(notebook)
    mine = notebook.read_bytes()
    said = in_clone(clone, "fresh", "03")
    assert notebook.read_bytes() == shipped
    assert (clone / said.splitlines()[0].removeprefix("yours is kept as ")).read_bytes() == mine


def test_the_course_is_updated_without_a_conflict(clone):
    theirs = clone.parent / "origin" / "notebooks" / "03_upgrade.ipynb"
    change(clone / "notebooks" / "03_upgrade.ipynb")
    content = json.loads(theirs.read_text(encoding="utf-8"))
    content["cells"][0]["source"] = ["# newer"]
    theirs.write_text(json.dumps(content), encoding="utf-8")
    commit(theirs.parents[1])
    in_clone(clone, "update")
    assert "# newer" in (clone / "notebooks" / "03_upgrade.ipynb").read_text(encoding="utf-8")
    assert len(list((clone / "notebooks" / "work" / "mine").glob("03_upgrade *.ipynb"))) == 1


def test_cleaning_asks_first():
    result = subprocess.run(
        [sys.executable, "-m", "lab", "clean"], cwd=NOTEBOOKS, input="no\n", capture_output=True, text=True
    )
    assert "Nothing was removed." in result.stdout


def make(folder, *arguments):
    """Run make as from a shell, also where these tests were started by make."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=inherited, capture_output=True, text=True)


def fake_python(folder, refused):
    """A Python on which a check fails; everything else is the real one's."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\ncase "$*" in *"{refused}"*) exit 1;; esac\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ("version_info", "is older than 3.11: install a newer one and name it: make PYTHON=python3.12 lab"),
        (
            "ensurepip",
            "This Python has no venv module: on Debian and Ubuntu run apt install python3-venv, then run make again.",
        ),
    ],
)
def test_a_python_that_will_not_do_ends_in_one_line_with_the_cure(clone, tmp_path, refused, message):
    python = fake_python(tmp_path, refused)
    result = make(clone, "lab", f"PYTHON={python}")
    assert result.returncode
    assert message in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert not (clone / ".venv").exists()


def test_a_python_that_is_missing_ends_in_one_line(clone):
    result = make(clone, "test", "PYTHON=python3.1")
    assert result.returncode and result.stdout.startswith("python3.1 is missing: install Python 3.11 to 3.14")


@pytest.mark.parametrize("file", ["requirements.txt", "tests/in_browser.txt"])
def test_every_dependency_is_pinned_with_a_reason(file):
    for line in (COURSE / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert "==" in line and ("#" in line or "pgserver" in line), line


def test_make_lists_its_targets():
    said = make(COURSE, "help").stdout
    targets = [line.split()[1] for line in said.splitlines()]
    assert {"lab", "test", "test-all", "check", "stop", "clean", "fresh", "update", "store"} <= set(targets)


def test_jupyterlab_listens_on_localhost_with_a_token_and_asks_nothing():
    said = subprocess.run(
        [sys.executable, "-m", "jupyterlab", "notebooks", "--config=jupyter/lab_config.py", "--show-config-json"],
        cwd=COURSE,
        capture_output=True,
        text=True,
    ).stdout
    config = json.loads(said[said.index("{") :])
    assert config["LabApp"]["news_url"] is None
    assert "ip" not in config["ServerApp"] and "IdentityProvider" not in config  # Jupyter's own: localhost, a token
    settings = Path(config["LabApp"]["app_settings_dir"]) / "overrides.json"
    assert json.loads(settings.read_text())["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
