"""The doctor's report: for people at 80 columns, in colour where the terminal has it, and as JSON."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from respool.cli.doctor.facts import Facts, Plan
from respool.cli.doctor.judging import Found, limits_of, seconds
from respool.cli.doctor.kinds import LEVELS

__all__ = ["as_json", "as_text", "colours"]

_WIDTH = 80
_COLOURS = {"cannot connect": "1;31", "problem": "1;31", "warning": "33", "note": "36", "head": "1", "good": "32"}


def colours() -> bool:
    """Whether standard output is a terminal that shows colours, and nobody has said ``NO_COLOR``."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_text(facts: Facts | None, plan: Plan, found: Sequence[Found], url: str, *, colour: bool) -> str:
    """The report in lines of 80 characters.

    Args:
        facts: what was found out; ``None`` if there was no connection.
        plan: what was judged.
        found: what is wrong, the worst first.
        url: without secrets.
        colour: with the terminal's own signs for colours.
    """

    def paint(text: str, name: str) -> str:
        return f"\033[{_COLOURS[name]}m{text}\033[0m" if colour else text

    lines = [paint(url, "head"), ""]
    for each in found:
        kind = each.kind
        lines += textwrap.wrap(f"{kind.level.upper()}  {kind.code}  {kind.title}", _WIDTH)
        lines[-1] = lines[-1].replace(kind.level.upper(), paint(kind.level.upper(), kind.level), 1)
        lines += _wrapped(each.what, "  ", "  ")
        for fact in each.facts:
            lines += _wrapped(fact, "  · ", "    ")
        for number, line in enumerate(each.do):
            lines += _wrapped(line, "  do: " if number == 0 else "      ", "        ")
        lines.append("")
    if facts is not None:
        lines += [paint("What was found", "head"), *_table(_rows(facts, plan)), ""]
        lines += _wrapped(_total(found), "", "") if found else [paint("All is well.", "good")]
    if found:
        lines += _wrapped(f"More on each: respool explain {found[0].kind.code}", "", "")
    return "\n".join(lines)


def as_json(facts: Facts | None, plan: Plan, found: Sequence[Found], url: str) -> str:
    """The report as JSON: ``format`` counts changes that a reader has to know of."""
    settings = {name: getattr(plan.config, name) for name in plan.config.names()}
    told: dict[str, Any] = {
        "format": 1,
        "url": url,
        "ok": not any(each.kind.level in LEVELS[:2] for each in found),
        "found": [
            {
                "code": each.kind.code,
                "kind": each.kind.name,
                "level": each.kind.level,
                "title": each.kind.title,
                "what": each.what,
                "facts": each.facts,
                "do": each.do,
            }
            for each in found
        ],
        "plan": {"workers": plan.workers, "connections": plan.connections, "source": plan.source, "pool": settings},
        "facts": None if facts is None else asdict(facts),
    }
    return json.dumps(told, ensure_ascii=False, indent=2)


def _wrapped(text: str, first: str, further: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def _table(rows: Iterator[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for name, value in rows:
        lines += _wrapped(value, f"  {name:<13} ", " " * 16)
    return lines


def _total(found: Sequence[Found]) -> str:
    counts = [(level, sum(each.kind.level == level for each in found)) for level in LEVELS]
    return ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts if count) + "."


def _rows(facts: Facts, plan: Plan) -> Iterator[tuple[str, str]]:
    yield "server", f"{facts.product} {facts.version}, by {facts.driver}" + (", a replica" if facts.replica else "")
    if facts.user is not None:
        role = " (superuser)" if facts.superuser else ""
        yield "user", f"{facts.user}{role} in {facts.database}" + (f", {facts.isolation}" if facts.isolation else "")
    if proxy := facts.proxy:
        prepared = {True: ", prepared statements survive", False: ", prepared statements do not survive", None: ""}
        yield "proxy", f"{proxy.product}, {proxy.mode or 'unknown'} mode{prepared[proxy.keeps_prepared]}"
    for limit in limits_of(facts):
        used = "" if limit.used is None else f", {limit.used} in use now"
        yield "connections", f"{limit.connections} for {limit.whose}{used}"
    if facts.in_use:
        yield "in use", ", ".join(str(use) for use in facts.in_use[:6])
    times = [f"{name} {seconds(each.seconds, off='off')}" for name, each in facts.times.items()]
    if times:
        yield "times", ", ".join(times)
    if facts.galera:
        yield "Galera", ", ".join(f"{name} {value}" for name, value in facts.galera.items())
    if file := facts.file:
        busy = seconds(file.busy_timeout, off="0")
        yield "file", f"{file.path or 'in memory'}, journal {file.journal}, busy timeout {busy}"
    else:
        yield "TLS", facts.tls or ("none, on this machine" if facts.local else "none")
    yield "measured", f"a round trip {seconds(facts.trip)}, a connect {seconds(facts.connect)}"
    config = plan.config
    sizes = f"max_size {config.max_size}, min_size {config.min_size}"
    rests = f"max_idle {seconds(config.max_idle, off='none')}, max_lifetime {seconds(config.max_lifetime, off='none')}"
    workers = f"{plan.workers} {'worker' if plan.workers == 1 else 'workers'}"
    yield "judged", f"{workers} with {sizes}, {rests} ({plan.source})"
