"""Runs `flask` commands one after another in one process, for replay.py: importing Flask is what takes long.

Started in a copy of the bookshop. Each line of standard input is a JSON object, {"words": ..., "shows": ...,
"url": ..., "folder": ...}, and is answered by one, {"exit_code": ..., "where": ..., "said": ...}. The words are those
of a `flask` command; or `GET` and the path of a page, or `POST`, a path and a form (`a=1&b=2`), and there exit code 0
stands for status 200 and the text `shows` on the page.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from urllib.parse import parse_qsl

requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
asked = queue.SimpleQueue()
said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
# What the learner's code reads and prints must not mix with the conversation.
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(said.fileno(), 1)
os.dup2(said.fileno(), 2)
sys.path.insert(0, os.getcwd())

from flask.cli import ScriptInfo, cli, load_dotenv  # noqa: E402
from sqlalchemy import Engine, event, make_url  # noqa: E402


@event.listens_for(Engine, "do_connect")
def refuse_other_databases(dialect, record, arguments, named):
    """Let the application into the database of the replay only, wherever it has its URL from."""
    mine = make_url(os.environ["DATABASE_URL"])
    place = (named.get("host"), named.get("port"))
    if named.get("dbname") != mine.database or (mine.host and place != (mine.host, mine.port)):
        raise RuntimeError("the application does not connect to the database that DATABASE_URL names")


def listen() -> None:
    """Hand on what is asked; whatever runs ends with whoever asks, and with it what it has started."""
    for line in requests:
        asked.put(line)
    os.killpg(0, signal.SIGKILL)


def move_to(folder: str) -> None:
    """Go to a folder that holds another version of the application, and forget the modules of this one."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(sys.path[0] + os.sep):
            del sys.modules[name]
    os.chdir(folder)
    sys.path[0] = os.getcwd()


def run(words: list[str], shows: str) -> tuple[int, str]:
    """Do what `words` ask for; the exit code, and the place in the copy where an exception came from."""
    try:
        if words[0] in ("GET", "POST"):
            return ask(shows, *words), ""
        cli.main(args=words[1:], prog_name=words[0])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None), ""
    except BaseException as error:
        traceback.print_exc()
        return 1, place_of(error)
    return 0, ""


def place_of(error: BaseException) -> str:
    """The last place in the learner's files that an exception passed, as in "bookshop/models.py, line 12"."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    mine = [place for place in places if place[0].startswith(os.getcwd() + os.sep)]
    return f"{os.path.relpath(mine[-1][0])}, line {mine[-1][1]}" if mine else ""


def ask(shows: str, method: str, path: str, form: str = "") -> int:
    """Ask the application for a page, or send it a form, as a browser would; 0 where the page is right, see above."""
    load_dotenv()
    client = ScriptInfo(app_import_path=os.environ.get("FLASK_APP")).load_app().test_client()
    response = client.open(path, method=method, data=dict(parse_qsl(form)), follow_redirects=True)
    missing = response.status_code == 200 and shows not in " ".join(response.text.split())
    print(f'{response.status}, but the page does not show "{shows}"' if missing else response.status)
    return int(missing or response.status_code != 200)


threading.Thread(target=listen, daemon=True).start()
while line := asked.get():
    said.seek(0)
    said.truncate()
    request = json.loads(line)
    if not os.path.samefile(request["folder"], "."):
        move_to(request["folder"])
    if os.environ.get("DATABASE_URL") != request["url"]:
        # manage.py keeps its application, which keeps its database: for another one it is imported again
        sys.modules.pop(os.environ.get("FLASK_APP", "").partition(":")[0].removesuffix(".py"), None)
    os.environ["DATABASE_URL"] = request["url"]  # wins over the copy's .env
    exit_code, where = run(request["words"], request["shows"])
    with contextlib.suppress(ValueError, OSError):  # the learner's code may have closed them
        sys.stdout.flush()
        sys.stderr.flush()
    said.seek(0)
    print(json.dumps({"exit_code": exit_code, "where": where, "said": said.read()}), file=answers, flush=True)
