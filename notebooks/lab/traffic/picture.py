"""Runs under traffic as one picture: below each other, on the same axes."""

import io
import logging

# On a machine's first picture it would tell that it looks for fonts.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

from matplotlib.figure import Figure  # noqa: E402

# Okabe and Ito's colours, which the colour-blind can tell apart; marks and hatching say the same.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
LANES = {
    "blocked": "visitors blocked",
    "migration": "migration (orange: waits,\ngreen: works, line: statement)",
    "report": "report, beside it",
}
SLOW = 0.5  # seconds that a visitor notices


def draw(runs: list) -> bytes:
    """The runs, a lab.traffic.Measured each, as a PNG."""
    return _png(compose(runs))


def compose(runs: list) -> Figure:
    """The runs as a figure: of each the requests, and who ran and waited below them."""
    figure = Figure(figsize=(9, 3.6 * len(runs)), dpi=100, layout="constrained")
    axes = figure.subplots(2 * len(runs), 1, sharex=True, height_ratios=[5, 2] * len(runs), squeeze=False)[:, 0]
    highest = max(1.0, *(run.slowest for run in runs))
    for run, above, below in zip(runs, axes[::2], axes[1::2], strict=True):
        _requests(run, above, highest)
        _lanes(run, below)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, max(run.lasted for run in runs))
    axes[0].legend(loc="upper right", fontsize="small", ncols=3)
    return figure


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def draw_cost(cost) -> bytes:
    """How long visitors wait for each change of a lab.traffic.cost.Cost, by the size of the shop, as a PNG."""
    figure = Figure(figsize=(9, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    for change, colour, mark in zip(cost.changes, (BLUE, ORANGE, GREEN), "o^s", strict=True):
        for way, line, fill in (("quick", "-", colour), ("careful", ":", "none")):
            rows = cost.of(change, way)
            points = [row.orders for row in rows], [row.waited for row in rows]
            axes.plot(*points, mark + line, color=colour, markerfacecolor=fill, markersize=7, label=f"{change}, {way}")
    axes.set_xticks(cost.sizes, [f"{size:,}" for size in cost.sizes], rotation=30, ha="right")
    axes.set_xlabel("orders in the shop")
    axes.set_ylabel("longest wait of a visitor\n(seconds)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="small")
    return _png(figure)


def _requests(run, axes, highest: float) -> None:
    """Each request at the moment when it was due, as high as it took."""
    answered = [request for request in run.requests if request not in run.failed]
    for method, mark, colour, label in (("GET", "o", BLUE, "page"), ("POST", "^", ORANGE, "order")):
        chosen = [(due, seconds) for due, seconds, kind, _ in answered if kind == method]
        axes.plot(*zip(*chosen, strict=True) if chosen else ([], []), mark, color=colour, markersize=4, label=label)
    failed = [(due, seconds) for due, seconds, _, _ in run.failed]
    axes.plot(*zip(*failed, strict=True) if failed else ([], []), "x", color="black", markersize=7, label="failed")
    axes.set_ylim(-0.04 * highest, 1.1 * highest)
    axes.set_ylabel("answered after\n(seconds)")
    axes.grid(axis="y", alpha=0.3)
    if run.deployed is not None:
        axes.axvline(run.deployed, color=GREEN, linestyle="--")
        axes.annotate(
            f" {run.deploy or 'the new code'} serves beside",
            (run.deployed, highest),
            color=GREEN,
            va="center",
            fontsize=8,
        )
    slow = sum(seconds > SLOW for _, seconds, _, _ in run.requests)
    axes.set_title(
        f"{run.title}: {slow} of {len(run.requests)} requests took over {SLOW} s, "
        f"the slowest {run.slowest:.1f} s; {len(run.failed)} failed",
        loc="left",
        fontsize="medium",
    )


def _lanes(run, axes) -> None:
    """Who ran and who waited, as bars, with a mark where a statement of the migration began."""
    lanes = [lane for lane in reversed(LANES) if lane != "report" or run.sessions("report")]
    for height, lane in enumerate(lanes):
        place = (height - 0.35, 0.7)
        if lane == "blocked":
            spans = [(wait.began, wait.seconds) for wait in run.blocked]
            axes.broken_barh(spans, place, facecolor=BLUE)
            continue
        spans = [(began, ended - began) for began, ended in run.sessions(lane)]
        axes.broken_barh(spans, place, facecolor=GREEN if lane == "migration" else GREY)
        if lane == "migration":
            axes.broken_barh([(run.command["began"], run.ran)], place, facecolor="none", edgecolor="black")
        waits = [(wait.began, wait.seconds) for wait in run.waits if wait.of == lane]
        axes.broken_barh(waits, place, facecolor=ORANGE, hatch="..", edgecolor="white")
    _statements(run, axes, lanes.index("migration"))
    axes.set_yticks(range(len(lanes)), [LANES[lane] for lane in lanes])
    axes.set_ylim(-0.6, len(lanes) - 0.4)


def _statements(run, axes, height: int) -> None:
    """A mark for every statement, and its text where it is a new one."""
    told = {"COMMIT"}  # it would lie over the statement in front
    for began, statement in run.statements:
        axes.plot([began, began], [height - 0.45, height + 0.45], color="black", linewidth=1)
        if statement not in told:
            axes.annotate(
                statement,
                (began, height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
            )
        told.add(statement)
