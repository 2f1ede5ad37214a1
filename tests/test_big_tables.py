"""Lesson 16 shows figures that `make bench-traffic` has measured, and nbval cannot measure again."""

from lab.traffic.cost import FILE, cost, read, write

SIZES = [10_000, 100_000, 300_000, 1_000_000]


def test_each_change_was_measured_both_ways_in_shops_of_all_sizes():
    assert cost().sizes == SIZES
    for change in cost().changes:
        for way in ("quick", "careful"):
            assert [row.orders for row in cost().of(change, way)] == SIZES
    assert len(cost().rows) == 3 * 2 * len(SIZES)


def test_the_quick_way_grows_with_the_shop_and_the_careful_way_does_not():
    for change in cost().changes:
        quick = [row.waited for row in cost().of(change, "quick")]
        assert quick[0] < quick[1] < quick[2] < quick[3]
        assert quick[-1] > 10 * quick[0]
        assert max(row.waited for row in cost().of(change, "careful")) < quick[-1] / 5


def test_all_figures_of_the_picture_stand_above_it_as_text(capsys):
    cost()._ipython_display_()
    lines = capsys.readouterr().out.splitlines()
    for change in cost().changes:
        for way, line in zip(("quick", "careful"), lines[lines.index(change) + 1 :], strict=False):
            figures = [f"{row.waited:.2f}" for row in cost().of(change, way)]
            assert line.split()[:-1] == [way, *figures]
    assert cost().draw().startswith(b"\x89PNG")


def test_figures_that_are_written_are_read_again():
    text = FILE.read_text(encoding="utf-8")
    assert write(read(text)) == text
