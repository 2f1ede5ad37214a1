"""What was opened and what was passed in this checkout, kept on disk for every kernel and terminal."""

from . import exercises, home
from .course import Lesson

RECORD = "progress"


def note_passed(exercise: str) -> None:
    """Remember that `exercise` was passed."""
    with home.changing(RECORD) as record:
        record["passed"] = sorted(_passed(record) | {exercise})


def passed(lesson: Lesson) -> int:
    """How many exercises of `lesson` were passed."""
    return len(_passed(home.read_record(RECORD)) & {exercise.name for exercise in exercises.of(lesson)})


def was_opened(lesson: Lesson) -> bool:
    """Whether `lesson` was opened."""
    return "kind" in home.read_record(f"lessons/{lesson.name}")


def of(lesson: Lesson) -> str:
    """The progress in `lesson`, in words."""
    done, there_are = passed(lesson), len(exercises.of(lesson))
    words = ["opened"] * was_opened(lesson) + [f"{done} of {there_are} exercises passed"] * bool(done)
    return ", ".join(words)


def _passed(record: dict) -> set[str]:
    """A damaged record counts as an empty one."""
    names = record.get("passed")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
