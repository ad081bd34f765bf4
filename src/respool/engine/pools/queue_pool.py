"""What other code reads from a ``QueuePool``, and sets on one: kept as SQLAlchemy has it."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import QueuePool

from respool.config import UNLIMITED, PoolConfig
from respool.engine.pools.lending import LendingPool
from respool.pool import PoolStats

if TYPE_CHECKING:
    from respool.engine.pools.records import Records
    from respool.pool.drivers.monitor import Monitor

__all__ = ["QueuePoolFace"]


class QueueView:
    """``pool._pool`` of a ``QueuePool``, to look at."""

    def __init__(self, pool: QueuePoolFace) -> None:
        self.maxsize = pool.size()
        self.use_lifo = pool._use_lifo
        self.queue = deque([*pool._idle_records(), *pool._records.spare])

    def qsize(self) -> int:
        return len(self.queue)

    def empty(self) -> bool:
        return not self.queue

    def full(self) -> bool:
        return len(self.queue) >= self.maxsize


class QueuePoolFace(QueuePool, LendingPool):
    """The names, counted from the pool's own figures."""

    config: PoolConfig
    _size: int
    _use_lifo: bool
    _longest_wait: float
    _records: Records

    def stats(self) -> PoolStats:
        raise NotImplementedError

    def running_monitors(self) -> list[Monitor]:
        raise NotImplementedError

    def size(self) -> int:
        return self._size

    def timeout(self) -> float:
        return self.config.timeout  # type: ignore[return-value]  # None is no limit, there too

    def checkedin(self) -> int:
        return len(self._pool.queue)

    def checkedout(self) -> int:
        return sum(monitor.state.acquired for monitor in self.running_monitors())

    def overflow(self) -> int:
        return self._overflow if self._size else 0

    def _idle_records(self) -> list[Any]:
        return [entry.resource for monitor in self.running_monitors() for entry in list(monitor.state.idle)]

    @property
    def _pool(self) -> Any:  # type: ignore[override]
        return QueueView(self)

    @property
    def _overflow(self) -> int:  # type: ignore[override]
        total = sum(monitor.state.total for monitor in self.running_monitors())
        return total + len(self._records.spare) - self._size

    @property
    def _timeout(self) -> Any:
        return self.config.timeout

    @_timeout.setter
    def _timeout(self, seconds: float | None) -> None:
        self.config = replace(self.config, timeout=seconds)
        self._longest_wait = self.config.longest_wait

    @property
    def _max_overflow(self) -> int:
        return -1 if self.config.max_size == UNLIMITED else self.config.max_size - self._size

    @_max_overflow.setter
    def _max_overflow(self, size: int) -> None:
        self.config = self.config.merged({"max_size": UNLIMITED if size == -1 else self._size + size})
        for monitor in self.running_monitors():
            monitor.step(monitor.state.resize, self.config)
