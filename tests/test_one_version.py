"""What cells show that nbval does not compare, since only some versions of PostgreSQL have it."""

import nbformat
import pytest
from homes import NOTEBOOKS
from kernel import Kernel

TAG = "one-version"
TAGGED = {
    (path.stem, cell.source): [other.source for other in notebook.cells[:place] if other.cell_type == "code"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    for notebook in [nbformat.read(path, as_version=4)]
    for place, cell in enumerate(notebook.cells)
    if TAG in cell.metadata.get("tags", [])
}


@pytest.fixture(scope="module")
def kernel(home):
    kernel = Kernel()
    yield kernel
    kernel.close()


def the_cell(lesson: str) -> tuple[str, list[str]]:
    """The one tagged cell of a lesson, and the code cells before it."""
    [(source, before)] = [(source, before) for (name, source), before in TAGGED.items() if name == lesson]
    return source, before


def test_each_of_these_cells_has_its_test():
    assert {lesson for lesson, _ in TAGGED} == {"15_locks", "16_big_tables"}


def test_from_18_on_not_null_itself_can_be_not_valid(kernel):
    source, before = the_cell("15_locks")
    kernel.run(before[0])
    kernel.run("import psycopg2\nhere.sql(\"ALTER TABLE orders ADD channel varchar(20) DEFAULT 'web'\")")
    kernel.run(next(cell for cell in before if "def transaction(" in cell))
    shown = kernel.run(source)
    if int(kernel.run('print(psycopg2.connect("").server_version)')) < 180000:
        assert shown == "This server is older than PostgreSQL 18.\n"
        return
    assert shown.splitlines() == [
        "ADD CONSTRAINT orders_channel_not_null NOT NULL channel NOT VALID",
        "    reads no row, holding AccessExclusiveLock",
        "VALIDATE CONSTRAINT orders_channel_not_null",
        "    reads every row, holding ShareUpdateExclusiveLock",
    ]


def test_what_only_18_has_costs_nothing_there_and_is_refused_before(kernel):
    source, before = the_cell("16_big_tables")
    kernel.run('from lab import lesson\nhere = lesson("05_add_column")')  # a million orders are not needed for it
    for beginning in ("import psycopg2", "MODES = ", "trial = ", "GO_ON = "):
        kernel.run(next(cell for cell in before if cell.startswith(beginning)))
    lines = kernel.run(source).splitlines()
    if int(kernel.run('print(psycopg2.connect("").server_version)')) < 180000:
        assert lines[-1] == 'This server knows neither: syntax error at or near "VIRTUAL"'
        return
    assert [line[:60].split()[-1] for line in lines[1:]] == ["-", "-"]
    assert all("nobody     ACCESS EXCLUSIVE" in line for line in lines[1:])
