"""Looks for a program that does something else on our side, and makes it small."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.differential.arena import Arena
from tests.differential.compare import Difference
from tests.differential.model import Program
from tests.differential.programs import program
from tests.differential.shrinking import smallest

__all__ = ["Tally", "kind_of", "search", "smaller"]


@dataclass
class Tally:
    """What was run."""

    programs: int = 0
    number: int = 0  #: the last program's
    found: Difference | None = None  #: the first difference


def search(arena: Arena, numbers: Iterable[int]) -> Tally:
    """Run programs until one shows a difference.

    Args:
        arena: where.
        numbers: which.
    """
    tally = Tally()
    for number in numbers:
        tally.programs += 1
        tally.number = number
        differences = arena.compare(program(arena.driver, number))
        if differences:
            tally.found = differences[0]
            break
    return tally


def smaller(arena: Arena, found: Difference) -> Difference:
    """The same kind of difference, of a program that is as small as can be found."""
    kind = kind_of(found)
    best = found

    def still(candidate: Program) -> bool:
        nonlocal best
        for difference in arena.compare(candidate):
            if kind_of(difference) == kind:
                best = difference
                return True
        return False

    if found.what == "hung":  # each of which takes its time
        smallest(found.program, still, budget=20)
    else:
        smallest(found.program, still)
    return best


def kind_of(difference: Difference) -> tuple[str, ...]:
    """By what differences are told apart."""
    kind = (difference.what, type(difference.step).__name__)
    if difference.what in ("outcome", "end"):
        return (*kind, *(_short(value) for value in (difference.stock, difference.ours)))
    return kind


def _short(outcome: object) -> str:
    is_error = isinstance(outcome, tuple) and outcome[:1] == ("error",)
    return str(outcome) if is_error or isinstance(outcome, str) else "a value"
