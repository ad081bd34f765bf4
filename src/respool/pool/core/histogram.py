"""How long things took: counts in fixed buckets, which add up over pools and processes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BOUNDS", "Histogram", "HistogramValue", "added"]

#: How many single values are kept for whoever wants them; of those beyond only the counts are known.
_KEPT = 10_000

#: Upper bounds of the buckets in seconds. OpenTelemetry's advice for database operations, with finer ones below.
BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """One moment of a histogram: ``counts[i]`` values were at most ``bounds[i]``, the last count is of those above."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: int
    sum: float
    max: float

    @property
    def mean(self) -> float:
        """The mean in seconds; 0.0 when there is nothing yet."""
        return self.sum / self.total if self.total else 0.0

    def quantile(self, share: float) -> float:
        """An upper bound in seconds of this share (0 to 1) of the values, as exact as the buckets are."""
        rank, seen = share * self.total, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= rank:
                return min(bound, self.max)
        return self.max


class Histogram:
    """Counts values in constant time."""

    __slots__ = ("_counts", "_kept", "_max", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._kept: list[float] | None = None  #: the single values, while somebody fetches them
        self._sum = 0.0
        self._max = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds
        if seconds > self._max:
            self._max = seconds
        if self._kept is not None and len(self._kept) < _KEPT:
            self._kept.append(seconds)

    def add_zeros(self, count: int) -> None:
        """Count so many values of 0.0."""
        self._counts[0] += count
        if self._kept is not None:
            self._kept.extend([0.0] * min(count, _KEPT - len(self._kept)))

    def add_all(self, values: list[float]) -> None:
        """Count these, and empty the list; for many a fraction of the price of one by one."""
        if len(values) < 2:
            if values:
                self.add(values.pop())
            return
        values.sort()
        below = 0
        for bucket, bound in enumerate(BOUNDS):
            upto = bisect_right(values, bound, below)
            self._counts[bucket] += upto - below
            below = upto
            if upto == len(values):
                break
        self._counts[-1] += len(values) - below
        self._sum += sum(values)
        if values[-1] > self._max:
            self._max = values[-1]
        if self._kept is not None:
            self._kept.extend(values[: _KEPT - len(self._kept)])
        values.clear()

    @property
    def keeps(self) -> bool:
        """Whether the single values are kept until somebody fetches them, beside their counts."""
        return self._kept is not None

    @keeps.setter
    def keeps(self, keeps: bool) -> None:
        if keeps is not self.keeps:
            self._kept = [] if keeps else None

    def fetch(self) -> list[float]:
        """The single values since the last time, as far as they were kept."""
        if not self._kept:
            return []
        kept, self._kept = self._kept, []
        return kept

    def value(self, zeros: int = 0) -> HistogramValue:
        """This moment; ``zeros`` are values of 0.0 that were counted elsewhere."""
        counts = (self._counts[0] + zeros, *self._counts[1:])
        return HistogramValue(BOUNDS, counts, sum(counts), self._sum, self._max)


def added(parts: Sequence[HistogramValue]) -> HistogramValue:
    """Several histograms as one; all have the same buckets."""
    counts = tuple(map(sum, zip(*(part.counts for part in parts), strict=True)))
    return HistogramValue(BOUNDS, counts, sum(counts), sum(part.sum for part in parts), max(p.max for p in parts))
