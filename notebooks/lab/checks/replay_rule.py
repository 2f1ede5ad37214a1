"""The rule that replays an answer's revisions, with what it has to say of each step."""

from ..schema import LEGEND, Schema, differences
from .backup import copy_of_live
from .evidence import Evidence
from .finding import Finding, Rule, few
from .keeps import EVERYTHING, Keeps
from .replay import Step
from .snapshot import Snapshot


def replay(
    keeps: Keeps = EVERYTHING,
    pages: tuple[str, ...] = (),
    may_wait: bool = False,
    last: tuple[str, ...] = (),
    below: str = "",
    written: str = "",
) -> Rule:
    """The revisions run from the starting data up, back, down to nothing and up again, and the models agree.

    After going up nothing is lost, the schema is that of the live database, and `pages` answer: "GET /path", or
    "POST /path form"; either may end in " shows ...", a text on the page. After going back all is as it was, but for
    what `keeps` lets go, also with the rows in the tables that `written` adds: SQL of another version that serves
    beside. With `may_wait` new revisions need not be applied in the live database. The commands in `last`, as in
    "flask seed", succeed on the tables that are empty at the end.

    Where the revision in question is applied at the start already, `below` names the one before it: going back to
    that one, the schema is what the revisions make up to there.
    """

    def examine(evidence: Evidence) -> Finding | None:
        start, steps = evidence.start, evidence.replay(pages, last, below, written)
        posted = [page for page in pages if page.startswith("POST")] + [written] * bool(written)
        for name, step in steps.items():
            if step.failed:
                return _failed(evidence, name, step, posted)
            if name == "up" and (
                finding := _went_up(keeps, start, step.after) or _by_hand(evidence, step.after, may_wait)
            ):
                return finding
            if name == ("below" if below else "back"):
                before = step.after.schema if below else start.schema
                if finding := _came_back(keeps, start, steps["back"], before):
                    return finding
            if name == "down" and step.after.schema.tables:
                return Finding(
                    "after flask db downgrade base something is left.",
                    "tables: " + ", ".join(step.after.schema.tables),
                    "an empty database",
                    "downgrade() in the revisions that make them",
                )
            if name == "again" and (other := differences(steps["up"].after.schema, step.after.schema)):
                from_the_start = [change for change in other if change in differences(start.schema, step.after.schema)]
                return Finding(
                    "on an empty database your revisions make another schema.",
                    few([text for _, _, text in other]),
                    f"the same schema from nothing and from the starting data {LEGEND}",
                    "what upgrade() no longer makes, and only the starting data had"
                    if other == from_the_start
                    else "whether upgrade() depends on what it finds",
                )
        return None

    return Rule("replay", examine)


def way_back() -> Rule:
    """From the live database the revisions can be undone as well, and bring back what was there at the start.

    It is tried on a copy. The replay may go well where this does not: a revision may have been applied, losing
    something, and been mended afterwards.
    """

    def examine(evidence: Evidence) -> Finding | None:
        problem = "the way back, tried on a copy of your database, does not bring back what was there."
        command = f"flask db downgrade {' '.join(evidence.start.applied)}"
        url = copy_of_live(evidence)
        failed, _ = evidence.commands.run(url, command)
        lost = failed or EVERYTHING.lost_back(evidence.start, Snapshot.read(url))
        if not lost:
            return None
        return Finding(
            problem,
            lost,
            f"{command} succeeds, and no value is missing",
            "what was applied before the file was as it is now; "
            f'where data is lost for good, begin again with exercise("{evidence.exercise.name}")',
        )

    return Rule("way back", examine)


