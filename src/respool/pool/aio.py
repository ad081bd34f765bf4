"""The pool for asyncio: the driver, and the public face.

A pool may be used from several event loops, one after the other or at once: each loop has a sub-pool of its own, with
limits of its own, since a connection cannot leave the loop that opened it.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
import weakref
from asyncio import current_task, get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from math import inf
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import ref

from respool.config import PoolConfig
from respool.pool import algorithms
from respool.pool.algorithms import Check, Describe, Effect, Park, Reset
from respool.pool.connector import AsyncConnector, AsyncFunctions
from respool.pool.entries import CloseReason, PoolEntry
from respool.pool.holders import Who, get_label, line_here, stack
from respool.pool.loops import LoopMonitors
from respool.pool.monitor import Monitor, logger
from respool.pool.observer import PoolObserver
from respool.pool.snapshot import PoolSnapshot
from respool.pool.stats import PoolStats

__all__ = ["AsyncConnectionPool", "AsyncLease", "LoopMonitor"]

T = TypeVar("T")
R = TypeVar("R")

_new = object.__new__

#: Seconds that closing connections may take at the end of a loop.
_FAREWELL = 2.0


class LoopMonitor(Monitor):
    """Runs the algorithms in the caller's task, and connects in tasks of the pool's own, all on one event loop.

    Made in that loop. Only ``give`` may be called from elsewhere.
    """

    def __init__(self, connector: AsyncConnector, config: PoolConfig, name: str, observer: PoolObserver) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(config, name, observer)
        self.connector = connector
        self._thread = threading.get_ident()
        self._keep_stacks = config.leak_after is not None
        self._tasks: set[asyncio.Task[None]] = set()
        self.done: asyncio.Future[None] = self.loop.create_future()  #: what is over at once may be awaited all the same
        self.done.set_result(None)

    def take(self) -> PoolEntry | None:
        """See :meth:`Monitor.take`."""
        if self._keep_stacks:
            who = self._who()
        else:
            task = current_task(self.loop)
            who = get_label(), self._thread, task and ref(task)
        lock, clock = self._lock, self.clock  # `self.clock()` would look for a method first
        lock.acquire()  # `with` costs as much as all the rest of the locking
        try:
            state = self.state
            state.now = clock()
            entry = state.take(who)
        finally:
            lock.release()
        if self._inbox:
            self._empty_inbox()
        return entry

    def acquire_in_line(self, timeout: float) -> Coroutine[Any, Any, PoolEntry]:
        """A connection's entry, after ``take`` gave none; see :func:`algorithms.acquire`."""
        return self.run(algorithms.acquire(self.state, self.name, timeout, self._who()))

    async def run(self, algorithm: Generator[Effect, Any, R]) -> R:
        """Run an algorithm to its end: its steps under the lock, its effects awaited."""
        try:
            effect = self.step(algorithm.send, None)
            while True:
                try:
                    answer = await self._do(effect)
                except BaseException as error:
                    effect = self.step(algorithm.throw, error)
                else:
                    effect = self.step(algorithm.send, answer)
        except StopIteration as stop:
            result: R = stop.value
            return result

    def tick(self, at: float | None = None) -> None:
        """Do what is due; ``at``: the time of the alarm that calls."""
        self.step(self.state.tick, at)

    async def warm_up(self, size: int, wait: float | None) -> None:
        """See ``ConnectionPool.warm_up``."""
        if wait is None:
            self.step(self.state.warm_up, size)
        else:
            await self.run(algorithms.warm_up(self.state, self.name, size, wait))

    async def close(self, timeout: float) -> None:
        """See ``ConnectionPool.close``."""
        deadline = self.clock() + timeout
        self.name_stragglers(await self.run(algorithms.close(self.state, self.name, timeout, line_here())))
        await self.wait_closings(max(0.0, deadline - self.clock()))

    async def dismiss(self) -> None:
        """The loop ends: close what nobody uses, as long as somebody can still wait for it."""
        self.step(self.state.dismiss)
        await self.wait_closings(_FAREWELL)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in this monitor's loop."""
        return asyncio._get_running_loop() is self.loop

    async def wait_closings(self, timeout: float) -> None:
        """Wait until the pool's tasks are done: connections that are being closed, or made whole."""
        deadline = self.clock() + timeout
        while self._tasks and (left := deadline - self.clock()) > 0:
            await asyncio.wait(self._tasks, timeout=left)

    async def _do(self, effect: Effect) -> Any:
        if type(effect) is Park:
            with self.watch(effect):
                await self._park(effect.waiter.signal, effect.deadline)
        elif type(effect) is Check:
            seconds = max(0.0, effect.deadline - self.clock())
            async with asyncio.timeout(None if seconds == inf else seconds):
                await self.connector.check(effect.entry.resource, seconds)
        elif type(effect) is Reset:
            await self.connector.reset(effect.entry.resource)
        elif type(effect) is Describe:
            return self.describe(effect.entries)
        return None

    async def _park(self, signal: asyncio.Future[None], deadline: float) -> None:
        if deadline == inf:
            await signal
            return
        timer = self.loop.call_later(max(0.0, deadline - self.clock()), _set, signal)
        try:
            await signal
        finally:
            timer.cancel()

    def _who(self) -> Who:
        task = current_task(self.loop)
        return get_label(), self._thread, task and ref(task), stack() if self._keep_stacks else ()

    def _note(self, resource: Any) -> str | None:
        return self.connector.note(resource)

    def _dead(self, resources: list[Any]) -> list[Any]:
        return self.connector.dead(resources)

    def _signal(self) -> Any:
        return self.loop.create_future()

    def _wake(self, signal: Any) -> None:
        self._in_loop(_set, signal)

    def _open(self, entry: PoolEntry) -> None:
        self.spawn(self._connect, entry)

    async def _connect(self, entry: PoolEntry) -> None:
        try:
            async with asyncio.timeout(self.state.config.connect_timeout):
                resource = await self.connector.connect()
        except Exception as error:
            self.connect_failed(entry, error, self.connector.is_outage)
        except BaseException:
            self.step(self.state.cancelled, entry)
            raise
        else:
            self.step(self.state.opened, entry, resource)

    def _close(self, resource: Any, reason: CloseReason) -> None:
        self.spawn(self._close_now, resource, reason)

    async def _close_now(self, resource: Any, reason: CloseReason) -> None:
        try:
            await self.connector.close(resource, reason)
        except Exception:
            logger.warning("pool %r: closing a connection failed", self.name, exc_info=True)

    def _alarm(self, at: float) -> None:
        self._in_loop(self._set_timer, at)

    def _set_timer(self, at: float) -> None:
        self.loop.call_later(max(0.0, at - self.clock()), _tick, weakref.ref(self), at, context=Context())

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a coroutine function in a task of the pool's own, which knows nothing of the request at hand.

        Whatever is opened there would keep that request's context for as long as it is open.
        """
        self._in_loop(self._spawn, function, *args)

    def _spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        task = self.loop.create_task(function(*args), name=f"respool-{self.name}", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _in_loop(self, function: Callable[..., object], *args: Any) -> None:
        """Call now when we are in the loop's thread, else have the loop call; a loop that is closed needs nothing."""
        if threading.get_ident() == self._thread:
            if not self.loop.is_closed():
                function(*args)
            return
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            logger.debug("pool %r: its event loop is closed", self.name)


