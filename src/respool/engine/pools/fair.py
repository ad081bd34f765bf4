"""The pool as SQLAlchemy wants it: ``create_engine(url, poolclass=FairPool, max_size=20)``.

SQLAlchemy's base class keeps what it does well: records, events, reset on return.  Who gets which connection, and when
one is opened or closed, is decided below, in :mod:`respool.pool`.  What other code reads from a ``QueuePool`` is kept.
"""

from __future__ import annotations

import time
from logging import DEBUG
from typing import Any, cast

from sqlalchemy import Dialect
from sqlalchemy.pool import (
    ConnectionPoolEntry,
    Pool,
    PoolProxiedConnection,
)
from sqlalchemy.pool.base import ResetStyle

from respool.config import PoolConfig
from respool.engine.dialects import hosts, readonly
from respool.engine.pools import leases
from respool.engine.pools.checkout import Checkout
from respool.engine.pools.connectors import RecordConnector
from respool.engine.pools.queue_pool import QueuePoolFace
from respool.engine.pools.records import Records
from respool.engine.pools.staleness import is_dead, watch
from respool.engine.pools.timeouts import as_sqlalchemy
from respool.errors import PoolTimeout
from respool.pool import PoolObserver, PoolSnapshot, PoolStats
from respool.pool.core.entries import Claim, PoolEntry
from respool.pool.drivers.ledger import Ledger
from respool.pool.drivers.monitor import Monitor, resized
from respool.pool.drivers.threads import ThreadMonitor
from respool.pool.telling.stats import Times, together

__all__ = ["REST", "FairPool"]


#: Seconds of rest after which the socket is looked at; in a busy pool it is not worth it.
REST = 0.01

_SETTINGS = {*PoolConfig.names(), "pool_size", "max_overflow", "recycle", "pre_ping"}


class _Unset:
    def __repr__(self) -> str:
        return "unset"


UNSET: Any = _Unset()


