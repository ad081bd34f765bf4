"""The pool for threads: the public face. Its driver is in ``drivers/threads.py``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from respool.config import PoolConfig
from respool.pool.core import algorithms
from respool.pool.core.connector import Functions
from respool.pool.core.entries import Claim, CloseReason, PoolEntry
from respool.pool.drivers.threads import ThreadMonitor
from respool.pool.telling.observer import PoolObserver
from respool.pool.telling.snapshot import PoolSnapshot
from respool.pool.telling.stats import PoolStats
from respool.whereabouts import Who

__all__ = ["ConnectionPool", "Lease"]

T = TypeVar("T")

_new = object.__new__


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
        self._give: Callable[[PoolEntry, None, Who], None] = (
            self._monitor.give if reset is None else self._reset_and_give
        )
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
        monitor = self._monitor
        lease: Lease[T] = _new(Lease)  # `Lease(self)` would take twice as long
        lease._entry = lease._waiter = None
        lease._pool = self
        try:
            entry = monitor.take(lease)
            if entry is None:
                entry = monitor.acquire(lease, self.config.longest_wait if timeout is None else timeout)
            lease.resource = entry.resource
        except BaseException:
            monitor.abandon(lease)
            raise
        return lease

    def _reset_and_give(self, entry: PoolEntry, reason: None, who: Who) -> None:
        monitor = self._monitor
        try:
            monitor.run(algorithms.give_back(monitor.state, entry))
        except BaseException:
            monitor.give(entry, CloseReason.BROKEN, who)
            raise

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


class Lease(Claim, Generic[T]):
    """A connection that is yours until you release it; a context manager that gives the connection itself."""

    __slots__ = ("__weakref__", "_pool", "resource")

    _pool: ConnectionPool[T]
    resource: T

    def release(self, *, broken: bool = False) -> None:
        """Give the connection back; a second call does nothing.

        Args:
            broken: it must not be used again, and is closed.
        """
        entry = self._entry
        if entry is not None:
            if broken:
                self._pool._monitor.give(entry, CloseReason.BROKEN, self._who)
            else:
                give = self._pool._give  # no method, so not called as one
                give(entry, None, self._who)
            self._entry = None  # not before: until then the last one to hold this lease gives the connection back

    def __enter__(self) -> T:
        return self.resource

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entry = self._entry
        if entry is not None:
            give = self._pool._give  # as above
            give(entry, None, self._who)
            self._entry = None

    def __del__(self) -> None:
        try:
            if self._entry is not None or self._waiter is not None:
                self._lose(self._entry)
        except BaseException:
            if not hasattr(self, "_waiter"):  # it was interrupted while it was made
                return
            self._pool._monitor.abandon(self, CloseReason.BROKEN)  # it was cut off: Python tries only once
            raise

    def _lose(self, entry: PoolEntry | None) -> None:
        lost = entry is not None and entry.holder is self._who
        self._pool._monitor.abandon(self, CloseReason.BROKEN)
        if not lost:
            return
        warnings.warn(
            f"a connection of pool {self._pool.name!r} was never given back: use `with pool.acquire()`",
            ResourceWarning,
            stacklevel=3,
        )
