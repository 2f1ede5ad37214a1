"""Every answer to every exercise, played on a real database: `make test-exercises`.

For each exercise: nothing done is no error, the notebook's solution passes, others pass, wrong ones are refused
with a message that names the mistake.
"""

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from answers import answers, exercises_of_all_lessons
from pace import pace

EXERCISES = exercises_of_all_lessons()
SOLUTIONS = {exercise.name: text.solution for exercise, text in EXERCISES}
LONGEST = 3.0  # seconds that a check may take; one that runs the answer under traffic takes as long as that
SHARED = Path(os.environ.get("LAB_HOME", ""))  # the run's home; later each worker has one of its own
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
    """Hold a lock that the workers share."""
    with open(SHARED / f"{name}.lock", "w") as file:
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


@pytest.fixture(scope="session")
def usual_pace():
    """The machine's pace, measured while nobody plays."""
    with alone():
        return pace()


@pytest.fixture(scope="module")
def asking_on(kernel):
    """The kernel, in which here.check asks on."""
    kernel.run(KEEP_FINDINGS)
    return kernel


@pytest.fixture
def play(asking_on, usual_pace, record_property):
    """A function that begins an exercise, runs cells, checks, and hands what the check said to `judge`."""

    def check(name: str) -> tuple[str, float]:
        start = time.monotonic()
        said = without_bar(asking_on.run(f'here.check("{name}")'))
        return said, time.monotonic() - start

    def play(name: str, cells: list[str], judge) -> None:
        with beside_others():
            asking_on.run(f'from lab import exercise\n\nhere = exercise("{name}")')
            for cell in cells:
                asking_on.run(cell)
            said, seconds = check(name)
        longest = LONGEST + 30 * (name in UNDER_TRAFFIC)
        seconds /= usual_pace
        again = seconds >= longest or (name in UNDER_TRAFFIC and speaks_against(judge, said))
        if again:
            # The other plays keep the machine busy, and so may somebody else: checks take longer then, and visitors
            # wait for a core. Both promises are for a learner's own machine.
            with alone():
                pace_now = pace()
                said, seconds = check(name)
                seconds /= pace_now
        record_property("exercise", name)
        record_property("again", again)
        record_property("check", seconds)
        record_property("outcome", {"✓": "passed", "✗": "refused", "○": "not done"}[said[0]])
        judge(said)
        assert seconds < longest

    return play


def speaks_against(judge, said: str) -> bool:
    """Whether `judge` refuses what the check said."""
    try:
        judge(said)
    except AssertionError:
        return True
    return False


def without_bar(said: str) -> str:
    """What stands behind the bar of a run under traffic, if there was one."""
    return said.rpartition("[##########]\n")[2]


def passes(said: str) -> None:
    assert said.startswith("✓"), said


@pytest.mark.parametrize("name", SOLUTIONS)
def test_an_exercise_that_nobody_has_touched_is_not_done_yet(play, name):
    goal = next(exercise.shown_goal() for exercise, _ in EXERCISES if exercise.name == name)

    def not_done_yet(said: str) -> None:
        assert said == f"○ {name}: not done yet\ngoal       {goal}\n"

    play(name, [], not_done_yet)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_in_the_notebook_passes(play, name):
    play(name, SOLUTIONS[name], passes)


def ids(answer):
    return f"{answer.exercise}: {answer.how}"


@pytest.mark.parametrize("answer", [answer for answer in answers() if not answer.refused_by], ids=ids)
def test_another_right_answer_passes(play, answer):
    play(answer.exercise, answer.played(SOLUTIONS[answer.exercise]), passes)


WRONG = [answer for answer in answers() if answer.refused_by]
# For each rule one answer that only it refuses: without the rule this answer would pass.
PROOFS = {(answer.exercise, answer.refused_by): answer for answer in WRONG if answer.alone}.values()
MORE = [answer for answer in WRONG if answer not in PROOFS]


@pytest.fixture
def refused(play, asking_on):
    """A function that plays a wrong answer until `enough` rules have spoken: its rule has, with the mistake named."""

    def refused(answer, enough: int | None) -> None:
        def by_its_rule(said: str) -> None:
            assert said.startswith("✗"), said
            assert answer.says in said
            assert asking_on.run("print(*against, sep='\\n')").splitlines() == [answer.refused_by], said

        asking_on.run(f"enough = {enough}")
        play(answer.exercise, answer.played(SOLUTIONS[answer.exercise]), by_its_rule)

    return refused


@pytest.mark.parametrize("answer", PROOFS, ids=ids)
def test_a_rule_is_needed_since_it_alone_refuses_a_wrong_answer(refused, answer):
    refused(answer, enough=None)


@pytest.mark.parametrize("answer", MORE, ids=ids)
def test_one_more_wrong_answer_is_refused(refused, answer):
    refused(answer, enough=1)
