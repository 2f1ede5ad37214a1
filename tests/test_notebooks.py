"""What holds for every notebook as it is committed. Nothing is executed here: nbval does that."""

import getpass
import itertools
import platform
import re
from pathlib import Path

import nbformat
import pytest
from lab import course
from nbval.plugin import get_sanitize_patterns

COURSE = Path(__file__).parents[1]
NOTEBOOKS = COURSE / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
RULES = (NOTEBOOKS / "sanitize.cfg").read_text(encoding="utf-8")

PICTURES = ("image/png", "image/jpeg")  # their bytes may spell anything
IGNORED = "nbval-ignore-output"
ONE_VERSION = "one-version"  # beside it: what only some versions of PostgreSQL have
LONGEST = 40  # minutes; a lesson that takes longer becomes two
SHAPE_ROWS = ["Afterwards you can", "Time", "You need", "Skip it if you can answer"]


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def text_of(path):
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def stored(path):
    """Every piece of stored output that is text, as (number of the cell, text)."""
    for cell in code_cells(path):
        for output in cell.outputs:
            shown = output.get("data") or {"text/plain": output.get("text", output.get("evalue", ""))}
            parts = (part for kind, part in shown.items() if kind not in PICTURES)
            for part in parts:
                yield cell.execution_count, part


every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_the_list_of_lessons_and_the_notebooks_agree():
    assert [lesson.notebook for lesson in course.lessons()] == [path.name for path in PATHS]


def test_every_lesson_begins_at_a_known_state_and_needs_earlier_lessons():
    earlier = set()
    for lesson in course.lessons():
        assert lesson.start in course.STARTS
        assert set(lesson.needs) <= earlier
        earlier.add(lesson.name)


@every_notebook
def test_every_code_cell_was_executed_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "store it again: make store LESSON=" + path.name[:2]


@every_notebook
def test_no_stored_output_is_an_error(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert [output.ename for output in outputs if output.output_type == "error"] == []


@every_notebook
def test_stored_output_tells_nothing_of_one_machine(path):
    machine = {str(Path.home()), str(COURSE), platform.node(), "ipykernel_"} - {"/", "localhost", ""}
    if getpass.getuser() not in ("root", "postgres", "learner"):
        machine.add(f"/{getpass.getuser()}/")
    for number, text in stored(path):
        for word in machine:
            assert word not in text, f"cell {number} shows {word}"
        found = re.search(r"(?<![\w.…<])/(root|home|Users|tmp|var|opt|usr|work|private)/\S*", text)
        assert not found, f"cell {number} shows the path {found[0]}"
        assert not re.search(r"course_[0-9a-f]{8}_", text), f"cell {number} shows the id of one checkout"
        assert not re.search(r"(127\.0\.0\.1|localhost):\d", text), f"cell {number} shows a port"
        assert "Warning" not in text, f"cell {number} shows a warning"
        assert "\x1b[" not in text, f"cell {number} shows colours"


@every_notebook
def test_cells_are_short(path):
    for cell in code_cells(path):
        assert cell.source.count("\n") < 20, f"cell {cell.execution_count} is too long to read at once"


def test_a_lesson_takes_a_newcomer_no_longer_than_it_says():
    too_long = {
        lesson.name: minutes
        for lesson in course.lessons()
        if (minutes := reading_time(NOTEBOOKS / lesson.notebook)) > min(lesson.minutes, LONGEST)
    }
    assert not too_long, "fold a topic, head a part More, or make two lessons of one"


def reading_time(path):
    """Minutes for a lesson without its exercises, what is folded, and the parts that are headed More.

    At 180 words a minute, 10 seconds to run a cell, 4 to read a line of code and 1.5 for one of output, of which
    nobody reads more than 25 lines. A measure that is the same for all lessons; no stopwatch.
    """
    seconds, more = 0.0, 0  # more: the level of the heading below which everything can wait
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)
            for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
                if heading := re.match(r"(#+) (.*)", part):
                    level, title = len(heading[1]), heading[2]
                    if title == "Exercises":
                        return round(seconds / 60)
                    if level <= more or not more:
                        more = level if title.startswith("More: ") else 0
                seconds += 0 if more else len(part.split()) / 3
        elif not more:
            seconds += 10 + 4 * sum(bool(line.strip()) for line in cell.source.splitlines())
            for output in cell.outputs:
                shown = output.get("text") or output.get("data", {}).get("text/plain", "")
                seconds += 1.5 * min(len(shown.splitlines()), 25)
    raise AssertionError("a lesson has exercises")


