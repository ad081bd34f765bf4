"""What a pool has done together with those that it has replaced, and with those of event loops that are closed.

``Engine.dispose`` puts a new pool in the place of one, whose connections may still be out; and a loop takes its sub-pool
along.  Here nothing that was counted is lost by that, and what is open is counted wherever it belongs.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from respool.pool.drivers.forks import in_a_child
from respool.pool.drivers.monitor import Monitor
from respool.pool.telling.stats import PoolStats, Times, fetched, stats_of, together

__all__ = ["Ledger"]

Part: TypeAlias = tuple[PoolStats, Times]

_NO_TIMES = Times([], [], [])

_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    for ledger in list(_ledgers):
        ledger.forget()


in_a_child(_after_fork)


class Ledger:
    """See the head of the file."""

    def __init__(self) -> None:
        self._monitors: weakref.WeakSet[Monitor] = weakref.WeakSet()
        self._disposed: list[Monitor] = []  #: pools that were replaced; kept until all is back
        self._keeps = False
        self.forget()
        _ledgers.add(self)

    def forget(self) -> None:
        """This is a forked child: what was counted is the parent's."""
        self._lock = threading.Lock()
        self._past: PoolStats | None = None  #: of those that are gone
        self._times = _NO_TIMES  #: and theirs that nobody has fetched yet

    @property
    def keeps_times(self) -> bool:
        """Whether single values are kept until somebody fetches them."""
        return self._keeps

    def keep_times(self, keeps: bool) -> None:
        """Keep single values for :meth:`fetch`, or do so no more."""
        with self._lock:
            self._keeps = keeps
            monitors = list(self._monitors)
        for monitor in monitors:
            monitor.step(setattr, monitor.state, "keeps_times", keeps)

    def add(self, monitor: Monitor) -> None:
        """One more counts."""
        with self._lock:
            monitor.state.keeps_times = self._keeps
            self._monitors.add(monitor)

    def end(self, monitor: Monitor) -> None:
        """Its loop is closed, and it is about to be let go of."""
        self._settle(monitor, *_left(monitor, *monitor.step(fetched, monitor.name, monitor.state)))

    def take_over(self, other: Ledger, *, disposed: bool) -> None:
        """The pool of another ledger takes the place of this one's, and counts here from now on.

        Args:
            disposed: this one was disposed of: it closes what comes back, and is kept until then. Without that it goes
                when nobody has it any more, and its connections with it.
        """
        with self._lock:
            if disposed:
                self._disposed.extend(self._monitors)
        self.read([])  # most have nothing out: they are counted, and need not be kept
        for monitor in list(other._monitors):
            self.add(monitor)

    def read(self, current: Sequence[Monitor]) -> list[PoolStats]:
        """The numbers of all; of those that are not ``current`` without their limits, which count no more."""
        return [stats for stats, _ in self._read(current, _without_times)]

    def fetch(self, current: Sequence[Monitor]) -> tuple[list[PoolStats], Times]:
        """The same, and the single values that were kept since the last time."""
        parts = self._read(current, fetched)
        with self._lock:
            gone, self._times = self._times, _NO_TIMES
        return [stats for stats, _ in parts], _joined([gone, *(times for _, times in parts)])

    def _read(self, current: Sequence[Monitor], asked: Callable[[str, Any], Part]) -> list[Part]:
        with self._lock:
            monitors, past = list(self._monitors), self._past
        parts = [] if past is None else [(past, _NO_TIMES)]
        for monitor in monitors:
            part = monitor.step(asked, monitor.name, monitor.state)
            if not any(monitor is each for each in current):
                part = _left(monitor, *part)
                if not (part[0].total or part[0].waiting) and (asked is fetched or not self._keeps):
                    self._settle(monitor, part[0], _NO_TIMES)
            parts.append(part)
        return parts

    def _settle(self, monitor: Monitor, stats: PoolStats, times: Times) -> None:
        """Count one that is gone for good."""
        stats = replace(stats, total=0, idle=0, acquired=0, connecting=0, waiting=0, oldest_wait=0.0)
        with self._lock:
            if monitor in self._monitors:
                self._monitors.discard(monitor)
                self._disposed = [each for each in self._disposed if each is not monitor]
                self._past = stats if self._past is None else together([self._past, stats])
                self._times = _joined([self._times, times])


def _left(monitor: Any, stats: PoolStats, times: Times) -> Part:
    loop = getattr(monitor, "loop", None)
    if loop is not None and loop.is_closed():
        stats = replace(stats, waiting=0, oldest_wait=0.0, connecting=0, total=stats.idle + stats.acquired)
    return replace(stats, min_size=0, max_size=0, suspended=True, closed=True, database_away=False), times


def _without_times(name: str, state: Any) -> Part:
    return stats_of(name, state), _NO_TIMES


def _joined(parts: Sequence[Times]) -> Times:
    return Times(*([value for times in kind for value in times] for kind in zip(*parts, strict=True)))
