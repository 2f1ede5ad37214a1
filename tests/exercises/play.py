"""Every answer to every exercise, played on a real database: `make test-exercises`.

For each exercise: nothing done is no error, the notebook's solution passes, others pass, wrong ones are refused
with a message that names the mistake.
"""

import time

import pytest
from answers import answers, exercises_of_all_lessons

EXERCISES = exercises_of_all_lessons()
SOLUTIONS = {exercise.name: text.solution for exercise, text in EXERCISES}
LONGEST = 3.0  # seconds that a check may take

# What spoke against the answer, rule by rule; here.check shows the first.
ALL_FINDINGS = """
from lab import exercises
from lab.checks.check import findings
from lab.checks.evidence import Evidence

found = exercises.find("{name}")
with Evidence(found) as evidence:
    print("\\n".join(rule for rule, _ in findings(found, evidence)))
"""


@pytest.fixture
def play(kernel, record_property):
    """A function that begins an exercise, runs cells and checks; what the check said."""

    def check(name: str) -> tuple[str, float]:
        start = time.monotonic()
        said = kernel.run(f'here.check("{name}")')
        return said, time.monotonic() - start

    def play(name: str, cells: list[str]) -> str:
        kernel.run(f'from lab import exercise\n\nhere = exercise("{name}")')
        for cell in cells:
            kernel.run(cell)
        said, seconds = check(name)
        for _ in range(3):
            if seconds < LONGEST:
                break
            # Something else may have kept the machine busy, and the promise is for a learner's own.
            said, seconds = check(name)
        record_property("exercise", name)
        record_property("check", seconds)
        record_property("outcome", {"✓": "passed", "✗": "refused", "○": "not done"}[said[0]])
        assert seconds < LONGEST
        return said

    return play


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


@pytest.mark.parametrize("answer", [answer for answer in answers() if answer.refused_by], ids=ids)
def test_a_wrong_answer_is_refused_with_its_mistake_named(play, kernel, answer):
    said = play(answer.exercise, answer.played(SOLUTIONS[answer.exercise]))
    assert said.startswith("✗"), said
    assert answer.says in said
    rules = kernel.run(ALL_FINDINGS.format(name=answer.exercise)).splitlines()
    assert rules[0] == answer.refused_by, said
    if answer.alone:
        assert rules == [answer.refused_by], "without this rule the answer would still be refused"
