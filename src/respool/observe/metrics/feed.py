"""Hands what the pools have counted to those who have to be given it: once in a second, and whenever somebody reads.

OpenTelemetry's histograms want single values, and Prometheus in several processes wants changes.  There is one feed, since
the single values can be fetched once only.
"""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any

from respool.database.base import DatabaseBase
from respool.engine import FairPool
from respool.observe.metrics.names import BUCKETS
from respool.observe.metrics.readings import Labels, Reading, read
from respool.observe.observation import observation
from respool.observe.observing import observe
from respool.observe.recording.other_pools import other_pool
from respool.observe.recording.recorder import recorder_of
from respool.pool.core.histogram import HistogramValue
from respool.pool.drivers.clock import Clock
from respool.pool.drivers.forks import in_a_child

__all__ = ["Exported", "Feed", "Values", "feed"]

#: Seconds between two times.
_EVERY = 1.0
#: Seconds that a fork waits at most.
_PATIENCE = 1.0


class Exported:
    """The databases of one exporter; they are not kept alive by it."""

    def __init__(self) -> None:
        self._databases: weakref.WeakSet[DatabaseBase[Any]] = weakref.WeakSet()

    def add(self, databases: Iterable[Any]) -> None:
        """These too; they are observed from now on."""
        observe(*databases)
        for database in databases:
            self._databases.add(database)
            if not isinstance(database.pool, FairPool):
                other_pool(getattr(database.engine, "sync_engine", database.engine))

    def remove(self, databases: Iterable[Any]) -> None:
        """These no more. They stay observed: somebody else may look."""
        for database in databases:
            self._databases.discard(database)

    @property
    def names(self) -> set[str]:
        """Their names; and none, which errors have that are about no database."""
        return {"", *(database.name for database in self._databases)}

    def __iter__(self) -> Any:
        return iter(sorted(self._databases, key=lambda database: database.name))

    def __bool__(self) -> bool:
        return bool(self._databases)


class Values:
    """What one exporter has been given of the histograms; gives the single values that are missing to it.

    Most are known one by one.  Of others, as callers that got a connection at once, only the bucket is; these come as
    values of that bucket, as near to their mean as they can be.
    """

    def __init__(self) -> None:
        self._sent: dict[tuple[str, Labels], HistogramValue] = {}

    def forget(self) -> None:
        """This is a forked child, whose histograms are empty."""
        self._sent.clear()

    def missing(self, name: str, labels: Labels, value: HistogramValue, times: list[float]) -> list[float]:
        """The values that have come since the last time.

        Args:
            name: the metric's.
            labels: its labels' values.
            value: the histogram now.
            times: those that are known one by one.
        """
        sent = self._sent.get((name, labels))
        self._sent[name, labels] = value
        if sent is None or value.total < sent.total:
            counts, total = list(value.counts), value.sum
        else:
            counts = [now - before for now, before in zip(value.counts, sent.counts, strict=True)]
            total = value.sum - sent.sum
        missing = sum(counts) - len(times)
        if missing <= 0:
            return times
        known = [0] * len(counts)
        for seconds in times:
            known[bisect_left(BUCKETS, seconds)] += 1
        mean = max(0.0, total - sum(times)) / missing
        values = list(times)
        for bucket, (count, have) in enumerate(zip(counts, known, strict=True)):
            low = 0.0 if bucket == 0 else BUCKETS[bucket - 1] * 1.000001
            high = value.max if bucket == len(BUCKETS) else BUCKETS[bucket]
            values += [min(max(mean, low), max(high, low))] * (count - have)
        return values


class Feed:
    """See the head of the file."""

    def __init__(self) -> None:
        self._takers: dict[Callable[[Reading], object], Exported] = {}
        self._last = 0.0
        self._forget()
        in_a_child(self._forget)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork)

    def _forget(self) -> None:
        self._lock, self._stopped = threading.Lock(), False

    def _before_fork(self) -> None:
        """Nothing is being handed on while a process forks: who takes it has locks that a child would find taken."""
        self._stopped = self._lock.acquire(timeout=_PATIENCE)

    def _after_fork(self) -> None:
        if self._stopped:
            self._stopped = False
            self._lock.release()

    def add(self, taker: Callable[[Reading], object], exported: Exported, databases: Iterable[Any]) -> None:
        """Hand each reading to this one, for these databases too."""
        exported.add(databases)
        with self._lock:
            self._takers = {**self._takers, taker: exported}
        for database in databases:
            _keep_times(database, True)
        observation.each_tick(self.tick)

    def remove(self, taker: Callable[[Reading], object], exported: Exported, databases: Iterable[Any]) -> None:
        """Do so no more. Of a database that nobody takes the values of, none are kept any more."""
        exported.remove(databases)
        with self._lock:
            self._takers = {each: of for each, of in self._takers.items() if of or each != taker}
            still = {database for of in self._takers.values() for database in of}
        for database in databases:
            if database not in still:
                _keep_times(database, False)
        if not self._takers:
            observation.no_tick(self.tick)

    def tick(self) -> None:
        """Called at each look of the observation."""
        if Clock.now() - self._last >= _EVERY:
            self.pump()

    def pump(self) -> None:
        """Hand on what has come since the last time."""
        with self._lock:
            self._last = Clock.now()
            databases = {database: None for exported in self._takers.values() for database in exported}
            reading = read(databases, fetches=True)
            for taker in self._takers:
                taker(reading)


def _keep_times(database: DatabaseBase[Any], keeps: bool) -> None:
    pool, recorder = database.pool, recorder_of(database)
    if isinstance(pool, FairPool) and pool.ledger.keeps_times is not keeps:
        pool.ledger.keep_times(keeps)
    if recorder is not None and recorder.routes.keeps_times is not keeps:
        recorder.routes.keep_times(keeps)


feed = Feed()
