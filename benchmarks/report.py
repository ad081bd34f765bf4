"""From rows to plain values, and from these to Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import Any

from benchmarks.correctness.table import TITLE, section
from benchmarks.correctness.table import target as target_of
from benchmarks.measures import Column, Measurement
from benchmarks.rounds import Row, Rows

__all__ = ["as_plain", "conditions_of", "page", "table"]

HEAD = """\
# Benchmarks

<!-- Written by `make bench`: do not edit. -->

respool beside its peers, in one run, interleaved: round robin over the peers, in another order each round. Figures are
medians over the rounds, with the least and the largest in brackets; ratios are taken round by round.
How it is done, and how to repeat it: [benchmarks/README.md](../benchmarks/README.md). The raw samples are in
`benchmarks/results/`.
"""


def as_plain(measurement: Measurement, rows: Rows) -> dict[str, Any]:
    """One measurement with its results, for JSON; the tables are made from this alone."""
    return {
        "name": measurement.name,
        "title": measurement.title,
        "text": measurement.text,
        "columns": [vars(column) for column in measurement.columns],
        "compare": measurement.compare,
        "rows": [
            vars(row)
            | {"ratio": _ratio(rows, row, measurement.compare)}
            | ({"repeat": measurement.repeat(row)} if measurement.repeat is not None else {})
            for row in rows
        ],
        "targets": [
            {"claim": target.claim, "limit": target.limit, "unit": target.unit, "value": _value(target, rows)}
            for target in measurement.targets
        ],
    }


def _ratio(rows: Rows, row: Row, figure: str | None) -> float | None:
    """How many times ours this is: the median of the rounds' ratios; ours is the first row of the case."""
    ours = next((other for other in rows if other.ours and other.case == row.case), None)
    if figure is None or ours is None:
        return None
    return median(a / b for a, b in zip(row.samples[figure], ours.samples[figure], strict=True))


def _value(target: Any, rows: Rows) -> float | None:
    try:
        return float(target.value(rows))
    except KeyError:  # a case that a quick run leaves out
        return None


def table(measured: dict[str, Any]) -> str:
    """The results and the targets of one measurement, in Markdown."""
    columns = [Column(**column) for column in measured["columns"]]
    compare = measured["compare"] is not None
    heads = ["", *(column.header for column in columns), *(["× respool"] if compare else [])]
    lines = []
    repeated = any("repeat" in row for row in measured["rows"])
    rules = ["---", *["---:"] * (len(heads) - 1), *(["---"] if repeated else [])]
    heads += ["by itself"] if repeated else []
    for case, rows in groupby(measured["rows"], key=lambda row: row["case"]):
        lines += ["", f"**{case}**", "", _line(heads), _line(rules)]
        for plain in rows:
            row = Row(**{name: value for name, value in plain.items() if name not in ("ratio", "repeat")})
            cells = [f"**{row.peer}**" if row.ours else row.peer, *(_cell(row, column) for column in columns)]
            cells += [_times(plain["ratio"])] if compare else []
            lines.append(_line([*cells, *([f"`{plain['repeat']}`"] if "repeat" in plain else [])]))
    if measured["targets"]:
        lines += ["", _line(["target", "measured", ""]), _line(["---", "---:", "---"])]
        lines += [_line(_verdict(target)) for target in measured["targets"]]
    return "\n".join(lines)


def _cell(row: Row, column: Column) -> str:
    if column.figure not in row.samples:
        return "–"
    text = _number(row.median(column.figure), column.digits)
    low, high = row.spread(column.figure)
    if column.spread and len(row.samples[column.figure]) > 1:
        text += f" ({_number(low, column.digits)}–{_number(high, column.digits)})"
    return text


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace(",", " ")


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _verdict(target: dict[str, Any]) -> list[str]:
    value = target["value"]
    if value is None:
        return [target["claim"], "", "not measured"]
    shown = f"{value:.2f}".rstrip("0").rstrip(".") + target["unit"]
    return [target["claim"], shown, "met" if value <= target["limit"] else "**not met**"]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page(runs: Sequence[dict[str, Any]], pictures: dict[str, str]) -> str:
    """The whole page.

    Args:
        runs: what each command has measured: its conditions, its measurements, and perhaps its ``cells``, verdicts.
        pictures: file names of plots in ``images/``, by the name of the measurement.
    """
    parts = [HEAD, _targets(runs), "## Conditions\n", *(conditions_of(results) for results in runs)]
    for results in runs:
        parts += [section(results)] if "cells" in results else []
        parts += _sections(results, pictures)
    return "\n".join(parts)


def _sections(results: dict[str, Any], pictures: dict[str, str]) -> list[str]:
    parts = []
    for measured in results["measurements"]:
        parts.append(f"## {measured['title']}\n\n{measured['text']}\n")
        if measured["name"] in pictures:
            alt = f"{measured['title']}: the figures of the table below as a picture"
            parts.append(f"![{alt}](images/{pictures[measured['name']]})\n")
        parts.append(table(measured).strip() + "\n")
    return parts


def _targets(runs: Sequence[dict[str, Any]]) -> str:
    lines = ["## Targets", "", _line(["", "target", "measured", ""]), _line(["---", "---", "---:", "---"])]
    for results in runs:
        if "cells" in results:
            lines.append(_line([f"[correctness]({_anchor(TITLE)})", *target_of(results)]))
        for measured in results["measurements"]:
            name = f"[{measured['name']}]({_anchor(measured['title'])})"
            lines += [_line([name, *_verdict(target)]) for target in measured["targets"]]
    return "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    return "#" + "".join(c for c in title.lower() if c.isalnum() or c in " -_").replace(" ", "-")


def conditions_of(results: dict[str, Any]) -> str:
    """One paragraph: command, machine, versions, who was left out."""
    facts = results["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    left_out = "".join(f" Left out: {key} ({why})." for key, why in results.get("left_out", {}).items())
    return (
        f"`{facts['command']}`, {facts['date']}. {facts['python']} on {facts['system']}, {facts['cores']} cores"
        f" ({facts['cpu']}), load before the run {facts['load_before']}. {versions}.{left_out}\n"
    )
