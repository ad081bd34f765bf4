"""The value of every metric at one moment, from what the pools and the recorders have counted themselves.

Nothing is counted here, so nothing can drift: what an exporter shows is what the pool decides by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from respool.config import UNLIMITED
from respool.database.base import DatabaseBase
from respool.engine import FairPool
from respool.observe.observation import observation
from respool.observe.recording.other_pools import limits, other_pool
from respool.observe.recording.recorder import Recorder, recorder_of
from respool.pool import CloseReason
from respool.pool.core.histogram import HistogramValue, added
from respool.pool.telling.stats import Times

__all__ = ["Labels", "Reading", "read"]

#: The values of a metric's labels, in their order.
Labels = tuple[str, ...]

_C = "db.client.connection."
_HISTOGRAMS = ("wait_time", "use_time", "create_time")


@dataclass
class Reading:
    """One moment. By the name of a metric, and by its labels."""

    numbers: dict[str, dict[Labels, float]] = field(default_factory=dict)
    histograms: dict[str, dict[Labels, HistogramValue]] = field(default_factory=dict)
    #: Single values since the last time, of those that the histograms have counted; where they are kept.
    times: dict[str, dict[Labels, list[float]]] = field(default_factory=dict)

    def number(self, name: str, value: float, *labels: str) -> None:
        """A value; two with the same labels are added up."""
        row = self.numbers.setdefault(name, {})
        row[labels] = row.get(labels, 0) + value

    def histogram(self, name: str, value: HistogramValue, times: list[float], *labels: str) -> None:
        """The same for a histogram."""
        row = self.histograms.setdefault(name, {})
        known = row.get(labels)
        row[labels] = value if known is None else added([known, value])
        self.times.setdefault(name, {}).setdefault(labels, []).extend(times)


def read(databases: Iterable[DatabaseBase[Any]], *, fetches: bool = False) -> Reading:
    """The moment of these databases. Takes no connection, and waits for nothing.

    Args:
        databases: of a pool that two of them share, the figures are those of the first.
        fetches: fetch the single values too; there is one who does.
    """
    reading, pools, names = Reading(), set(), set()
    for database in databases:
        names.add(database.name)
        pool = database.pool
        ledger = getattr(pool, "ledger", pool)
        if id(ledger) not in pools:
            pools.add(id(ledger))
            if isinstance(pool, FairPool):
                _of_pool(reading, database.name, pool, fetches)
            else:
                _of_another_pool(reading, database)
        if (recorder := recorder_of(database)) is not None:
            _of_routes(reading, database.name, recorder, fetches)
    _of_observation(reading, names)
    return reading


def _of_pool(reading: Reading, name: str, pool: FairPool, fetches: bool) -> None:
    stats, times = pool.fetch_totals() if fetches else (pool.totals(), Times([], [], []))
    number = reading.number
    _of_connections(reading, name, stats.idle, stats.acquired)
    number(_C + "idle.min", stats.min_size, name)
    if stats.max_size < UNLIMITED:
        number(_C + "max", stats.max_size, name)
        kept = pool.size() * max(1, len(pool.running_monitors())) if pool.as_queue_pool else stats.max_size
        number(_C + "idle.max", kept, name)
    number(_C + "pending_requests", stats.waiting, name)
    number(_C + "timeouts", stats.timeouts, name)
    for histogram in _HISTOGRAMS:
        reading.histogram(_C + histogram, getattr(stats, histogram), getattr(times, histogram), name)
    number("respool.pool.connecting", stats.connecting, name)
    number("respool.pool.oldest_wait", stats.oldest_wait, name)
    number("respool.pool.database_away", stats.database_away, name)
    number("respool.pool.used_time", stats.used_seconds, name)
    number("respool.pool.saturated_time", stats.saturated_seconds, name)
    for count in ("refused", "connect_errors", "leaks"):
        number(f"respool.pool.{count}", getattr(stats, count), name)
    for reason in CloseReason:
        number("respool.pool.closes", stats.closes.get(reason.value, 0), name, reason.value)


def _of_another_pool(reading: Reading, database: DatabaseBase[Any]) -> None:
    most, kept = limits(database.pool)
    _of_connections(
        reading, database.name, *other_pool(getattr(database.engine, "sync_engine", database.engine)).counts()
    )
    for limit, value in (("max", most), ("idle.max", kept)):
        if value is not None:
            reading.number(_C + limit, value, database.name)


def _of_connections(reading: Reading, name: str, idle: int, used: int) -> None:
    reading.number(_C + "count", idle, name, "idle")
    reading.number(_C + "count", used, name, "used")


def _of_routes(reading: Reading, name: str, recorder: Recorder, fetches: bool) -> None:
    number = reading.number
    for (title, route), (held, times) in recorder.held(fetches).items():
        reading.histogram("respool.hold_time", held, times, name, title)
        number("respool.idle_time", route.idle.value().sum, name, title)
        number("respool.wait_time", route.waited.value().sum, name, title)
        number("respool.sql_time", route.sql.value().sum, name, title)
        number("respool.scopes", route.requests, name, title)
        number("respool.statements", route.statements, name, title)
        number("respool.leases", route.leases, name, title, "autocommit")
        number("respool.leases", route.transaction_leases, name, title, "transaction")
        for outcome in ("committed", "failed", "unknown"):
            number("respool.commits", route.outcomes[outcome], name, title, outcome)


def _of_observation(reading: Reading, names: set[str]) -> None:
    for found in observation.board.all():
        if found.database in names:
            place = found.place or found.route or ""
            reading.number("respool.findings", found.count, found.database, found.kind.name, place)
    for (name, code), count in observation.errors.counts().items():
        if name in names or not name:
            reading.number("respool.errors", count, name, code)
