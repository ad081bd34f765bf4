"""The pool for threads: the driver, and the public face."""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator
from contextvars import copy_context
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, TypeVar

from respool.config import PoolConfig
from respool.pool import algorithms
from respool.pool.algorithms import Check, Describe, Effect, Park, Reset
from respool.pool.connector import Connector, Functions
from respool.pool.entries import CloseReason, PoolEntry
from respool.pool.holders import Who, get_label, line_here, stack
from respool.pool.keeper import keeper
from respool.pool.monitor import Monitor, logger
from respool.pool.observer import PoolObserver
from respool.pool.snapshot import PoolSnapshot
from respool.pool.stats import PoolStats

__all__ = ["ConnectionPool", "Lease", "ThreadMonitor"]

T = TypeVar("T")
R = TypeVar("R")

_new = object.__new__


class ThreadMonitor(Monitor):
    """Runs the algorithms in the caller's thread, and connects in threads of the pool's own.

    Args:
        connector: opens, closes, checks and resets connections.
        inline: connect in the thread that asks, for connections that only work in the thread which made them.
    """

    #: Whether a caller connects in its own thread if it need not wait for that; it cannot give up then.
    by_caller = False

    def __init__(
        self, connector: Connector, config: PoolConfig, name: str, observer: PoolObserver, *, inline: bool = False
    ) -> None:
        super().__init__(config, name, observer)
        self.connector = connector
        self._inline = inline
        self._caller = _Caller()
        self._keep_stacks = config.leak_after is not None

    def take(self) -> PoolEntry | None:
        """See :meth:`Monitor.take`."""
        who = self._who() if self._keep_stacks else (get_label(), get_ident())
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

    def acquire(self, timeout: float) -> PoolEntry:
        """A connection's entry; see :func:`algorithms.acquire`."""
        entry = self.take()
        if entry is not None:
            return entry
        self._caller.connects = self.by_caller
        try:
            return self.run(algorithms.acquire(self.state, self.name, timeout, self._who()))
        finally:
            self._caller.connects = False

    def run(self, algorithm: Generator[Effect, Any, R]) -> R:
        """Run an algorithm to its end: its steps under the lock, its effects outside."""
        try:
            effect = self.step(algorithm.send, None)
            while True:
                try:
                    answer = self._do(effect)
                except BaseException as error:
                    effect = self.step(algorithm.throw, error)
                else:
                    effect = self.step(algorithm.send, answer)
        except StopIteration as stop:
            result: R = stop.value
            return result

    def warm_up(self, size: int, wait: float | None) -> None:
        """See :meth:`ConnectionPool.warm_up`."""
        if wait is None:
            self.step(self.state.warm_up, size)
        else:
            self.run(algorithms.warm_up(self.state, self.name, size, wait))

    def close(self, timeout: float) -> None:
        """See :meth:`ConnectionPool.close`."""
        self.name_stragglers(self.run(algorithms.close(self.state, self.name, timeout, line_here())))

    def tick(self, at: float | None = None) -> None:
        """Do what is due; ``at``: the time of the alarm that calls."""
        self.step(self.state.tick, at)

    def _who(self) -> Who:
        if self._keep_stacks:
            return get_label(), get_ident(), None, stack()
        return get_label(), get_ident()

    def _do(self, effect: Effect) -> Any:
        if type(effect) is Park:
            with self.watch(effect):
                seconds = min(effect.deadline - self.clock(), threading.TIMEOUT_MAX)
                effect.waiter.signal.acquire(timeout=max(0.0, seconds))
        elif type(effect) is Check:
            self._check(effect.entry, effect.deadline - self.clock())
        elif type(effect) is Reset:
            self.connector.reset(effect.entry.resource)
        elif type(effect) is Describe:
            return self.describe(effect.entries)
        return None

    def _check(self, entry: PoolEntry, seconds: float) -> None:
        """Check in a thread that can be left behind: a stalled network must not keep the caller past its deadline."""
        if self._inline:
            self.connector.check(entry.resource, seconds)
            return
        check = _Checking(self, entry.resource, seconds)
        if not check.done.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX))) and check.abandon():
            entry.resource = None
            raise TimeoutError(f"the check of a connection took over {seconds:.1f} s")
        if check.error is not None:
            raise check.error

    def _note(self, resource: Any) -> str | None:
        return self.connector.note(resource)

    def _dead(self, resources: list[Any]) -> list[Any]:
        return self.connector.dead(resources)

    def _signal(self) -> Any:
        signal = threading.Lock()
        signal.acquire()
        return signal

    def _wake(self, signal: Any) -> None:
        signal.release()

    def _open(self, entry: PoolEntry) -> None:
        if self._inline or self._caller.connects:
            self._caller.connects = False  # what its end starts is for somebody else
            self._connect(entry)
        else:
            keeper.start(copy_context().run, self._connect, entry)

    def _connect(self, entry: PoolEntry) -> None:
        try:
            resource = self.connector.connect()
        except BaseException as error:
            self.connect_failed(entry, error, self.connector.is_outage)
        else:
            self.step(self.state.opened, entry, resource)

    def _close(self, resource: Any, reason: CloseReason) -> None:
        if keeper.is_current:
            keeper.start(self.close_now, resource, reason)
        else:
            self.close_now(resource, reason)

    def close_now(self, resource: Any, reason: CloseReason) -> None:
        """Close a connection that is no longer part of the pool; a failure is of no interest to the caller."""
        try:
            self.connector.close(resource, reason)
        except Exception:
            logger.warning("pool %r: closing a connection failed", self.name, exc_info=True)

    def _alarm(self, at: float) -> None:
        keeper.at(time.monotonic() + at - self.clock(), partial(_tick, weakref.ref(self), at))


