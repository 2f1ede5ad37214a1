"""What the notebooks import: `from lab import lesson`, then `here = lesson("05_add_column")`.

In the order in which a lesson opens: course (which lesson), server (which PostgreSQL: compose, embedded),
database (one of its own), starting and opening (a copy of the bookshop), environment and commands (what `!` does),
here (what the lesson can do: pictures of schema and revisions, web). An exercise of exercises opens like a lesson
and is checked by checks; progress is kept. Problems are told in plain words: problem.
"""

from .opening import exercise, lesson, lessons

__all__ = ["exercise", "lesson", "lessons"]
