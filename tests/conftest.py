"""What the tests share: a home of their own, kernels that run cells, and a server to do things to."""

import os
import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest
from homes import NOTEBOOKS, home_of_its_own
from nbclient import NotebookClient
from sqlalchemy.engine import make_url


@pytest.fixture(scope="module")
def home():
    """A home for this file alone: opening a lesson here does not end the same lesson's notebook elsewhere."""
    with home_of_its_own() as home:
        yield home


@pytest.fixture(scope="module")
def cells(home):
    """A function that runs cells in one kernel, as a notebook does; what each of them showed."""

    def run(*sources: str, **variables: str) -> list[str]:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        inherited = {name: value for name, value in os.environ.items() if name != "LAB_DATABASE_URL"}
        resources = {"metadata": {"path": NOTEBOOKS}}
        for attempt in range(3):
            try:
                client = NotebookClient(notebook, timeout=120, allow_errors=True, resources=resources)
                client.execute(env={**inherited, **variables})
                break
            except RuntimeError as error:
                # Jupyter picks a kernel's ports before it starts; with servers starting beside it, one may be taken.
                if attempt == 2 or "Kernel died before replying" not in str(error):
                    raise
        return ["".join(shown(output) for output in cell.outputs) for cell in notebook.cells]

    return run


def shown(output) -> str:
    """What a reader sees of one output, without the colours of an error."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return output.data.get("text/plain", "")


@pytest.fixture(scope="module")
def shared_server():
    """A PostgreSQL that the course was given, not one that it started: the URL of its superuser."""
    from lab.embedded import Embedded

    folder = Path(tempfile.mkdtemp(prefix="shared-server-"))
    folder.chmod(0o755)
    server = Embedded(folder / "server")
    yield make_url(server.start())
    server.stop()
    shutil.rmtree(folder)
