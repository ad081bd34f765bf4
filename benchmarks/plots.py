"""The plots of the page, made from the plain results."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

__all__ = ["draw"]

STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "respool",  # the same picture has the same bytes
}
COLORS = {
    "respool": "#1a7f5a",
    "respool-engine": "#63c29b",
    "psycopg_pool": "#8f8f8f",
    "asyncpg": "#5b7db1",
    "stock": "#d1495b",
    "none": "#cccccc",
    "bare": "#cccccc",
    "floor": "#cccccc",
}
#: What stands for the colours of paper and ink where the reader's screen is dark; the other pictures have the same.
_PAPER, _INK = "#0d1117", "#e6edf3"
_DARK_SIDE = (
    "<style>@media (prefers-color-scheme: dark){"
    f'[style*="fill: #ffffff"]{{fill:{_PAPER} !important}}'
    f"text{{fill:{_INK}}}"
    f'[style*="stroke: #000000"]{{stroke:{_INK} !important}}'
    "}</style>"
)
OURS, OTHERS = COLORS["respool"], COLORS["psycopg_pool"]


def draw(results: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draw a plot for each measurement that has one; returns the file names by the measurements' names."""
    plots: dict[str, Callable[[dict[str, Any]], None]] = {
        "fairness": _fairness,
        "timeouts": _timeouts,
        "raw": _bars,
        "engine": _bars,
        "waiters": _waiters,
        "shrink": _shrink,
        **dict.fromkeys(("read-one", "list-100", "write-one", "read-call-read", "shop"), _rates),
        "overload": _goodput,
    }
    pictures = {}
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # any name is fine
        for measured in results["measurements"]:
            if measured["name"] in plots:
                plots[measured["name"]](measured)
                pictures[measured["name"]] = name = f"bench-{measured['name']}.svg"
                made = StringIO()
                plt.savefig(made, format="svg", metadata={"Date": None})
                plt.close()
                (folder / name).write_text(made.getvalue().replace(" <defs>", f" {_DARK_SIDE}\n <defs>", 1))
    return pictures


def _panels(measured: dict[str, Any], height: float) -> list[tuple[list[dict[str, Any]], Axes]]:
    """One panel for each case, two in a row at most."""
    cases = list(dict.fromkeys(row["case"] for row in measured["rows"]))
    across = len(cases) if len(cases) < 4 else 2
    down = len(cases) // across
    _, axes = plt.subplots(down, across, figsize=(4.7 * across, height * down), squeeze=False)
    panels = []
    for case, axis in zip(cases, axes.flat, strict=True):
        axis.set_title(case)
        panels.append(([row for row in measured["rows"] if row["case"] == case], axis))
    return panels


def _lines(rows: list[dict[str, Any]], axis: Axes, **style: Any) -> None:
    for row in reversed(rows):  # ours on top
        axis.plot(*zip(*row["series"], strict=True), label=row["peer"], color=COLORS[row["key"]], lw=2, **style)
    _legend(axis)


def _legend(axis: Axes) -> None:
    """Under the picture, ours first."""
    handles, labels = axis.get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
    axis.legend(handles[::-1], labels[::-1], ncols=2, columnspacing=1.0, fontsize=8, **place)


def _horizontal(measured: dict[str, Any], figure: str, label: str) -> None:
    most = max(
        sum(row["case"] == case for row in measured["rows"]) for case in {row["case"] for row in measured["rows"]}
    )
    for rows, axis in _panels(measured, max(2.2, 0.8 + 0.25 * most)):
        values = [median(row["samples"][figure]) for row in rows]
        colors = [COLORS.get(row["key"], OURS if row["ours"] else OTHERS) for row in rows]
        bars = axis.barh([row["peer"].replace("`", "") for row in rows], values, color=colors)
        axis.bar_label(bars, [f"{value:,.{0 if value >= 100 or not value % 1 else 1}f}" for value in values], padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.set_xlabel(label)


def _fairness(measured: dict[str, Any]) -> None:
    for rows, axis in _panels(measured, 3.4):
        _lines(rows, axis)
        axis.set_yscale("symlog", linthresh=1)
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.set_ylim(bottom=0)
        axis.set_xlabel("callers, the unluckiest first")
        axis.set_ylabel("times served (log)")


def _timeouts(measured: dict[str, Any]) -> None:
    _horizontal(measured, "timeouts", "callers that gave up")


def _bars(measured: dict[str, Any]) -> None:
    _horizontal(measured, "us", "µs: take and give back")


def _rates(measured: dict[str, Any]) -> None:
    _horizontal(measured, "rate", "requests a second")


def _goodput(measured: dict[str, Any]) -> None:
    _horizontal(measured, "goodput", "answered in time, % of what the pool can serve")


def _waiters(measured: dict[str, Any]) -> None:
    _, axis = plt.subplots(figsize=(6, 3.6))
    in_tasks = [row for row in measured["rows"] if row["case"].endswith("tasks")]
    for key in reversed(dict.fromkeys(row["key"] for row in in_tasks)):
        rows = [row for row in in_tasks if row["key"] == key]
        waiting = [int(row["case"].removesuffix(" tasks").replace(" ", "")) for row in rows]
        costs = [median(row["samples"]["us"]) for row in rows]
        axis.plot(waiting, costs, "o-", color=COLORS[key], lw=2, label=rows[0]["peer"])
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("tasks in line (log)")
    axis.set_ylabel("µs a hand-off")
    _legend(axis)


def _shrink(measured: dict[str, Any]) -> None:
    for rows, axis in _panels(measured, 3.4):
        _lines(rows, axis, drawstyle="steps-post")
        axis.set_ylim(bottom=0)
        axis.set_xlabel("seconds after the burst")
        axis.set_ylabel("open connections")
