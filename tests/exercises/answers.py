"""The other answers to the exercises: one TOML file a lesson, named after it, with an [[answer]] each.

exercise = "05_phone"
how = "the column is too short"              what it is, as the name of its test
replace = [["String(40)", "String(20)"]]     the solution with these replaced, each of which stands in it once
first = '''...'''                            a cell before it
then = '''...'''                             a cell after it
cells = ['''...''']                          or cells in place of the solution
refused_by = "column customers.phone"        the rule that speaks against it; without, the answer passes
says = "varying(20)"                         a phrase of what the learner reads
alone = false                                other rules speak against it, too
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from homes import NOTEBOOKS
from lab import course, exercises
from written import Written, written

FOLDER = Path(__file__).parent


@dataclass
class Answer:
    """One answer, right or wrong, see above."""

    exercise: str
    how: str
    replace: list[list[str]] = field(default_factory=list)
    first: str = ""
    then: str = ""
    cells: list[str] = field(default_factory=list)
    refused_by: str = ""
    says: str = ""
    alone: bool = True

    def played(self, solution: list[str]) -> list[str]:
        """The cells to run for this answer."""
        cells = self.cells or solution
        for old, new in self.replace:
            assert sum(cell.count(old) for cell in cells) == 1, f"{self.how}: the solution holds this once: {old}"
            cells = [cell.replace(old, new) for cell in cells]
        return [cell for cell in (self.first, *cells, self.then) if cell]


def exercises_of_all_lessons() -> list[tuple[exercises.Exercise, Written]]:
    """Every exercise, with what its notebook holds."""
    return [
        (exercise, text)
        for lesson in course.lessons()
        for exercise, text in zip(exercises.of(lesson), written(NOTEBOOKS / lesson.notebook), strict=True)
    ]


def answers() -> list[Answer]:
    """The answers of all files."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        with open(path, "rb") as file:
            found += [Answer(**answer) for answer in tomllib.load(file)["answer"]]
    return found
