"""How long visitors are kept waiting by a change, by the size of the shop: what `make bench-traffic` has measured."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from .drawn import Drawn

FILE = Path(__file__).with_name("cost.csv")
COLUMNS = ("change", "way", "orders", "waited", "ran")


@dataclass(frozen=True)
class Row:
    """One change, made the "quick" or the "careful" way in a shop with so many `orders`, in seconds.

    `waited` is the longest time that a request was blocked by it, `ran` how long it took from its begin to its end.
    """

    change: str
    way: str
    orders: int
    waited: float
    ran: float


@dataclass(frozen=True)
class Cost(Drawn):
    """All that was measured: a table, and a picture."""

    rows: list[Row]

    @property
    def changes(self) -> list[str]:
        return list(dict.fromkeys(row.change for row in self.rows))

    @property
    def sizes(self) -> list[int]:
        return sorted({row.orders for row in self.rows})

    def of(self, change: str, way: str) -> list[Row]:
        """The rows of one line in the picture, smallest shop first."""
        return sorted((row for row in self.rows if (row.change, row.way) == (change, way)), key=lambda row: row.orders)

    def __repr__(self):
        lines = [
            "the longest time that a visitor was blocked, and at the end how long all of it took; in seconds",
            _line("orders", *(f"{size:,}" for size in self.sizes), "all took"),
        ]
        for change in self.changes:
            lines.append(change)
            for way in ("quick", "careful"):
                rows = self.of(change, way)
                lines.append(_line(f"  {way}", *(f"{row.waited:.2f}" for row in rows), f"{rows[-1].ran:.2f}"))
        return "\n".join(lines)

    def draw(self) -> bytes:
        from .picture import draw_cost  # matplotlib takes half a second, and most lessons draw none

        return draw_cost(self)


def _line(name: str, *figures: str) -> str:
    return f"{name:<10}" + "".join(f"{figure:>11}" for figure in figures)


def cost() -> Cost:
    """What stands in cost.csv."""
    return Cost(read(FILE.read_text(encoding="utf-8")))


def read(text: str) -> list[Row]:
    return [
        Row(row["change"], row["way"], int(row["orders"]), float(row["waited"]), float(row["ran"]))
        for row in csv.DictReader(text.splitlines())
    ]


def write(rows: list[Row]) -> str:
    """The text of cost.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.change, row.way, row.orders, f"{row.waited:.2f}", f"{row.ran:.2f}"] for row in rows)
    return text.getvalue()
