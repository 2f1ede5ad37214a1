"""A replay of a copy's revisions in a scratch database: up, back, down to nothing, and up again.

One child process runs all commands of a replay, forked by the warm parent where there is one: a cold `flask db ...`
takes more than a second, nearly all of it imports.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from sqlalchemy.engine import URL

from ..commands import last_words
from ..problem import Problem
from ..warm.client import ask
from .snapshot import Snapshot, looking_at

CHILD = str(Path(__file__).with_name("replay_child.py"))
PATIENCE = 30  # seconds for a whole replay: a revision that waits for something might wait for ever


@dataclass(frozen=True)
class Step:
    """One command of a replay: the error it ended with, if any, where in the copy, and the database after it."""

    command: str
    failed: str
    where: str
    after: Snapshot | None


class Commands:
    """`flask` commands in the copy `folder`, in one child process. It ends with the block, or with this process."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self):
        requests, ours = os.pipe()
        self._requests = os.fdopen(ours, "w")
        ours, answers = os.pipe()
        self._answers = os.fdopen(ours)
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            self._child = ask(CHILD, [], self.folder, [requests, answers, nothing]) or subprocess.Popen(
                [sys.executable, CHILD],
                cwd=self.folder,
                stdin=requests,
                stdout=answers,
                stderr=nothing,
                start_new_session=True,  # an interrupt is for the one who waits; the block then ends the child
            )
        finally:
            for file in (requests, answers, nothing):
                os.close(file)
        self._alarm = threading.Timer(PATIENCE, self._end)
        self._alarm.start()
        return self

    def __exit__(self, *_):
        self._alarm.cancel()
        self._end()
        with self._child, self._answers:
            with suppress(BrokenPipeError):
                self._requests.close()  # the child ends then, whatever became of its guard
            self._answers.read()  # to its end, which is the child's

    def _end(self) -> None:
        # the group: a revision may have started something
        with suppress(OSError):
            if isinstance(self._child, socket.socket):
                self._child.shutdown(socket.SHUT_RDWR)
            else:
                os.killpg(self._child.pid, signal.SIGKILL)

    def run(self, url: URL, command: str, folder: Path | None = None) -> tuple[str, str]:
        """Run one command on the database `url`; the error that it ended with, and where, or nothing.

        It runs in the copy, or in another `folder` that holds another version of the application.

        "flask ..." is that command. "GET /path" asks the application for a page, "POST /path a=1&b=2" sends a form;
        " shows ..." behind either is a text that has to be on the page.
        """
        words, _, shows = command.partition(" shows ")
        request = {
            "words": words.split(),
            "shows": shows,
            "url": url.render_as_string(hide_password=False),
            "folder": str(folder or self.folder),
        }
        try:
            print(json.dumps(request), file=self._requests, flush=True)
            answer = self._answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise Problem(
                f"`{command}` did not come to an end when your revisions were replayed.\n"
                "Does one of them wait for something, or end the program?"
            )
        answer = json.loads(answer)
        return (last_words(answer["said"])[0], answer["where"]) if answer["exit_code"] else ("", "")


def replay(
    commands: Commands,
    url: URL,
    start: Snapshot,
    pages: tuple[str, ...],
    last: tuple[str, ...] = (),
    below: str = "",
    written: str = "",
    between: tuple[str, ...] = (),
) -> dict[str, Step]:
    """Go from `start`, which the database `url` holds, up to the head and back, down to nothing, and up again.

    The steps by name, up to the first that failed: "load", "up", the pages, "back", "down", "again", "check", and the
    commands in `last`, on the tables that are empty then. `written` is SQL that another version of the application runs
    behind the pages; where the schema refuses it, nothing is written. Before "back" it goes down to each of the
    revisions `between` and up again: "undo ..." and "redo ...", with its id. On the whole way back an earlier
    downgrade() may drop what a later one has forgotten. With `below`, a revision that the start has behind it, "back"
    goes further, to that one, and the way up again stops there: that step is "below".
    """
    plan = [("load", "flask db --help"), ("up", "flask db upgrade"), *((page, page) for page in pages)]
    plan += [("written", written)] if written else []
    for revision in between:
        plan += [(f"undo {revision}", f"flask db downgrade {revision}"), (f"redo {revision}", "flask db upgrade")]
    plan += [("back", f"flask db downgrade {revision}") for revision in ([below] if below else start.applied[:1])]
    plan += [("down", "flask db downgrade base")]
    plan += [("below", f"flask db upgrade {below}")] if below else []
    plan += [("again", "flask db upgrade"), ("check", "flask db check")]
    plan += [(command, command) for command in last]
    steps: dict[str, Step] = {}
    for name, command in plan:
        failed, where = _write(url, command) if name == "written" else commands.run(url, command)
        after = Snapshot.read(url) if name in ("up", "back", "down", "below", "again") and not failed else None
        steps[name] = Step(command, failed, where, after)
        if failed:
            break
    return steps


def _write(url: URL, statement: str) -> tuple[str, str]:
    with suppress(psycopg2.Error), looking_at(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()
    return "", ""
