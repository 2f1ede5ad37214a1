"""What an answer must keep of the rows that were there."""

from dataclasses import dataclass, field

from .finding import few
from .snapshot import Snapshot


@dataclass(frozen=True)
class Keeps:
    """Which rows and values an answer must keep: all, but for these.

    `moved` maps a (table, column) to the column's name at the end. Values of the (table, column)s
    in `changes` may become others. Those in `lost_on_the_way_back` cannot be there after a downgrade.
    """

    moved: dict = field(default_factory=dict)
    changes: tuple[tuple[str, str], ...] = ()
    lost_on_the_way_back: tuple[tuple[str, str], ...] = ()

    def lost(self, start: Snapshot, now: Snapshot) -> str:
        """What of the rows at the `start` is not there `now`, in words."""
        return _lost(start, now, self.moved, self.changes)

    def lost_back(self, start: Snapshot, back: Snapshot) -> str:
        """What of the rows at the `start` is not there when everything was undone, in words."""
        return _lost(start, back, {}, self.lost_on_the_way_back)


def _lost(start: Snapshot, now: Snapshot, moved: dict, except_for: tuple) -> str:
    said = []
    for table, rows in start.rows.items():
        after = {row.get("id"): row for row in now.rows.get(table, [])}
        gone = sum(row.get("id") not in after for row in rows)
        if gone:
            said.append(f"{gone} of {len(rows)} rows of {table} are gone")
            continue
        for column in start.schema.tables[table].columns:
            if (table, column) in except_for:
                continue
            new = moved.get((table, column), column)
            if (table, column) in moved and new not in now.schema.tables[table].columns:
                continue  # the rule for that column says so
            values = [row for row in rows if row[column] is not None]
            lost = sum(after[row["id"]].get(new) != row[column] for row in values)
            if lost:
                where = f"{table}.{column}" + (f" in {table}.{new}" if new != column else "")
                said.append(f"{lost} of {len(values)} values of {where} are gone or changed")
    return few(said)


EVERYTHING = Keeps()
