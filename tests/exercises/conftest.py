"""A kernel that stays open for all answers, and a table of what was played."""

from collections import defaultdict

import pytest
from kernel import Kernel


@pytest.fixture(scope="module")
def kernel(home):
    kernel = Kernel()
    yield kernel
    kernel.close()


def pytest_terminal_summary(terminalreporter):
    """For each lesson: exercises, answers that pass and that are refused, and the slowest check."""
    rows = defaultdict(lambda: defaultdict(list))
    for report in terminalreporter.stats.get("passed", []):
        played = dict(report.user_properties)
        if report.when == "call" and "check" in played:
            for name in ("exercise", "outcome", "check", "again"):
                rows[played["exercise"][:2]][name].append(played[name])
    for lesson, row in sorted(rows.items()):
        terminalreporter.write_line(
            f"lesson {lesson}: {len(set(row['exercise']))} exercises, {row['outcome'].count('passed')} answers passed, "
            f"{row['outcome'].count('refused')} refused, slowest check {max(row['check']):.1f} s, "
            f"{sum(row['again'])} checked again alone"
        )
