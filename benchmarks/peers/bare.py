"""Floors: what no pool can go below, measured beside the pools.

``Bare`` and ``BareAsync`` serve in order of arrival and do nothing else: no limits in time, no figures, no ages, no
errors, no lost leases; nobody may leave the line.  ``ReadyPool`` is what an engine costs whose pool does nothing at all.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from benchmarks.peers.base import Setup, TaskPeer, ThreadPeer

__all__ = ["AsyncReadyPool", "Bare", "BareAsync", "ReadyPool"]


class Bare(ThreadPeer):
    name, key, package = "(floor: a lock and a deque)", "bare", "respool"
    late = TimeoutError

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._lock = threading.Lock()
        self._free = deque(setup.server.connect() for _ in range(setup.size))
        self._line: deque[tuple[threading.Lock, list[Any]]] = deque()

    def acquire(self) -> Any:  # type: ignore[override]
        lock = self._lock
        lock.acquire()
        if self._free and not self._line:
            connection = self._free.pop()
            lock.release()
            return connection
        turn, handed = threading.Lock(), list[Any]()
        turn.acquire()
        self._line.append((turn, handed))
        lock.release()
        turn.acquire()
        return handed[0]

    def release(self, connection: Any) -> None:  # type: ignore[override]
        lock = self._lock
        lock.acquire()
        if not self._line:
            self._free.append(connection)
            lock.release()
            return
        turn, handed = self._line.popleft()
        lock.release()
        handed.append(connection)
        turn.release()

    def close(self) -> None:
        for connection in self._free:
            connection.close()


class BareAsync(TaskPeer):
    name, key, package = "(floor: a deque, no lock)", "bare", "respool"
    late = TimeoutError

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._free: deque[Any] = deque()
        self._line: deque[asyncio.Future[Any]] = deque()

    async def open(self) -> None:
        self._free.extend([await self.setup.server.connect_async() for _ in range(self.setup.size)])

    async def acquire(self) -> Any:  # type: ignore[override]
        if self._free and not self._line:
            return self._free.pop()
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        return await turn

    async def release(self, connection: Any) -> None:  # type: ignore[override]
        if self._line:
            self._line.popleft().set_result(connection)
        else:
            self._free.append(connection)

    async def close(self) -> None:
        for connection in self._free:
            await connection.aclose()


class ReadyProxy:
    """A connection that needs nothing, neither when it is taken nor when it is given back."""

    dbapi_connection = object()
    is_valid = True

    def close(self) -> None:
        """Nothing was done."""


class ReadyPool(QueuePool):
    """The same proxy for everybody."""

    _ready = ReadyProxy()

    def connect(self) -> Any:
        return self._ready


class AsyncReadyPool(AsyncAdaptedQueuePool):
    """The same for async engines."""

    _ready = ReadyProxy()

    def connect(self) -> Any:
        return self._ready
