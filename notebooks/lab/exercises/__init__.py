"""The exercises of the lessons: where each begins, its goal, and the rules that an answer must keep.

Task, hints and solution stand in the lesson's notebook; a module here holds what `here.check` needs.
"""

import difflib
import importlib
import textwrap
from dataclasses import dataclass

from .. import course
from ..checks.finding import Rule
from ..course import Lesson
from ..problem import Problem
from ..starting import Start

FILLED = Start("filled")


@dataclass(frozen=True)
class Exercise:
    """One exercise. Its name is the lesson's number and a word, as in "05_phone".

    `goal` is what must be true at the end, as lines of text. `rules` are examined in their order.
    """

    name: str
    goal: str
    rules: tuple[Rule, ...]
    start: Start = FILLED

    @property
    def lesson(self) -> Lesson:
        return course.find(self.name[:2])

    def shown_goal(self) -> str:
        """The goal, its lines indented to stand beside a word of up to ten letters."""
        return textwrap.indent(textwrap.dedent(self.goal).strip(), " " * 11).strip()


def of(lesson: Lesson) -> tuple[Exercise, ...]:
    """The exercises of `lesson`, in their order."""
    return importlib.import_module(f"{__name__}.lesson_{lesson.number}").EXERCISES


def find(name: str) -> Exercise:
    """The exercise called `name`. An unknown name is a Problem."""
    known = {exercise.name: exercise for lesson in course.lessons() for exercise in of(lesson)}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(str(name), known, n=1)
    same_lesson = [other for other in known if other[:2] == str(name)[:2]]
    meant = f'Did you mean "{close[0]}"?' if close else f"There are: {', '.join(same_lesson or known)}."
    raise Problem(f'There is no exercise "{name}".\n{meant}')
