"""A migration under traffic: the bookshop serves, visitors come, somebody watches the server, and a command runs."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from sqlalchemy.engine import URL

from .. import environment
from ..problem import Problem
from ..web import Website
from .driver import PATIENCE, Plan
from .measured import MARGIN, Measured, plain

__all__ = ["MARGIN", "Measured", "plain", "run"]

RATE = 40  # requests a second; what two cores serve without delay (at twice as many some wait): tests/bench.py rate
SECONDS = 15  # of a run for a learner; the tests' are shorter
WAITRESS = ("--threads=12", "--connection-limit=1000")  # who waits shall wait for PostgreSQL
# Where things happen, as parts of the whole.
BESIDE_AT, COMMAND_AT, BESIDE_UNTIL = 0.1, 0.25, 0.7


def run(
    folder: Path,
    url: URL,
    command: str,
    title: str = "",
    beside: str = "",
    versions: tuple[str, ...] = (),
    deploy: str | None = None,
    rate: float = RATE,
    seconds: float = 0,
    patience: float = PATIENCE,
) -> Measured:
    """Run `command` in the copy `folder` while visitors order at the bookshop; what was measured.

    They are served by the code as it is, or by each of the `versions` in turn; once the command has succeeded, also by
    the version `deploy`, where "" is the code as it is. `beside` is SQL that another session runs before the command,
    in a transaction that it keeps open over the command's start, and until the command has waited for it for some
    seconds; "{seconds}" in it stands for how long that is as planned.
    `rate` is in requests a second. A command that fails is part of what was measured; one that goes on for `patience`
    seconds after the planned end is killed, and has failed.
    """
    seconds = seconds or float(os.environ.get("LAB_TRAFFIC_SECONDS", SECONDS))
    open_for = (BESIDE_UNTIL - BESIDE_AT) * seconds
    with ExitStack() as ends:
        websites, serving = [], versions or ("",)
        joining = () if deploy is None else (deploy,)
        for version in (*serving, *joining):
            websites.append(Website(folder, *WAITRESS, version=version, url=url, PGAPPNAME="website"))
            ends.callback(websites[-1].close)
        plan = Plan(
            addresses=[website.address for website in websites[: len(serving)]],
            joining=[website.address for website in websites[len(serving) :]],
            command=command,
            folder=str(folder),
            beside=beside.replace("{seconds}", f"{open_for:.1f}"),
            rate=rate,
            seconds=seconds,
            beside_at=BESIDE_AT * seconds,
            beside_until=BESIDE_UNTIL * seconds,
            command_at=COMMAND_AT * seconds,
            patience=patience,
        )
        variables = {**os.environ, **environment.libpq(url), "DATABASE_URL": url.render_as_string(hide_password=False)}
        return Measured(title or command, **_drive(plan, variables), versions=versions, deploy=deploy)


def _drive(plan: Plan, variables: dict[str, str]) -> dict:
    """Let the driver do what is planned, with a bar that shows how far it is."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("driver.py")), json.dumps(asdict(plan))],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt is for the kernel, which then closes the driver's input
    )
    try:
        for line in process.stdout:
            told = json.loads(line)
            if "requests" in told:
                print("\r[##########]")
                return told
            if "problem" in told:
                raise Problem(f"PostgreSQL refuses: {told['problem']}")
            print(f"\r[{'#' * told['tenth']:<10}]", end="", flush=True)
        raise Problem("The run ended before its time.")
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
