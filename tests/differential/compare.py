"""Compares two runs of a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.differential.model import Program, Step, text
from tests.differential.traces import Seen, Trace

__all__ = ["Difference", "differences"]


@dataclass(frozen=True)
class Difference:
    """Something that was seen on one side only.

    Args:
        program: what was run.
        driver: with which driver.
        what: ``"outcome"``, ``"objects"``, ``"session"``, ``"rows"``, ``"warned"``, ``"heard"``, ``"order"`` after a step;
            ``"end"`` of each session; ``"objects"``, ``"rows"``, ``"leftovers"``, ``"out"``, ``"next"``, ``"heard"`` at the end; ``"hung"``
            where ours does not come to one.
        index: of the step in the traces; ``None`` at the end.
        stock, ours: what was seen.
        traces: the whole runs; for the end of a session that is not the last, up to there.
    """

    program: Program
    driver: str
    what: str
    index: int | None
    stock: Any
    ours: Any
    traces: tuple[Trace, Trace]

    @property
    def step(self) -> Step | None:
        """After which step."""
        return None if self.index is None else self.traces[0].steps[self.index].step

    def before(self, side: int, back: int = 1) -> Seen | None:
        """What was seen after the step before, on stock's side (0) or ours (1)."""
        steps = self.traces[side].steps
        index = (len(steps) if self.index is None else self.index) - back
        return steps[index] if 0 <= index < len(steps) else None

    def __str__(self) -> str:
        place = "at the end" if self.step is None else f"after {text(self.step)}"
        return f"{self.driver}: {self.what} {place}\n    stock: {self.stock!r}\n    ours:  {self.ours!r}\n{text(self.program)}"


_AFTER_A_STEP = ("outcome", "objects", "session", "rows", "warned", "heard")
#: What is in statements that no program executes: pings, questions to the catalogue.
_OF_THE_POOL = (";", "pg_catalog.", "respool_question")
_AT_THE_END = ("end", "objects", "rows", "leftovers", "out", "next", "heard")


def differences(program: Program, driver: str, stock: Trace, ours: Trace) -> Iterator[Difference]:
    """All differences of two runs, in the order in which they came up."""

    def difference(what: str, index: int | None, one: Any, other: Any) -> Difference:
        return Difference(program, driver, what, index, one, other, (stock, ours))

    if ours.hung:
        yield difference("hung", None, stock.hung, ours.hung)
        return
    over = 0  # so many sessions
    for index, (one, other) in enumerate(zip(stock.steps, ours.steps, strict=False)):
        if one.step is not other.step or one.lives != other.lives:
            yield difference("order", index, one.step, other.step)
            break
        for life in range(over, one.lives):
            if stock.end[life] != ours.end[life]:
                so_far = _until(stock, index, life), _until(ours, index, life)
                yield Difference(program, driver, "end", None, stock.end[life], ours.end[life], so_far)
        over = one.lives
        for what in _AFTER_A_STEP:
            if getattr(one, what) != getattr(other, what):
                yield difference(what, index, getattr(one, what), getattr(other, what))
    else:
        if len(stock.steps) != len(ours.steps):
            yield difference("order", None, len(stock.steps), len(ours.steps))
    for what in _AT_THE_END:
        one, other = getattr(stock, what), getattr(ours, what)
        if what == "next" and isinstance(one, dict) and isinstance(other, dict):
            one, other = _without_less(one, other)
        elif what == "next" and isinstance(one, tuple) and isinstance(other, tuple):
            continue  # who comes next fails by a listener in any case; with stock by what was left open before, too
        if what == "end":
            if ends := [pair for pair in zip(one[over:], other[over:], strict=True) if pair[0] != pair[1]]:
                yield difference(what, None, *ends[0])
        elif what in ("out", "leftovers"):
            if _more(one, other):
                yield difference(what, None, one, other)
        elif one != other:
            yield difference(what, None, one, other)


def _until(trace: Trace, index: int, life: int) -> Trace:
    """A run up to the end of one of its sessions."""
    return replace(trace, steps=trace.steps[:index], end=trace.end[: life + 1], end_states=trace.end_states[: life + 1])


def _more(stock: Any, ours: Any) -> bool:
    """Whether ours leaves behind what stock does not; less is no difference."""
    return bool(Counter(ours) - Counter(stock)) if isinstance(ours, list) else bool(ours > stock)


def _without_less(stock: dict[str, Any], ours: dict[str, Any]) -> tuple[Any, Any]:
    """Less is no difference: fewer prepared statements.

    A prepared statement that stock has not is one, unless it is a ping or asks the catalogue.
    """
    more = set(ours.get("prepared", ())) - set(stock.get("prepared", ()))
    theirs = {statement for statement in more if not any(word in statement for word in _OF_THE_POOL)}
    return {**stock, "prepared": set()}, {**ours, "prepared": theirs}
