"""Execute notebooks and store their output: `make store`, or `make store LESSON=05` for one.

The output is sanitized by the rules by which nbval compares it, so that storing twice changes nothing.
"""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from homes import NOTEBOOKS, home_of_its_own
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbval.plugin import get_sanitize_patterns

KEPT_METADATA = ("tags",)


def store(path: Path) -> str:
    """Execute the notebook at `path` in a kernel of its own and write it back; a line that says how it went."""
    notebook = nbformat.read(path, as_version=4)
    # One stream of output, whatever pieces it came in.
    client = NotebookClient(
        notebook,
        timeout=180,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        outcome = f"{path.name}: stopped at a cell that failed\n{error}"
    else:
        outcome = f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells stored"
    rules = get_sanitize_patterns((NOTEBOOKS / "sanitize.cfg").read_text(encoding="utf-8"))
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
        if cell.cell_type == "code":
            cell.outputs = [_sanitized(output, rules) for output in cell.outputs]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)
    return outcome


def _sanitized(value, rules):
    if isinstance(value, dict):
        return nbformat.from_dict({key: _sanitized(item, rules) for key, item in value.items()})
    if isinstance(value, list):
        return [_sanitized(item, rules) for item in value]
    if isinstance(value, str):
        for pattern, replacement in rules:
            value = re.sub(pattern, replacement, value)
    return value


def main(names: list[str]) -> int:
    paths = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if names:
        paths = [path for path in paths if path.name.startswith(tuple(names))]
    if not paths:
        print(f"No notebook is called {' or '.join(names)}.")
        return 1
    with home_of_its_own(), ThreadPoolExecutor(2) as pool:
        # The first lesson shows which lessons were opened: so it goes first, and alone.
        outcomes = [store(paths[0]), *pool.map(store, paths[1:])]
    print("\n".join(outcomes))
    return int(any("failed" in outcome for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