def _failed(evidence: Evidence, name: str, step: Step, posted: list[str]) -> Finding:
    """What to say of a step that failed; the place in the learner's files is known better than by any advice.

    `posted` are the forms and the SQL that were sent before going back: the rows that they left may be what stands in
    the way.
    """
    problem, advice = {
        "load": ("the application does not start.", ""),
        "up": (
            "your revisions do not run on a fresh copy of the starting data.",
            "upgrade() in your revision; was something done by hand that it should do?",
        ),
        "undo": ("one of your revisions cannot be undone.", "downgrade() in your revisions"),
        "redo": (
            "when one of your revisions is undone, it cannot be applied again.",
            "whether each downgrade() undoes all that its upgrade() does",
        ),
        "back": ("your revision cannot be undone.", "downgrade() in your revision"),
        "down": ("the revisions cannot be undone down to an empty database.", "downgrade() in the revisions"),
        "below": ("on an empty database your revisions do not run.", "upgrade() in the revisions"),
        "again": (
            "on an empty database your revisions do not run.",
            "upgrade() in your revision: does it need rows that an empty database does not have?",
        ),
        "check": (
            "models and revisions do not agree.",
            "bookshop/models.py, beside what your revision does; a table in public needs a model",
        ),
    }.get(
        name.split()[0], ("the website does not work any more.", "the code and the templates that use what you changed")
    )
    if name == "again" and "already exists" in step.failed:
        problem = "after flask db downgrade base your revisions cannot be applied again."
        advice = "what downgrade() leaves behind: a type, a function or a sequence does not go with its table"
    if name.startswith("flask "):
        problem, advice = f"{name} does not work any more.", "the code and the SQL that use what you changed"
    expected = step.command if " shows " in step.command else f"{step.command} succeeds"
    if name.startswith(("undo", "back")) and posted:
        expected += f", after {' and '.join(posted)}"
    return Finding(problem, step.failed, expected, _where(evidence, name, step) or advice)


def _where(evidence: Evidence, name: str, step: Step) -> str:
    """The place where a step failed; on the way back the cause may be in a file that came before."""
    file = step.where.partition(", line ")[0]
    as_found = file in evidence.begun["files"] and file not in evidence.changed()
    if name.split()[0] in ("undo", "back", "down") and as_found and "does not exist" in step.failed:
        return f"{step.where}, or, since others have applied that file, a downgrade() above it that drops the same"
    return step.where


def _went_up(keeps: Keeps, start: Snapshot, now: Snapshot) -> Finding | None:
    if lost := keeps.lost(start, now):
        return Finding(
            "your revision loses data when it runs on a fresh copy of the starting data.",
            lost,
            "every row and every value, moved by the revision itself",
            "upgrade() in your revision",
        )
    return None


def _by_hand(evidence: Evidence, now: Snapshot, may_wait: bool) -> Finding | None:
    start, live, made = evidence.start, evidence.live, now
    if may_wait and live.applied != now.applied:
        made = start if live.applied == start.applied else live  # in between, there is nothing to compare with
    if by_hand := differences(made.schema, live.schema):
        return Finding(
            "your database is not what your revisions make of a fresh copy.",
            few([text for _, _, text in by_hand]),
            f"the same schema, made by the revisions alone {LEGEND}",
            "what was done by hand, or which file was changed after it had been applied; "
            "to let a file run again, flask db downgrade with the file as it was (git stash, git stash pop), then "
            "flask db upgrade. Where that downgrade fails, begin again with "
            f'exercise("{evidence.exercise.name}"), and put your files back from work/earlier',
        )
    if made is now and (others := _other_values(start, now, live)):
        return Finding(
            "your database holds other values than your revisions put there.",
            few(others),
            "the same values, filled in by the revisions alone",
            "what was filled in by hand, or which file was changed after it had been applied",
        )
    return None


def _other_values(start: Snapshot, now: Snapshot, live: Snapshot) -> list[str]:
    """Where the new columns of rows that were there at the start hold something else in `live` than `now`."""
    others = []
    for table, rows in start.rows.items():
        new = now.schema.tables[table].columns.keys() - start.schema.tables[table].columns.keys()
        made, found = ({row.get("id"): row for row in snapshot.rows[table]} for snapshot in (now, live))
        for column in sorted(new):
            ids = [row["id"] for row in rows if row.get("id") in made and row.get("id") in found]
            differ = sum(made[row].get(column) != found[row].get(column) for row in ids)
            if differ:
                others.append(f"{table}.{column}: {differ} of {len(ids)} values")
    return others


def _came_back(keeps: Keeps, start: Snapshot, step: Step, before: Schema) -> Finding | None:
    if left := differences(before, step.after.schema):
        return Finding(
            f"after {step.command} the schema is not what it was before.",
            few([text for _, _, text in left]),
            f"downgrade() undoes all that upgrade() does {LEGEND}",
            "downgrade() in your revision",
        )
    if lost := keeps.lost_back(start, step.after):
        return Finding(
            f"after {step.command} data is missing.",
            lost,
            "what was there at the beginning",
            "downgrade() in your revision",
        )
    return None
