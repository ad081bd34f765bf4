"""A run held against the list, and the report of all runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.foreign.allowed import Entry
from tests.foreign.suites import STOCK, Run

__all__ = ["Outcome", "Verdict", "closing_line", "generic", "judge", "table"]


@dataclass(frozen=True)
class Outcome:
    """What one test came to."""

    test: str
    outcome: str
    seconds: float
    message: str
    leased: bool = False  #: a session of it has read on a lease


@dataclass
class Verdict:
    """A run held against the list."""

    run: Run
    outcomes: list[Outcome] = field(default_factory=list)
    complaints: list[tuple[str, str]] = field(default_factory=list)  #: of our classes, beside the tests
    listed: list[Outcome] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """How many tests came to what; one that may fail and does is ``xfailed``, in pytest's word."""
        listed = {outcome.test for outcome in self.listed}
        return Counter("xfailed" if outcome.test in listed else outcome.outcome for outcome in self.outcomes)


def generic(name: str) -> str:
    """A test's name without the database that the suite writes into it."""
    return re.sub(r"_(?:sqlite|postgresql)\+\w+?(?=::)", "", name)


def judge(verdict: Verdict, expected: Mapping[str, Entry], *, whole: bool) -> None:
    """Hold a run against the list; ``whole``: nothing was left out, so every listed test has to be in it."""
    allowed = verdict.run.suite.allowed.name
    broken = tuple(verdict.run.job.broken)
    for result in verdict.outcomes:
        if result.outcome == "failed" and (result.test in expected or result.test.startswith(broken)):
            verdict.listed.append(result)
        elif result.outcome == "failed":
            verdict.wrong.append(f"failed: {result.test}\n        {result.message}")
        elif result.outcome == "passed" and result.test in expected:
            verdict.wrong.append(f"passes, but is listed in {allowed}: {result.test}")
    for test, text in verdict.complaints:
        if test not in expected and not test.startswith(broken):
            verdict.wrong.append(f"beside {test}: {text}")
    if whole:
        _look_for_the_listed(verdict, expected)


def _look_for_the_listed(verdict: Verdict, expected: Mapping[str, Entry]) -> None:
    """What the lists name has to be there, what fails with the stock classes too has to fail with them, and we were there."""
    ran = {result.test for result in verdict.outcomes}
    files = {name.partition("::")[0] for name in ran}
    for name in expected:
        if name not in ran and name.partition("::")[0] in files:
            verdict.wrong.append(f"is listed in {verdict.run.suite.allowed.name}, but not there: {name}")
    if ran and verdict.run.mode in verdict.run.suite.leasing and not any(result.leased for result in verdict.outcomes):
        verdict.wrong.append("nothing was read on a lease: all of it ran in transactions, as with the stock classes")
    if verdict.run.mode == STOCK and ran:
        failed = [result.test for result in verdict.listed]
        for name in verdict.run.job.broken:
            if not any(test.startswith(name) for test in failed):
                verdict.wrong.append(f"passes with the stock classes, but suites.py says that it does not: {name}")


def table(verdicts: Sequence[Verdict]) -> str:
    """One line per run and file, or folder where that is run as a whole."""
    rows: list[tuple[str, ...]] = [
        ("mode", "database", "part", "passed", "xfailed", "failed", "skipped", "leased", "seconds")
    ]
    for verdict in verdicts:
        listed = {outcome.test for outcome in verdict.listed}
        parts: dict[str, list[Outcome]] = {}
        for outcome in verdict.outcomes:
            parts.setdefault(verdict.run.job.part(outcome.test.partition("::")[0]), []).append(outcome)
        for part, mine in sorted(parts.items()):
            count = Counter("xfailed" if outcome.test in listed else outcome.outcome for outcome in mine)
            numbers = [str(count[kind]) for kind in ("passed", "xfailed", "failed", "skipped")]
            numbers.append(str(sum(outcome.leased for outcome in mine)))
            seconds = f"{sum(outcome.seconds for outcome in mine):.0f}"
            rows.append((verdict.run.mode, verdict.run.job.name, part, *numbers, seconds))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(w) if n < 3 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def closing_line(verdicts: Sequence[Verdict], seconds: float) -> str:
    """The sum in pytest's form: what is wrong beside the tests, in the log or the list, counts as an error."""
    counts = sum((verdict.counts() for verdict in verdicts), Counter[str]())
    counts["errors"] = sum(len(verdict.wrong) for verdict in verdicts) - counts["failed"]
    words = [f"{counts[kind]} {kind}" for kind in ("failed", "passed", "skipped", "xfailed", "errors") if counts[kind]]
    return f"== {', '.join(words) or 'no tests ran'} in {seconds:.2f}s =="
