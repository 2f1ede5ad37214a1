"""The bookshop as it stands in a lesson's folder, serving real HTTP."""

import html
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from html.parser import HTMLParser
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode

from sqlalchemy.engine import URL

from . import tether
from .commands import last_words
from .pictures import Picture
from .problem import Problem
from .starting import write_settings

PATIENCE = 30  # seconds until the server has to serve
DOTENV = [sys.executable, "-m", "dotenv", "run", "--"]
LISTEN = "--listen=127.0.0.1:0"  # port 0: the system picks a free one, and waitress says which
BLOCKS = {"p", "h1", "h2", "h3", "li", "tr", "div", "dt", "table", "ul", "dl", "section", "article", "label", "nav"}


class Website:
    """One running copy of the application: the code as it was when it was started, or as git has it in `version`.

    waitress serves it, with `.env` read by python-dotenv; it ends with the kernel that started it.
    It uses the database in the copy's `.env`, or `url`. `options` are waitress's, `variables` go into its environment.
    """

    def __init__(self, folder: Path, *options: str, version: str = "", url: URL | None = None, **variables: str):
        # From a copy: templates are read when they are first shown, and by then the lesson may have changed them.
        copy = tempfile.mkdtemp(prefix="bookshop-")
        if version:
            check_out(folder, version, copy)
        else:
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
        if url:
            write_settings(Path(copy), url)
        self.log = tempfile.TemporaryFile("a+b")  # append: the server shares our position in the file
        self.seen = 0
        self.process = subprocess.Popen(
            [
                sys.executable,
                tether.__file__,
                copy,
                *DOTENV,
                sys.executable,
                "-m",
                "waitress",
                LISTEN,
                *options,
                "manage:app",
            ],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Jupyter kills a kernel with its whole group; the tether has to outlive that
        )
        try:
            self.address = self._wait_for_address()
        except BaseException:  # an interrupt, too
            self.close()
            raise

    def ask(self, path: str, form: dict | None = None) -> Picture:
        """Ask for `path`, or send it a form; the status and the page, and for an error the end of the server's log.

        A redirection is shown, not followed: it is the answer to a form that was accepted.
        """
        method = "GET" if form is None else "POST"
        connection = HTTPConnection(self.address, timeout=PATIENCE)
        try:
            kind_of_form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request(
                method, quote(path, safe="/?&=%+"), form and urlencode(form), kind_of_form if form else {}
            )
            answer = connection.getresponse()
            status, kind, body = answer.status, answer.headers.get_content_type(), answer.read().decode("utf-8")
        except OSError as error:
            raise Problem(
                f"The bookshop does not answer: {error.strerror or error}.\nhere.serve() starts it again."
            ) from None
        finally:
            connection.close()
        head = f"{method} {path}: {status} {HTTPStatus(status).phrase}"
        if leads_to := answer.headers.get("Location"):
            return Picture(f"{head}, leads to {leads_to}")
        if status >= 500:
            reason = last_words(self._log_since())[0]
            return Picture(f"{head}\nthe server's log ends in\n{reason}")
        if kind != "text/html":
            return Picture(f"{head}\n{body.strip()}")
        main = _main(body)
        box = f'<div style="border: 1px solid; padding: 0.5em 1em">{main}</div>'
        return Picture(f"{head}\n{_text(main)}", markup=f"<p><code>{html.escape(head)}</code></p>{box}")

    def close(self) -> None:
        """End the server and wait until it is gone."""
        self.process.stdin.close()
        self.process.wait()
        self.log.close()

    def _wait_for_address(self) -> str:
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE:
            said = self._log_since(keep=True)
            if found := re.search(r"Serving on http://(\S+)", said):
                return found[1]
            if self.process.poll() is not None:
                raise Problem(f"The bookshop does not start: {last_words(said)[0]}")
            time.sleep(0.02)
        raise Problem(f"The bookshop did not start within {PATIENCE} seconds.")

    def _log_since(self, keep: bool = False) -> str:
        """What the server logged since the last time this was asked."""
        self.log.seek(self.seen)
        said = self.log.read()
        if not keep:
            self.seen += len(said)
        return said.decode("utf-8", "replace")


def check_out(folder: Path, version: str, copy: str) -> None:
    """Lay out in `copy` the files of the commit or tag `version`, with the `.env` of today."""
    archive = subprocess.run(["git", "archive", "--format=zip", version], cwd=folder, capture_output=True)
    if archive.returncode:
        raise Problem(f"git knows no version {version} here.\n`git log --oneline --decorate` lists what there is.")
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
        files.extractall(copy)
    shutil.copy(folder / ".env", copy)


def _main(page: str) -> str:
    """What stands between <main> and </main>, with links and forms that lead nowhere from a notebook made plain."""
    inside = re.search(r"<main[^>]*>(.*)</main>", page, re.DOTALL)
    return re.sub(r"</?(a|form|button)\b[^>]*>", "", inside[1] if inside else page).strip()


class _Text(HTMLParser):
    """Collects the words of a page, a line for each block."""

    def __init__(self):
        super().__init__()
        self.lines = [""]

    def handle_starttag(self, tag, attributes):
        if tag in BLOCKS:
            self.lines.append("")
        elif tag in ("td", "th", "dd"):
            self.lines[-1] += "  "

    def handle_data(self, data):
        self.lines[-1] += re.sub(r"\s+", " ", data)


def _text(markup: str) -> str:
    parser = _Text()
    parser.feed(markup)
    return "\n".join(line.strip() for line in parser.lines if line.strip())
