"""What a check says of an answer."""

from collections.abc import Callable
from dataclasses import dataclass

LINES_SHOWN = 4


@dataclass(frozen=True)
class Finding:
    """What speaks against an answer: the problem in a sentence, what was found, what was expected, where to look."""

    problem: str
    found: str = ""
    expected: str = ""
    look: str = ""


@dataclass(frozen=True)
class Rule:
    """One thing that an answer is held to. `examine(evidence)` gives a Finding, or None for a good answer."""

    name: str
    examine: Callable[..., Finding | None]


def few(lines: list[str]) -> str:
    """The first lines, and how many more there are."""
    more = len(lines) - LINES_SHOWN
    return "\n".join(lines[:LINES_SHOWN] + ([f"and {more} more"] if more > 0 else []))
