"""The exercises as the notebooks hold them: task, hints and solution stand there and nowhere else."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

FOLDED = re.compile(r"<details><summary>(.+?)</summary>(.*?)</details>", re.DOTALL)


@dataclass
class Written:
    """One exercise in a notebook. `solution` is the code of its cells, `why` the sentence below them."""

    name: str
    task: str
    hints: list[str]
    stub: str
    solution: list[str]
    why: str


def written(path: Path) -> list[Written]:
    """The exercises in the notebook at `path`: a task, the opening, a stub, the check, and a folded solution each."""
    cells = nbformat.read(path, as_version=4).cells
    found = []
    for number, cell in enumerate(cells):
        opening = re.fullmatch(r'from lab import exercise\n\nhere = exercise\("(\w+)"\)', cell.source)
        if cell.cell_type != "code" or not opening:
            continue
        name = opening[1]
        task, stub, check, last = cells[number - 1], cells[number + 1], cells[number + 2], cells[number + 3]
        assert check.source == f'here.check("{name}")', f"{name}: opening, stub, check, in this order"
        solutions = [text for summary, text in FOLDED.findall(last.source) if summary == "Solution"]
        assert len(solutions) == 1, f"{name}: a folded solution follows the check"
        blocks = re.split(r"^~~~python\n(.*?)^~~~$", solutions[0], flags=re.DOTALL | re.MULTILINE)
        found.append(
            Written(
                name,
                FOLDED.sub("", task.source).strip(),
                [text.strip() for summary, text in FOLDED.findall(task.source) if summary.startswith("Hint")],
                stub.source,
                blocks[1::2],
                "".join(blocks[::2]).strip(),
            )
        )
    return found