class _Caller(threading.local):
    """Whether this thread is about to wait for a connect, and may as well do it."""

    connects = False


class _Checking:
    """A check in a thread of its own. Whoever comes later, its end or its abandonment, closes the connection."""

    def __init__(self, monitor: ThreadMonitor, resource: Any, seconds: float) -> None:
        self._monitor = monitor
        self._resource = resource
        self._seconds = seconds
        self._claim = threading.Lock()
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()
        threading.Thread(target=self._run, name="respool-check", daemon=True).start()

    def abandon(self) -> bool:
        """Leave the connection to the check's thread; ``False`` when the check has just ended."""
        return self._claim.acquire(blocking=False)

    def _run(self) -> None:
        try:
            self._monitor.connector.check(self._resource, self._seconds)
        except BaseException as error:
            self.error = error
        if self._claim.acquire(blocking=False):
            self.done.release()
        else:
            self._monitor.close_now(self._resource, CloseReason.FAILED_CHECK)


def _tick(monitor: weakref.ref[ThreadMonitor], at: float) -> None:
    """Tick a pool that is still there; none is kept alive by its alarm."""
    there = monitor()
    if there is not None:
        there.tick(at)


class ConnectionPool(Generic[T]):
    """A pool of any resource that is dear to open, for threads.

    Args:
        connect: opens a resource. It is called in threads of the pool's own, so that a caller who gives up leaves the
            connect running into the pool.
        close: closes one; default: its ``close()``.
        check: raises when one is broken; called before one that rested longer than ``check_after`` is handed out.
        reset: brings one back into its first state when it is given back; one that cannot be reset is closed.
        is_dead: whether the other end has closed one, told without blocking; asked about once a second of those that
            rest, which are closed then and reported although nobody wanted them.
        name: for people: errors, logs, figures.
        config: the settings; or give them as keywords.
        observer: hears what happens.
        settings: as for :class:`~respool.config.PoolConfig`; they win over ``config``.

    Raises:
        ConfigError: a setting is unknown or refused.

    Use::

        pool = ConnectionPool(lambda: psycopg.connect(dsn), max_size=5)
        with pool.acquire() as connection:
            connection.execute(...)
    """

    def __init__(
        self,
        connect: Callable[[], T],
        *,
        close: Callable[[T], object] | None = None,
        check: Callable[[T], object] | None = None,
        reset: Callable[[T], object] | None = None,
        is_dead: Callable[[T], bool] | None = None,
        name: str = "default",
        config: PoolConfig | None = None,
        observer: PoolObserver | None = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.config = (config or PoolConfig()).merged(settings)
        connector = Functions(connect, close, check, reset, is_dead)
        self._monitor = ThreadMonitor(connector, self.config, name, observer or PoolObserver())
        self._monitor.look_at_idle(is_dead is not None)
        self._give: Callable[[PoolEntry], None] = self._monitor.give if reset is None else self._reset_and_give
        self._monitor.tick()

    def acquire(self, timeout: float | None = None) -> Lease[T]:
        """Take a connection, for a ``with`` block or until ``release()``.

        Args:
            timeout: seconds for everything: waiting in line, connecting, checking. Default: the setting.

        Raises:
            PoolTimeout: none was free in time; the last connect error, if any, is its cause.
            PoolQueueFull: ``max_waiting`` callers wait already.
            PoolClosed: the pool is closed, or was closed meanwhile.
        """
        entry = self._monitor.take()
        if entry is None:
            entry = self._monitor.acquire(self.config.longest_wait if timeout is None else timeout)
        lease: Lease[T] = _new(Lease)  # `Lease(self, entry)` would take twice as long
        lease._pool = self
        lease._entry = entry
        lease.resource = entry.resource
        return lease

    def _reset_and_give(self, entry: PoolEntry) -> None:
        self._monitor.run(algorithms.give_back(self._monitor.state, entry))

    def stats(self) -> PoolStats:
        """The numbers of this moment."""
        return self._monitor.stats()

    def snapshot(self) -> PoolSnapshot:
        """The rows of this moment: every connection, every caller in line."""
        return self._monitor.snapshot()

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the limits of the running pool; what is open above the new one is closed as it becomes free.

        Raises:
            ConfigError: the sizes are at odds with each other.
        """
        self.config = self._monitor.resize(min_size, max_size)

    def suspend(self) -> None:
        """Hand out nothing until :meth:`resume`; callers wait in line, up to their deadlines."""
        self._monitor.step(self._monitor.state.suspend)

    def resume(self) -> None:
        """Go on: those in line are served in order."""
        self._monitor.step(self._monitor.state.resume)

    def soft_evict(self, spread: float = 0.0) -> None:
        """Replace every connection when nobody uses it.

        Args:
            spread: over so many seconds, so that they do not all connect at once.
        """
        self._monitor.soft_evict(spread)

    def warm_up(self, size: int | None = None, *, wait: float | None = None) -> None:
        """Open connections in the background until there are ``size`` (default: ``max_size``).

        Args:
            wait: seconds to wait until they are open; ``None``: do not wait.

        Raises:
            ConnectFailed, PoolTimeout, PoolClosed: only when waiting.
        """
        self._monitor.warm_up(self.config.max_size if size is None else size, wait)

    def close(self, timeout: float = 10.0) -> None:
        """End the pool: callers in line get ``PoolClosed``; held connections are closed as they come back.

        Args:
            timeout: seconds to wait for these; those still out then are named in the log, and closed when they come.
        """
        self._monitor.close(timeout)

    def __enter__(self) -> ConnectionPool[T]:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ConnectionPool {self.stats()}>"


class Lease(Generic[T]):
    """A connection that is yours until you release it; a context manager that gives the connection itself."""

    __slots__ = ("__weakref__", "_entry", "_pool", "resource")

    _entry: PoolEntry | None
    _pool: ConnectionPool[T]
    resource: T

    def release(self, *, broken: bool = False) -> None:
        """Give the connection back; a second call does nothing.

        Args:
            broken: it must not be used again, and is closed.
        """
        entry = self._entry
        if entry is not None:
            self._entry = None
            if broken:
                self._pool._monitor.give(entry, CloseReason.BROKEN)
            else:
                give = self._pool._give  # no method, so not called as one
                give(entry)

    def __enter__(self) -> T:
        return self.resource

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entry = self._entry
        if entry is not None:
            self._entry = None
            give = self._pool._give  # as above
            give(entry)

    def __del__(self) -> None:
        if self._entry is not None:
            self._lose(self._entry)

    def _lose(self, entry: PoolEntry) -> None:
        self._pool._monitor.give(entry, CloseReason.BROKEN)
        warnings.warn(
            f"a connection of pool {self._pool.name!r} was never given back: use `with pool.acquire()`",
            ResourceWarning,
            stacklevel=3,
        )