def _set(signal: asyncio.Future[None]) -> None:
    if not signal.done():
        signal.set_result(None)


def _tick(monitor: weakref.ref[LoopMonitor], at: float) -> None:
    """Tick a pool that is still there; none is kept alive by its alarm."""
    there = monitor()
    if there is not None:
        there.tick(at)


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
        lease._entry = None
        return lease

    def stats(self) -> PoolStats:
        """The numbers of this moment, of the running loop's connections."""
        return self._monitors.current().stats()

    def snapshot(self) -> PoolSnapshot:
        """The rows of this moment, of the running loop's pool: every connection, every caller in line."""
        return self._monitors.current().snapshot()

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


class AsyncLease(Generic[T]):
    """What ``acquire()`` returns: await it to hold a connection until ``release()``, or enter it for the connection."""

    __slots__ = ("__weakref__", "_entry", "_monitor", "_pool", "_timeout", "resource")

    _entry: PoolEntry | None
    _monitor: LoopMonitor
    _pool: AsyncConnectionPool[T]
    _timeout: float | None
    resource: T

    def __await__(self) -> Generator[Any, Any, AsyncLease[T]]:
        if self._entry is not None:
            return self
        pool = self._pool
        monitor = pool._monitors.latest
        if monitor is None or monitor.loop is not get_running_loop():
            monitor = pool._monitors.current()
        self._monitor = monitor
        entry = monitor.take()
        if entry is None:
            timeout = pool.config.longest_wait if self._timeout is None else self._timeout
            entry = yield from monitor.acquire_in_line(timeout).__await__()
        self._entry = entry
        self.resource = entry.resource
        return self

    def release(self, *, broken: bool = False) -> Awaitable[None]:
        """Give the connection back; a second call does nothing.

        Args:
            broken: it must not be used again, and is closed.
        """
        entry = self._entry
        if entry is None:
            return self._pool._monitors.current().done
        self._entry = None
        monitor = self._monitor
        if broken:
            monitor.give(entry, CloseReason.BROKEN)
        elif self._pool._reset:
            return monitor.run(algorithms.give_back(monitor.state, entry))
        else:
            monitor.give(entry)
        return monitor.done

    async def __aenter__(self) -> T:
        return (await self).resource

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        return self.release()

    def __del__(self) -> None:
        if self._entry is not None:
            self._lose(self._entry)

    def _lose(self, entry: PoolEntry) -> None:
        self._monitor.give(entry, CloseReason.BROKEN)
        warnings.warn(
            f"a connection of pool {self._pool.name!r} was never given back: use `async with pool.acquire()`",
            ResourceWarning,
            stacklevel=3,
        )
