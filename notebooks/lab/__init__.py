"""What the notebooks import: `from lab import lesson`, then `here = lesson("05_add_column")`.

In the order in which a lesson opens: course (which lesson), server (which PostgreSQL: compose, embedded),
database (one of its own), opening (a copy of the bookshop), environment and commands (what `!` does),
here (what the lesson can do: pictures, web). Problems are told in plain words: problem.
"""

from .opening import lesson, lessons

__all__ = ["lesson", "lessons"]