@every_notebook
def test_a_lesson_has_the_fixed_shape(path):
    lesson = course.find(path.stem)
    cells, text = read(path).cells, text_of(path)
    headings = re.findall(
        r"^(#+) (.+)$", re.sub(r"^~~~.*?^~~~", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )

    assert headings[0] == ("#", f"{lesson.number} {lesson.title}")
    assert cells[1].source == f'from lab import lesson\n\nhere = lesson("{lesson.name}")' or lesson.number == "00"
    assert re.findall(r"^\| ([A-Z][^|]+?) \|", text, re.MULTILINE)[:4] == SHAPE_ROWS
    assert f"| Time | {lesson.minutes} minutes, and {lesson.practice} for the exercises |" in text
    assert headings[-1] == ("##", "Key points")
    assert (
        3
        <= len([title for level, title in headings if level == "##" and title not in ("Key points", "Exercises")])
        <= 6
    )
    levels = [len(level) for level, _ in headings]
    assert all(lower - upper <= 1 for upper, lower in itertools.pairwise(levels)), "a heading level is skipped"
    assert levels.count(1) == 1
    assert text.rstrip().splitlines()[-1].startswith("Next: ")


@every_notebook
def test_links_lead_somewhere_and_pictures_have_words(path):
    for alternative, target in re.findall(r"(?<!`)!?\[([^\]]*)\]\(([^)]+)\)", text_of(path)):
        assert alternative.strip()
        if not target.startswith("http"):
            assert (NOTEBOOKS / target.partition("#")[0]).exists(), target


def test_at_most_one_cell_in_fifty_is_not_compared():
    cells = [cell for path in PATHS for cell in code_cells(path)]
    ignored = [
        cell for cell in cells if IGNORED in cell.metadata.get("tags", []) and ONE_VERSION not in cell.metadata.tags
    ]
    assert len(ignored) * 50 <= len(cells)


def test_every_rule_of_sanitize_is_parsed():
    written = re.findall(r"^\s*regex:", RULES, re.MULTILINE)
    assert len(get_sanitize_patterns(RULES)) == len(written)


def test_every_rule_of_sanitize_is_used():
    output = "\n".join(text for path in PATHS for _, text in stored(path))
    # the longest first: "…" stands in others, too
    for _, replacement in sorted(get_sanitize_patterns(RULES), key=lambda rule: -len(rule[1])):
        assert replacement in output, f"no stored output holds {replacement!r}"
        output = output.replace(replacement, "")


def test_the_readme_lists_the_lessons():
    readme = (COURSE / "README.md").read_text(encoding="utf-8")
    for lesson in course.lessons():
        assert f"| [{lesson.number} {lesson.title}](notebooks/{lesson.notebook}) | {lesson.minutes} min |" in readme


@every_notebook
def test_every_picture_has_its_text(path):
    """JupyterLab gives a PNG no alternative text, so its text stands above it; Mermaid has a title."""
    for cell in code_cells(path):
        for before, output in itertools.pairwise([{}, *cell.outputs]):
            shown = output.get("data", {})
            if "image/png" in shown:
                assert re.search(r"^(exit code|orders) ", before.get("text", ""), re.MULTILINE), cell.source
            assert "text/vnd.mermaid" not in shown or "\n    accTitle: " in shown["text/vnd.mermaid"], cell.source
    assert all("accTitle: " in drawn for drawn in re.findall(r"```mermaid\n.*?```", text_of(path), re.DOTALL))


def test_the_stored_table_of_lessons_names_each_with_its_minutes():
    """nbval does not compare it, since a learner's shows what was passed."""
    [cell] = [cell for cell in code_cells(NOTEBOOKS / "00_start_here.ipynb") if cell.source == "lessons()"]
    shown = re.sub(r"<[^>]+>", " ", cell.outputs[0]["data"]["text/html"])
    assert [
        lesson.title for lesson in course.lessons() if not re.search(f"{lesson.title} +{lesson.minutes} min", shown)
    ] == []


def test_the_workshops_timetables_follow_the_list_of_lessons_and_the_clock():
    text = (COURSE / "docs" / "workshop.md").read_text(encoding="utf-8")
    minutes = {lesson.notebook: lesson.minutes for lesson in course.lessons()}
    rows = re.findall(r"^\| (\d\d):(\d\d) \| (.+) \| (\d*) ?\|$", text, re.MULTILINE)
    assert len(rows) > 10
    for (hour, minute, what, length), following in itertools.pairwise(rows):
        if notebook := re.search(r"notebooks/(\w+\.ipynb)", what):
            assert int(length) == minutes[notebook[1]], what
        if length:
            assert int(hour) * 60 + int(minute) + int(length) == int(following[0]) * 60 + int(following[1]), what


PAGES = [*COURSE.glob("*.md"), *(COURSE / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
        found = (page.parent / target) if target else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], anchor
