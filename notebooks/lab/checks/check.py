"""`here.check`: says of an answer whether it reaches the goal, and if not, what was found."""

import textwrap

from .. import exercises, home, progress
from ..exercises import Exercise
from ..problem import Problem
from .evidence import Evidence, NotBegun
from .rules import Finding


def check(name: str) -> None:
    """Examine the answer to the exercise `name` as it is now, and print what there is to say of it.

    What the learner has done may be in any state; whatever it is, it is told in a few lines, never raised.
    Only an unknown name is a Problem.
    """
    exercise = exercises.find(name)
    try:
        with home.locked(home.DATA / "checking" / f"{name}.lock"), Evidence(exercise) as evidence:
            if evidence.untouched:
                print(f"○ {name}: not done yet\ngoal       {exercise.shown_goal()}")
                return
            _, finding = next(findings(exercise, evidence), (None, None))
    except NotBegun as problem:
        print(f"○ {name}: {problem}")
        return
    except Problem as problem:
        first, _, advice = str(problem).partition("\n")
        finding = Finding(first, look=advice)
    except Exception as error:  # a state that nobody has thought of shall not end in a traceback either
        finding = Finding(f"this could not be checked: {type(error).__name__}: {error}")
    if finding:
        print(f"✗ {name}: {_shown(finding)}")
        return
    progress.note_passed(name)
    lesson = exercise.lesson
    print(f"✓ {name}: passed. That makes {progress.passed(lesson)} of {len(exercises.of(lesson))} in this lesson.")


def findings(exercise: Exercise, evidence: Evidence):
    """What the rules have to say against the answer, in their order, as pairs of a rule's name and its Finding."""
    for rule in exercise.rules:
        if finding := rule.examine(evidence):
            yield rule.name, finding


def _shown(finding: Finding) -> str:
    lines = [finding.problem]
    for word, text in (("found", finding.found), ("expected", finding.expected), ("look at", finding.look)):
        if text:
            lines.append(f"{word:<11}{textwrap.indent(str(text), ' ' * 11).strip()}")
    return "\n".join(lines)
