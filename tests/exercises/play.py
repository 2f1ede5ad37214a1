"""Every answer to every exercise, played on a real database: `make test-exercises`.

For each exercise: nothing done is no error, the notebook's solution passes, others pass, wrong ones are refused
with a message that names the mistake.
"""

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from answers import answers, exercises_of_all_lessons

EXERCISES = exercises_of_all_lessons()
SOLUTIONS = {exercise.name: text.solution for exercise, text in EXERCISES}
LONGEST = 3.0  # seconds that a check may take; one that runs the answer under traffic takes as long as that
YARDSTICK = 0.5  # seconds in which a machine that is not busy starts a cold `flask`
UNDER_TRAFFIC = {
    exercise.name for exercise, _ in EXERCISES if "blocks nobody" in {rule.name for rule in exercise.rules}
}

# here.check stops at the first rule that speaks against an answer. With this it asks on, until `enough` have spoken or
# to the last rule, and keeps their names.
KEEP_FINDINGS = """
from itertools import islice
from lab.checks import check as checking

def kept(exercise, evidence, look=checking.findings):
    found = list(islice(look(exercise, evidence), enough))
    against[:] = [rule for rule, _ in found]
    return iter(found)

against, enough, checking.findings = [], None, kept
"""


@contextmanager
def locked(name: str, how: int):
    """Hold a lock that the workers share, since they have one home."""
    with open(Path(os.environ["LAB_HOME"]) / f"{name}.lock", "w") as file:
        fcntl.flock(file, how)
        yield


@contextmanager
def beside_others():
    """Play while others play, once nobody wants to be alone."""
    with locked("gate", fcntl.LOCK_EX):
        pass
    with locked("playing", fcntl.LOCK_SH):
        yield


@contextmanager
def alone():
    """Wait until all others have played; nobody begins meanwhile."""
    with locked("gate", fcntl.LOCK_EX), locked("playing", fcntl.LOCK_EX):
        yield


def cold_start() -> float:
    """Seconds that Python takes to import what `flask` does, the shortest of three."""

    def once() -> float:
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", "import flask_migrate, flask_sqlalchemy"], check=True)
        return time.monotonic() - start

    return min(once() for _ in range(3))


@pytest.fixture(scope="module")
def asking_on(kernel):
    """The kernel, in which here.check asks on."""
    kernel.run(KEEP_FINDINGS)
    return kernel


@pytest.fixture
def play(asking_on, record_property):
    """A function that begins an exercise, runs cells and checks; what the check said."""

    def check(name: str) -> tuple[str, float]:
        start = time.monotonic()
        said = without_bar(asking_on.run(f'here.check("{name}")'))
        return said, time.monotonic() - start

    def play(name: str, cells: list[str]) -> str:
        with beside_others():
            asking_on.run(f'from lab import exercise\n\nhere = exercise("{name}")')
            for cell in cells:
                asking_on.run(cell)
            said, seconds = check(name)
        longest = LONGEST + 30 * (name in UNDER_TRAFFIC)
        if seconds >= longest:
            # The other plays keep the machine busy, and so may somebody else; the promise is for a learner's own.
            with alone():
                pace = max(1, cold_start() / YARDSTICK)
                said, seconds = check(name)
                seconds /= pace
        record_property("exercise", name)
        record_property("check", seconds)
        record_property("outcome", {"✓": "passed", "✗": "refused", "○": "not done"}[said[0]])
        assert seconds < longest
        return said

    return play


def without_bar(said: str) -> str:
    """What stands behind the bar of a run under traffic, if there was one."""
    return said.rpartition("[##########]\n")[2]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_an_exercise_that_nobody_has_touched_is_not_done_yet(play, name):
    goal = next(exercise.shown_goal() for exercise, _ in EXERCISES if exercise.name == name)
    assert play(name, []) == f"○ {name}: not done yet\ngoal       {goal}\n"


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_in_the_notebook_passes(play, name):
    assert play(name, SOLUTIONS[name]).startswith("✓")


def ids(answer):
    return f"{answer.exercise}: {answer.how}"


@pytest.mark.parametrize("answer", [answer for answer in answers() if not answer.refused_by], ids=ids)
def test_another_right_answer_passes(play, answer):
    said = play(answer.exercise, answer.played(SOLUTIONS[answer.exercise]))
    assert said.startswith("✓"), said


WRONG = [answer for answer in answers() if answer.refused_by]
# For each rule one answer that only it catches: these are asked about to the last rule.
PROOFS = {(answer.exercise, answer.refused_by): answer.how for answer in WRONG if answer.alone}


@pytest.mark.parametrize("answer", WRONG, ids=ids)
def test_a_wrong_answer_is_refused_with_its_mistake_named(play, asking_on, answer):
    proof = PROOFS.get((answer.exercise, answer.refused_by)) == answer.how
    asking_on.run(f"enough = {None if proof else 1}")
    said = play(answer.exercise, answer.played(SOLUTIONS[answer.exercise]))
    assert said.startswith("✗"), said
    assert answer.says in said
    rules = asking_on.run("print(*against, sep='\\n')").splitlines()
    assert rules == [answer.refused_by], f"{said}\nOne more rule: without the first the answer is still refused."
