"""The pool for asyncio: the public face. Its driver is in ``drivers/tasks.py``.

A pool may be used from several event loops, one after the other or at once: each loop has a sub-pool of its own, with
limits of its own, since a connection cannot leave the loop that opened it.
"""

from __future__ import annotations

import warnings
from asyncio import _get_running_loop  # it returns None where there is none
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from respool.config import PoolConfig
from respool.pool.core import algorithms
from respool.pool.core.connector import AsyncFunctions
from respool.pool.core.entries import Claim, CloseReason, PoolEntry
from respool.pool.drivers.loops import LoopMonitors
from respool.pool.drivers.tasks import LoopMonitor
from respool.pool.telling.observer import PoolObserver
from respool.pool.telling.snapshot import PoolSnapshot
from respool.pool.telling.stats import PoolStats

__all__ = ["AsyncConnectionPool", "AsyncLease"]

T = TypeVar("T")

_new = object.__new__


class AsyncConnectionPool(Generic[T]):
    """A pool of any resource that is dear to open, for asyncio.

    Args and errors are those of :class:`~respool.pool.ConnectionPool`; ``connect``, ``close``, ``check`` and ``reset``
    are coroutine functions, ``is_dead`` is a plain one. Each event loop has its own connections and limits.

    Use::

        pool = AsyncConnectionPool(lambda: asyncpg.connect(dsn), max_size=5)
        async with pool.acquire() as connection:
            await connection.execute(...)
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[T]],
        *,
        close: Callable[[T], Awaitable[object]] | None = None,
        check: Callable[[T], Awaitable[object]] | None = None,
        reset: Callable[[T], Awaitable[object]] | None = None,
        is_dead: Callable[[T], bool] | None = None,
        name: str = "default",
        config: PoolConfig | None = None,
        observer: PoolObserver | None = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.config = (config or PoolConfig()).merged(settings)
        self._reset = reset is not None
        connector = AsyncFunctions(connect, close, check, reset, is_dead)
        listener = observer or PoolObserver()

        def new_monitor() -> LoopMonitor:
            monitor = LoopMonitor(connector, self.config, name, listener)
            monitor.look_at_idle(is_dead is not None)
            return monitor

        self._monitors = LoopMonitors(new_monitor)

    def acquire(self, timeout: float | None = None) -> AsyncLease[T]:
        """Take a connection: ``async with pool.acquire() as connection``, or ``lease = await pool.acquire()``.

        Args and errors are those of ``ConnectionPool.acquire``.
        """
        lease: AsyncLease[T] = _new(AsyncLease)  # a call of the class would take twice as long
        lease._pool = self
        lease._timeout = timeout
        lease._entry = lease._waiter = None
        return lease

    def stats(self) -> PoolStats:
        """The numbers of this moment, of all event loops together. From anywhere."""
        return self._monitors.stats(self.name, self.config)

    def snapshot(self) -> PoolSnapshot:
        """The rows of this moment: every connection, every caller in line, of every event loop. From anywhere."""
        return self._monitors.snapshot(self.name, self.config)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """As ``ConnectionPool.resize``, in every loop."""
        self.config = self._monitors.resize(self.config, min_size, max_size)

    def suspend(self) -> None:
        """As ``ConnectionPool.suspend``, in every loop."""
        self._monitors.suspend(True)

    def resume(self) -> None:
        """As ``ConnectionPool.resume``, in every loop."""
        self._monitors.suspend(False)

    def soft_evict(self, spread: float = 0.0) -> None:
        """As ``ConnectionPool.soft_evict``, in every loop."""
        for monitor in self._monitors.all():
            monitor.soft_evict(spread)

    async def warm_up(self, size: int | None = None, *, wait: float | None = None) -> None:
        """As ``ConnectionPool.warm_up``, in the running loop."""
        await self._monitors.current().warm_up(self.config.max_size if size is None else size, wait)

    async def close(self, timeout: float = 10.0) -> None:
        """End the running loop's pool; as ``ConnectionPool.close``."""
        await self._monitors.current().close(timeout)

    async def __aenter__(self) -> AsyncConnectionPool[T]:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncConnectionPool {self.name!r} max_size={self.config.max_size}>"


class AsyncLease(Claim, Generic[T]):
    """What ``acquire()`` returns: await it to hold a connection until ``release()``, or enter it for the connection."""

    __slots__ = ("__weakref__", "_pool", "_timeout", "resource")

    _monitor: LoopMonitor
    _pool: AsyncConnectionPool[T]
    _timeout: float | None
    resource: T

    def __await__(self) -> Generator[Any, Any, AsyncLease[T]]:
        if self._entry is not None:
            return self
        pool = self._pool
        monitor = pool._monitors.latest
        if monitor is None or monitor.loop is not _get_running_loop():
            monitor = pool._monitors.current()
        self._monitor = monitor
        try:
            entry = monitor.take(self)
            if entry is None:
                timeout = pool.config.longest_wait if self._timeout is None else self._timeout
                entry = yield from monitor.acquire_in_line(self, timeout).__await__()
            self.resource = entry.resource
        except BaseException:
            monitor.abandon(self)
            raise
        return self

    def release(self, *, broken: bool = False) -> Awaitable[None]:
        """Give the connection back; a second call does nothing.

        Args:
            broken: it must not be used again, and is closed.
        """
        entry = self._entry
        if entry is None:
            return self._pool._monitors.current().done
        monitor = self._monitor
        if self._pool._reset and not broken:
            return self._reset_and_give()
        monitor.give(entry, CloseReason.BROKEN if broken else None, self._who)
        self._entry = None
        return monitor.done

    async def _reset_and_give(self) -> None:
        monitor, entry = self._monitor, self._entry
        if entry is None:
            return
        try:
            self._entry = None
            await monitor.run(algorithms.give_back(monitor.state, entry))
        except BaseException:
            monitor.give(entry, CloseReason.BROKEN, self._who)
            raise

    async def __aenter__(self) -> T:
        try:
            return (await self).resource
        except BaseException:
            if self._entry is not None:
                self._monitor.abandon(self)
            raise

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        return self.release()

    def __del__(self) -> None:
        try:
            if self._entry is not None or self._waiter is not None:
                self._lose(self._entry)
        except BaseException:
            if not hasattr(self, "_waiter"):  # it was interrupted while it was made
                return
            self._monitor.abandon(self, CloseReason.BROKEN)  # it was cut off: Python tries only once
            raise

    def _lose(self, entry: PoolEntry | None) -> None:
        lost = entry is not None and entry.holder is self._who
        self._monitor.abandon(self, CloseReason.BROKEN)
        if not lost:
            return
        warnings.warn(
            f"a connection of pool {self._pool.name!r} was never given back: use `async with pool.acquire()`",
            ResourceWarning,
            stacklevel=3,
        )
