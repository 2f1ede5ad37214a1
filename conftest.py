"""Every test run has a home of its own, so that it never touches a learner's attempt, database or progress."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

COURSE = Path(__file__).parent
sys.path.insert(0, str(COURSE / "tests"))

from homes import home_of_its_own  # noqa: E402


def pytest_configure(config):
    config.option.nbval_sanitize_with = str(COURSE / "notebooks" / "sanitize.cfg")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    # With -n, the workers and their kernels inherit the home that the first process made.
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    session.config.stash[HOME] = stack = ExitStack()
    stack.enter_context(home_of_its_own())


def pytest_collection_modifyitems(config, items):
    """With -n, run the notebooks from the last to the first: the last take longest, and would keep one worker alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name if item.path.suffix == ".ipynb" else "~", reverse=True)  # is stable


def pytest_unconfigure(config):
    if HOME in config.stash:
        config.stash[HOME].close()


def pytest_terminal_summary(terminalreporter):
    """Say how many cells ran: without --nbval pytest collects no notebook, and says nothing of it."""
    for outcome in ("passed", "failed"):
        cells = [r for r in terminalreporter.stats.get(outcome, []) if ".ipynb::" in r.nodeid and r.when == "call"]
        if cells:
            terminalreporter.write_line(f"notebook cells: {len(cells)} {outcome}")


HOME = pytest.StashKey[ExitStack]()
