"""What holds for every exercise as it is written. `make test-exercises` plays them."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from homes import NOTEBOOKS
from lab import course, exercises

sys.path.insert(0, str(Path(__file__).parent / "exercises"))

from answers import FOLDER, answers, exercises_of_all_lessons
from written import written

EXERCISES = exercises_of_all_lessons()
every_lesson = pytest.mark.parametrize("lesson", course.lessons(), ids=lambda lesson: lesson.name)
every_exercise = pytest.mark.parametrize("exercise, text", EXERCISES, ids=[exercise.name for exercise, _ in EXERCISES])


def answers_to(exercise):
    return [answer for answer in answers() if answer.exercise == exercise.name]


@every_lesson
def test_a_lesson_has_two_to_four_exercises_in_a_section_of_their_own(lesson):
    names = [exercise.name for exercise in exercises.of(lesson)]
    assert 2 <= len(names) <= 4
    assert [text.name for text in written(NOTEBOOKS / lesson.notebook)] == names
    assert all(re.fullmatch(rf"{lesson.number}_[a-z]+(_[a-z]+)*", name) for name in names)
    cells = nbformat.read(NOTEBOOKS / lesson.notebook, as_version=4).cells
    headings = [line for cell in cells for line in cell.source.splitlines() if re.match("##+ ", line)]
    section = headings[headings.index("## Exercises") + 1 : headings.index("## Key points")]
    assert [heading.split()[:2] for heading in section] == [["###", str(n)] for n in range(1, len(names) + 1)]


@every_exercise
def test_an_exercise_has_task_goal_hints_stub_and_solution(exercise, text):
    assert text.task.startswith("### ")
    assert len(text.task.splitlines()) > 2
    assert len(text.hints) >= 2
    assert "?" in text.hints[0], "the first hint is a question"
    assert all(line.startswith("#") for line in text.stub.splitlines()), "the stub does nothing"
    assert text.solution
    assert re.search(r"\w[.)]$", text.why), "a sentence on why"
    assert exercise.shown_goal()


@every_exercise
def test_the_notebook_shows_the_goal_and_that_the_exercise_is_not_done(exercise, text):
    cells = nbformat.read(NOTEBOOKS / exercise.lesson.notebook, as_version=4).cells
    shown = {
        cell.source: "".join(output.get("text", "") for output in cell.outputs)
        for cell in cells
        if cell.cell_type == "code"
    }
    assert exercise.shown_goal() in shown[f'from lab import exercise\n\nhere = exercise("{exercise.name}")']
    assert shown[f'here.check("{exercise.name}")'].startswith(f"○ {exercise.name}: not done yet\n")


@every_exercise
def test_an_exercise_has_other_right_answers_and_wrong_ones(exercise, text):
    right = [answer for answer in answers_to(exercise) if not answer.refused_by]
    wrong = [answer for answer in answers_to(exercise) if answer.refused_by]
    assert len(right) >= 1
    assert len(wrong) >= 3
    for answer in wrong:
        assert len(answer.says) >= 10, "a phrase that names the mistake"
        assert answer.says not in exercise.shown_goal()
    assert all(answer.played(text.solution) != text.solution for answer in answers_to(exercise))


@every_exercise
def test_each_rule_has_a_wrong_answer_that_only_it_catches(exercise, text):
    rules = [rule.name for rule in exercise.rules]
    assert len(set(rules)) == len(rules)
    wrong = [answer for answer in answers_to(exercise) if answer.refused_by]
    assert {answer.refused_by for answer in wrong} <= set(rules)
    assert set(rules) - {answer.refused_by for answer in wrong if answer.alone} == set()


def test_answers_stand_in_the_file_of_their_lesson_and_each_has_a_name():
    names = {exercise.name for exercise, _ in EXERCISES}
    assert {answer.exercise for answer in answers()} <= names
    assert {path.stem for path in FOLDER.glob("*.toml")} == {lesson.name for lesson in course.lessons()}
    hows = [(answer.exercise, answer.how) for answer in answers()]
    assert len(set(hows)) == len(hows)


def test_what_somebody_left_is_left_for_its_own_exercise():
    patches = {path.stem for path in (NOTEBOOKS / "lab" / "exercises").glob("*.patch")}
    assert patches <= {exercise.start.left for exercise, _ in EXERCISES}
    for exercise, _ in EXERCISES:
        start = exercise.start
        assert bool(start.left) == bool(start.patch or start.commands or start.sql)
        assert start.left in ("", exercise.name)


def test_no_exercise_has_the_name_of_a_lesson():
    assert not {exercise.name for exercise, _ in EXERCISES} & {lesson.name for lesson in course.lessons()}
