"""How samples are taken: round robin over the peers, in several rounds, each time in another order.

What disturbs the machine for a while then disturbs everybody, and the ratio of two peers, taken round by round, hardly
moves.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

__all__ = ["Budget", "Row", "Rows", "collect", "percentile"]

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """How much time to spend."""

    quick: bool = False

    def pick(self, full: T, quick: T) -> T:
        """The value for this run."""
        return quick if self.quick else full


@dataclass
class Row:
    """What was measured of one peer in one case: for each figure, one sample a round."""

    case: str
    peer: str
    key: str
    ours: bool = False
    samples: dict[str, list[float]] = field(default_factory=dict)
    series: list[list[float]] = field(default_factory=list)  #: for plots: points of the last round

    def add(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.samples.setdefault(name, []).append(value)

    def median(self, figure: str) -> float:
        return median(self.samples[figure])

    def spread(self, figure: str) -> tuple[float, float]:
        return min(self.samples[figure]), max(self.samples[figure])


class Rows(list[Row]):
    """All rows of one measurement."""

    def at(self, case: str, key: str) -> Row:
        """The row of one peer in one case. ``KeyError`` when it was not measured."""
        for row in self:
            if row.case == case and row.key == key:
                return row
        raise KeyError(f"{key} in {case}")

    def ratio(self, figure: str, above: tuple[str, str], below: tuple[str, str]) -> float:
        """The median over the rounds of one row's sample divided by another's of the same round."""
        pairs = zip(self.at(*above).samples[figure], self.at(*below).samples[figure], strict=True)
        return median(a / b if b else float("inf") for a, b in pairs)


def collect(
    case: str, peers: Sequence[Any], rounds: int, sample: Callable[[Any], dict[str, Any]], *, warm_up: bool = True
) -> Rows:
    """Take the samples of one case.

    Args:
        peers: classes of peers.
        rounds: how often to go round.
        sample: measures one peer once: its figures, and perhaps a ``series``.
        warm_up: go round once more at the beginning, and forget what came out.
    """
    rows = Rows(Row(case, peer.name, peer.key, peer.ours) for peer in peers)
    if warm_up:
        for peer in peers:
            sample(peer)
    for peer, row in _round_robin(list(zip(peers, rows, strict=True)), rounds):
        gc.collect()
        figures = sample(peer)
        row.series = figures.pop("series", [])
        row.add(figures)
    return rows


def _round_robin(items: list[T], rounds: int) -> Iterator[T]:
    for number in range(rounds):
        start = number % len(items)
        yield from items[start:] + items[:start]


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
