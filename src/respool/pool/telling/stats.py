"""What a pool knows about itself, as an immutable value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

from respool.pool.core.histogram import HistogramValue, added
from respool.pool.core.state import PoolState

__all__ = ["PoolStats", "Times", "fetched", "stats_of", "together"]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One moment of a pool. Counters count from the pool's making; times are in seconds.

    ``idle + acquired + connecting == total <= max_size`` always holds.
    """

    name: str
    min_size: int
    max_size: int
    total: int  #: connections open or being opened
    idle: int
    acquired: int  #: held by somebody
    connecting: int
    waiting: int  #: callers in line now
    oldest_wait: float  #: how long the first in line has waited; 0.0 when nobody does
    peak: int  #: the most held at once, ever
    acquired_total: int  #: connections handed out
    waited_total: int  #: callers who had to get in line
    wait_time: HistogramValue  #: from asking for a connection to having it, of those who got one
    use_time: HistogramValue  #: from having one to giving it back
    create_time: HistogramValue  #: opening one
    used_seconds: float  #: time that connections were held, all together: of five for a second, five
    saturated_seconds: float  #: time during which every connection that may be open was held
    timeouts: int
    refused: int  #: callers turned away by ``max_waiting``
    connects: int
    connect_errors: int
    closes: Mapping[str, int]  #: closed connections by reason
    leaks: int  #: connections held for longer than ``leak_after``
    database_away: bool  #: connects fail and are tried one at a time
    suspended: bool
    closed: bool

    def __str__(self) -> str:
        return (
            f"pool {self.name!r}: {self.acquired} acquired, {self.idle} idle, {self.connecting} connecting, "
            f"{self.waiting} waiting, max_size {self.max_size}"
        )

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary of plain values, for JSON."""
        return asdict(self)


def stats_of(name: str, state: PoolState) -> PoolStats:
    """The numbers of this moment; the caller holds the pool's lock."""
    state.flush_figures()
    first = next(iter(state.line), None)
    wait_time = state.wait_time.value()
    return PoolStats(
        name=name,
        min_size=state.min_size,
        max_size=state.max_size,
        total=state.total,
        idle=len(state.idle),
        acquired=state.acquired,
        connecting=state.connecting,
        waiting=state.line.waiting,
        oldest_wait=0.0 if first is None else state.now - first.since,
        peak=state.peak,
        acquired_total=state.takes,
        waited_total=state.count["waited"],
        wait_time=state.wait_time.value(zeros=state.takes - wait_time.total),
        use_time=state.use_time.value(),
        create_time=state.create_time.value(),
        used_seconds=state.used_seconds,
        saturated_seconds=state.saturated_seconds + max(0.0, state.now - state.saturated_since),
        timeouts=state.count["timeouts"],
        refused=state.count["refused"],
        connects=state.count["connects"],
        connect_errors=state.count["connect_errors"],
        closes={reason.value: n for reason, n in state.closes.items()},
        leaks=state.count["leaks"],
        database_away=state.outage is not None,
        suspended=state.suspended,
        closed=state.closed,
    )


class Times(NamedTuple):
    """Single values in seconds, of those that the three histograms of a pool have counted."""

    wait_time: list[float]  #: without those of 0.0, of callers who got a connection at once
    use_time: list[float]
    create_time: list[float]


def fetched(name: str, state: PoolState) -> tuple[PoolStats, Times]:
    """The numbers of this moment, and the single values since the last time, where they are kept."""
    stats = stats_of(name, state)
    return stats, Times(state.wait_time.fetch(), state.use_time.fetch(), state.create_time.fetch())


def together(parts: Sequence[PoolStats]) -> PoolStats:
    """The numbers of several pools as those of one: of one for each event loop, of one in each process.

    Args:
        parts: at least one; the first gives the name.
    """
    first, *others = parts
    if not others:
        return first
    sums: dict[str, Any] = {}
    for name in (field.name for field in fields(first)):
        values = [getattr(part, name) for part in parts]
        if isinstance(first_value := values[0], bool):
            sums[name] = all(values) if name in ("closed", "suspended") else any(values)
        elif isinstance(first_value, HistogramValue):
            sums[name] = added(values)
        elif isinstance(first_value, int | float):
            sums[name] = max(values) if name == "oldest_wait" else sum(values)
        elif isinstance(first_value, Mapping):
            sums[name] = dict(sum(map(Counter, values), Counter()))
    return replace(first, **sums)
