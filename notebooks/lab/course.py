"""The one list of lessons, read from course.toml."""

import difflib
import tomllib
from dataclasses import dataclass

from .home import NOTEBOOKS
from .problem import Problem

# The states of release 1 in which a lesson can begin, see starting.py; "large" is "filled" with a million orders.
STARTS = ("application", "initialised", "written", "filled", "large")


@dataclass(frozen=True)
class Lesson:
    """One line of course.toml. `minutes` is what a newcomer needs, `practice` for the exercises."""

    name: str
    title: str
    part: str
    minutes: int
    practice: int
    start: str
    needs: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        return self.name.partition("_")[0]

    @property
    def notebook(self) -> str:
        return f"{self.name}.ipynb"


def lessons() -> list[Lesson]:
    """All lessons, in their order."""
    with open(NOTEBOOKS / "course.toml", "rb") as file:
        rows = tomllib.load(file)["lesson"]
    return [Lesson(**{**row, "needs": tuple(row.get("needs", ()))}) for row in rows]


def find(name: str) -> Lesson:
    """The lesson called `name`; its number alone will do. An unknown name is a Problem."""
    known = {
        key: lesson for lesson in lessons() for key in (lesson.name, lesson.number, lesson.number.lstrip("0") or "0")
    }
    if name in known:
        return known[name]
    names = [lesson.name for lesson in lessons()]
    close = difflib.get_close_matches(str(name), names, n=1)
    meant = f'Did you mean "{close[0]}"?' if close else "The lessons are: " + ", ".join(names) + "."
    raise Problem(f'There is no lesson "{name}".\n{meant}')