class FairPool(QueuePoolFace):
    """A ``QueuePool`` that serves its callers in order, closes what rests, and survives a sick database.

    Args:
        creator: opens a DBAPI connection; ``create_engine`` gives it.
        pool_size, max_overflow: SQLAlchemy's sizes; added up to ``max_size``.
        timeout: seconds a checkout may take, all included. In ``create_engine``: ``pool_timeout``.
        use_lifo: ``False``: take the connection that rested longest, not the most recently used; none will age then.
        recycle: SQLAlchemy's name of ``max_lifetime``.
        pre_ping: SQLAlchemy's name of ``check_after=0``.
        as_queue_pool: as ``QueuePool``, where this pool does better: callers connect in their own threads, and see stale
            connections; those beyond ``pool_size`` are closed as they come back, all idle ones when one is found dead.
        pool_name: for people.
        pool_config: settings made before; those given as keywords win.
        pool_observer: hears what happens.
        min_size, max_size, max_waiting, max_idle, max_lifetime: as for :class:`~respool.config.PoolConfig`.
        check_after, max_connecting, connect_timeout, leak_after: the same.
        kw: the other arguments of SQLAlchemy's ``Pool``.

    Raises:
        ConfigError: a setting is refused.
    """

    # Users' getLogger("sqlalchemy.pool") hears this pool too.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.QueuePool"
    _monitor: ThreadMonitor = None  # type: ignore[assignment]  # set by _start
    _records: Records = None  # type: ignore[assignment]
    lends_bare = True

    # SQLAlchemy finds the settings by this signature: keyword-only parameters would be invisible to it.
    def __init__(
        self,
        creator: Any,
        pool_size: int = UNSET,
        max_overflow: int = UNSET,
        timeout: float | None = UNSET,
        use_lifo: bool = True,
        recycle: int = UNSET,
        pre_ping: bool = UNSET,
        min_size: int = UNSET,
        max_size: int = UNSET,
        max_waiting: int | None = UNSET,
        max_idle: float | None = UNSET,
        max_lifetime: float | None = UNSET,
        check_after: float | None = UNSET,
        max_connecting: int = UNSET,
        connect_timeout: float | None = UNSET,
        leak_after: float | None = UNSET,
        as_queue_pool: bool = False,
        pool_name: str = "default",
        pool_config: PoolConfig | None = None,
        pool_observer: PoolObserver | None = None,
        **kw: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in _SETTINGS and value is not UNSET}
        Pool.__init__(self, creator, recycle=-1 if recycle is UNSET else recycle, **kw)
        self.config = (pool_config or PoolConfig()).merged(given)
        self._longest_wait = self.config.longest_wait
        self.pool_name = pool_name
        self._observer = pool_observer or PoolObserver()
        self._size = self.config.max_size if pool_size is UNSET else pool_size
        self._use_lifo = use_lifo
        self.as_queue_pool = as_queue_pool
        self._disposed = False
        self.meter = None  # here, since a class's values are looked up slowly
        self.ledger = Ledger()
        self.has_server = isinstance(self._dialect, Dialect) and self._dialect.name != "sqlite"
        if isinstance(self._dialect, Dialect):
            watch(self._dialect)
            readonly.watch(self._dialect)
            hosts.watch(self._dialect)
        self._start()

    def _start(self) -> None:
        self._records = Records(self)
        # SQLite connects at once, and an in-memory connection belongs to its thread.
        inline = getattr(self._dialect, "name", None) == "sqlite"
        connector = RecordConnector(self, self._records)
        self._monitor = ThreadMonitor(connector, self.config, self.pool_name, self._observer, inline=inline)
        connector.monitor = self._monitor
        self._monitor.by_caller = self.as_queue_pool
        self._like_queue_pool(self._monitor)
        self.ledger.add(self._monitor)

    def _like_queue_pool(self, monitor: Monitor) -> None:
        """What was asked for in a ``QueuePool``'s words."""
        monitor.state.most_recent_first = self._use_lifo
        if self.as_queue_pool:
            monitor.state.keep = self._size
        monitor.look_at_idle(self.has_server and not self.as_queue_pool)

    # -- SQLAlchemy's side: one record out, one record back ----------------------------------------------------------

    def connect(self) -> PoolProxiedConnection:
        """A connection in a caller's hands; ``Engine.connect`` calls this."""
        echo = self.logger.isEnabledFor(DEBUG)
        checkout = Checkout(self, echo)
        if checkout._connection_record.respool_mode is leases.ALONE:
            checkout.settle()
        return self._announced(checkout) if echo or self.dispatch.checkout else checkout

    def lease(self) -> PoolProxiedConnection | None:
        """A connection for the length of one plain read, in autocommit; see :mod:`respool.engine.pools.leases`.

        Returns:
            ``None`` if connections do not come as that needs them.
        """
        echo = self.logger.isEnabledFor(DEBUG)
        checkout = Checkout(self, echo, alone=True)
        if checkout._connection_record.respool_mode is leases.TOGETHER:
            checkout.settle()
        if checkout._connection_record.respool_mode is leases.NEVER_ALONE:
            self._do_return_conn(checkout.let_go())  # as it is: what is open on it is for who takes it to work
            return None
        return self._announced(checkout) if echo or self.dispatch.checkout else checkout

    def _announced(self, checkout: Checkout) -> PoolProxiedConnection:
        if checkout._echo:
            self.logger.debug("Connection %r checked out from pool", checkout.dbapi_connection)
        if self.dispatch.checkout:
            checkout._counter = 0
            # its listeners may refuse the connection: SQLAlchemy knows what to do then
            return Checkout._checkout(self, fairy=checkout)
        return checkout

    def _do_get(self, claim: Any = None) -> ConnectionPoolEntry:
        claim = claim or Claim()
        claim._monitor = monitor = self._monitor
        while True:
            try:
                entry = monitor.take(claim) or self._acquire(monitor, claim)
            except PoolTimeout as error:
                raise as_sqlalchemy(error, self._dialect) from error.__cause__
            record = entry.resource
            record.respool_entry = entry
            suspect = entry.acquired_at - entry.idle_since > REST or self._records.is_stale(record)
            if not suspect or self._is_usable(record):
                return record  # type: ignore[no-any-return]

    def _acquire(self, monitor: Any, claim: Claim) -> PoolEntry:
        """Wait for a connection."""
        entry: PoolEntry = monitor.acquire(claim, self._longest_wait)
        return entry

    def _is_usable(self, record: Any) -> bool:
        """Whether the connection is of the present generation and not dead; else it is closed."""
        if self._records.is_stale(record) or is_dead(self, record):
            self._records.discard(record)
            return False
        return True

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        ours: Any = record
        if ours.dbapi_connection is None:
            self._records.discard(ours)
        else:
            ours.respool_monitor.give(ours.respool_entry)

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        """A connection was found dead. It costs that one; the idle ones are checked before they are handed out.

        But one that a listener to ``handle_error`` calls dead may answer a check well: then all of its time are replaced.
        """
        self._invalidate_time = time.time()
        if exception is None or not isinstance(self._dialect, Dialect) or self.is_disconnect(exception, connection):
            self.doubt()
        else:
            for monitor in self.running_monitors():
                monitor.step(monitor.state.evict)
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    def is_disconnect(self, error: BaseException, checkout: Any) -> bool:
        """Whether the driver's error says that the connection is lost."""
        dialect = self._dialect
        if not isinstance(dialect, Dialect) or not isinstance(error, dialect.loaded_dbapi.Error):
            return False
        return dialect.is_disconnect(error, checkout, None)

    def doubt(self) -> None:
        """Have the idle connections checked before they are handed out: one was found dead."""
        for monitor in self.running_monitors():
            monitor.step(monitor.state.doubt)

    def replace(self, checkout: Checkout, error: BaseException) -> None:
        """Give a checkout another connection, in place of one that died before anything was done on it."""
        self.logger.info("Connection %r was dead when it was taken; replaced", checkout.dbapi_connection)
        record = checkout.let_go(place=False)
        try:
            record.invalidate(error)
        except BaseException:  # in asyncio a goodbye may wait, and be cancelled: the place is nobody else's any more
            self._records.discard(record)
            checkout.let_go()
            raise
        told = checkout.used  # of its checkout; who counts by events is told of its end, and of the other's beginning
        if told:
            record.checkin(_fairy_was_created=False)
        else:
            self._do_return_conn(record)
        self.doubt()
        checkout.take()
        checkout.settle()
        if told and self.dispatch.checkout:
            self.dispatch.checkout(checkout.dbapi_connection, checkout._connection_record, checkout)

    def mend(self, record: Any) -> None:
        """Take a connection back whose query was cancelled; only asyncio has such."""
        raise NotImplementedError

    @property
    def reset_needs_nothing(self) -> bool:
        """Whether a connection whose transaction has ended can be given back as it is."""
        return self._reset_on_return is not ResetStyle.reset_commit and not self.dispatch.reset

    def recreate(self) -> FairPool:
        """A new pool with the same settings. ``Engine.dispose`` calls it, and puts the new one in place of this one."""
        self.logger.info("Pool recreating")
        if self._disposed:  # what is still held is closed when it comes back
            for monitor in self.running_monitors():
                monitor.step(monitor.state.evict)
        again = self.__class__(
            self._creator,
            recycle=self._recycle,
            use_lifo=self._use_lifo,
            as_queue_pool=self.as_queue_pool,
            pool_config=self.config,
            pool_name=self.pool_name,
            pool_observer=self._observer,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=cast(Any, self._reset_on_return),
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )
        again._size = self._size
        again.meter = self.meter
        self.ledger.take_over(again.ledger, disposed=self._disposed)
        again.ledger = self.ledger
        return again

    def dispose(self) -> None:
        """Close what is idle. What is held comes back into this pool, unless it is recreated meanwhile."""
        self._disposed = True
        self._records.spare.clear()
        self._monitor.step(self._monitor.state.dismiss)
        self.logger.info("Pool disposed. %s", self.status())

    # -- ours --------------------------------------------------------------------------------------------------------

    def running_monitors(self) -> list[Monitor]:
        """The pools that it is made of: one, or one for each event loop."""
        return [self._monitor]

    def stats(self) -> PoolStats:
        """The numbers of this moment."""
        return self._monitor.stats()

    def totals(self) -> PoolStats:
        """The numbers since the first pool of its engine: with what those have done, and have out still, that were
        disposed of, and those of event loops that are closed.
        """
        running = self.running_monitors()
        return together([*([] if running else [self.stats()]), *self.ledger.read(running)])

    def fetch_totals(self) -> tuple[PoolStats, Times]:
        """The same, and the single values that ``ledger.keep_times(True)`` has kept since the last time."""
        running = self.running_monitors()
        parts, times = self.ledger.fetch(running)
        return together([*([] if running else [self.stats()]), *parts]), times

    def snapshot(self) -> PoolSnapshot:
        """The rows of this moment: every connection, every caller in line."""
        return self._monitor.snapshot()

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """As :meth:`respool.pool.ConnectionPool.resize`."""
        self.config = resized(self.config, min_size, max_size)
        self._size = self.config.max_size
        for monitor in self.running_monitors():
            monitor.step(monitor.state.resize, self.config)

    def suspend(self) -> None:
        """As :meth:`respool.pool.ConnectionPool.suspend`."""
        self._monitor.step(self._monitor.state.suspend)

    def resume(self) -> None:
        """As :meth:`respool.pool.ConnectionPool.resume`."""
        self._monitor.step(self._monitor.state.resume)

    def soft_evict(self, spread: float = 0.0) -> None:
        """As :meth:`respool.pool.ConnectionPool.soft_evict`."""
        for monitor in self.running_monitors():
            monitor.soft_evict(spread)

    def warm_up(self, size: int | None = None, *, wait: float | None = None) -> None:
        """As :meth:`respool.pool.ConnectionPool.warm_up`."""
        self._monitor.warm_up(self.config.max_size if size is None else size, wait)

    def close(self, timeout: float = 10.0) -> None:
        """End the pool; as :meth:`respool.pool.ConnectionPool.close`."""
        self._monitor.close(timeout)
