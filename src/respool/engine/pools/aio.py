"""The pool for async engines: ``create_async_engine(url, poolclass=AsyncFairPool)``."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolResetState
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from respool.engine.dialects.cancels import MENDING_SECONDS, roll_back
from respool.engine.dialects.signs import has_something_to_say
from respool.engine.pools import fair
from respool.engine.pools.connectors import AsyncRecordConnector
from respool.engine.pools.fair import FairPool
from respool.engine.pools.leases import FIT, Loan
from respool.engine.pools.records import Records
from respool.engine.pools.timeouts import as_sqlalchemy
from respool.errors import PoolTimeout
from respool.pool import PoolSnapshot, PoolStats
from respool.pool.core.entries import Claim, PoolEntry
from respool.pool.drivers.loops import LoopMonitors
from respool.pool.drivers.monitor import Monitor
from respool.pool.drivers.tasks import LoopMonitor

__all__ = ["AsyncFairPool"]

#: Drivers whose autocommit is a flag of the client, in asyncio too.
_SET_AT_ONCE = ("asyncpg", "psycopg", "psycopg_async")
#: Seconds that ``dispose`` waits for connections to say goodbye.
_CLOSING_SECONDS = 5.0


class AsyncFairPool(FairPool, AsyncAdaptedQueuePool):
    """A :class:`FairPool` for async engines, with a sub-pool for each loop."""

    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"
    _is_asyncio = True
    _monitors: LoopMonitors = None  # type: ignore[assignment]  # set by _start
    _mending = 0

    def _start(self) -> None:
        self._records = Records(self)
        self._monitors = LoopMonitors(self._new_monitor, self._loop_is_closed)

    def _loop_is_closed(self, monitor: LoopMonitor) -> None:
        self.ledger.end(monitor)  # the ledger of this moment: a pool that replaces another one takes over its

    def _new_monitor(self) -> LoopMonitor:
        self._records.spare.clear()
        connector = AsyncRecordConnector(self, self._records)
        monitor = LoopMonitor(connector, self.config, self.pool_name, self._observer)
        connector.monitor = monitor
        self._like_queue_pool(monitor)
        self.ledger.add(monitor)
        return monitor

    @property
    def _monitor(self) -> Any:  # type: ignore[override]
        """The running loop's."""
        return self._monitors.current()

    def _acquire(self, monitor: Any, claim: Claim) -> PoolEntry:
        entry: PoolEntry = await_only(monitor.acquire_in_line(claim, self._longest_wait))
        return entry

    async def lend(self, loan: Loan, statement: str) -> bool:
        """As :meth:`Loan.take`, for a coroutine: nothing needs a greenlet but what is rare."""
        monitor = loan._monitor = self._monitors.current()
        meter = self.meter
        asked = None if meter is None else meter.asked()
        try:
            while True:
                entry = monitor.take(loan) or await self._in_line(monitor, loan)
                record = entry.resource
                record.respool_entry = entry
                suspect = entry.acquired_at - entry.idle_since > fair.REST or self._records.is_stale(record)
                if not suspect or await self._is_fit(record):
                    break
        except BaseException:
            monitor.abandon(loan)
            if meter is not None:
                meter.gave_up(asked)
            raise
        loan.record, loan.connection = record, record.dbapi_connection
        use = None if meter is None else meter.took(asked, entry, alone=True)
        if record.respool_mode not in FIT:
            at_once = self._dialect.driver in _SET_AT_ONCE  # type: ignore[attr-defined]
            if not (loan.settle() if at_once else await greenlet_spawn(loan.settle)):
                return False
        if use is not None:
            use.begin(statement)
        return True

    async def _in_line(self, monitor: LoopMonitor, loan: Loan) -> PoolEntry:
        try:
            return await monitor.acquire_in_line(loan, self._longest_wait)
        except PoolTimeout as error:
            raise as_sqlalchemy(error, self._dialect) from error.__cause__

    async def _is_fit(self, record: Any) -> bool:
        if not self._records.is_stale(record) and not has_something_to_say(record.dbapi_connection):
            return True
        return await greenlet_spawn(self._is_usable, record)

    def mend(self, record: Any) -> None:
        """Take a connection back whose query was cancelled: rolled back in a task of the pool's, then free again."""
        monitor: LoopMonitor = record.respool_monitor
        self._mending += 1
        monitor.spawn(self._mend, record)

    async def _mend(self, record: Any) -> None:
        try:
            await self._make_whole(record)
        finally:
            self._mending -= 1

    async def _make_whole(self, record: Any) -> None:
        try:
            async with asyncio.timeout(MENDING_SECONDS):
                await greenlet_spawn(self._roll_back, record)
        except BaseException as error:
            self.logger.info("Connection %r could not be mended after a cancellation", record.dbapi_connection)
            await greenlet_spawn(record._checkin_failed, error, False)
            if not isinstance(error, Exception):
                raise
        else:
            record.checkin(_fairy_was_created=False)

    def _roll_back(self, record: Any) -> None:
        roll_back(self._dialect, record.dbapi_connection, lambda: self._invoke_creator(record))
        if self.dispatch.reset:
            state = PoolResetState(transaction_was_reset=True, terminate_only=False, asyncio_safe=True)
            self.dispatch.reset(record.dbapi_connection, record, state)

    def dispose(self) -> None:
        """Close what is idle, in every loop. What is held comes back into this pool, unless it is recreated."""
        self._disposed = True
        self._records.spare.clear()
        for monitor in self._monitors.all():
            monitor.step(monitor.state.dismiss)
            if monitor.is_here and in_greenlet():  # from a coroutine nobody can wait; they are closed all the same
                await_only(monitor.wait_closings(_CLOSING_SECONDS))
        self.logger.info("Pool disposed. %s", self.status())

    def checkedout(self) -> int:
        """As ``QueuePool``'s; connections that are being made whole after a cancellation are nobody's."""
        return super().checkedout() - self._mending

    def running_monitors(self) -> list[Monitor]:
        """As :meth:`FairPool.running_monitors`."""
        return list(self._monitors.all())

    def stats(self) -> PoolStats:
        """The numbers of this moment, of all event loops together. From anywhere."""
        return self._monitors.stats(self.pool_name, self.config)

    def snapshot(self) -> PoolSnapshot:
        """The rows of this moment: every connection, every caller in line, of every event loop. From anywhere."""
        return self._monitors.snapshot(self.pool_name, self.config)

    def suspend(self) -> None:
        """As :meth:`respool.pool.AsyncConnectionPool.suspend`."""
        self._monitors.suspend(True)

    def resume(self) -> None:
        """As :meth:`respool.pool.AsyncConnectionPool.resume`."""
        self._monitors.suspend(False)

    async def awarm_up(self, size: int | None = None, *, wait: float | None = None) -> None:
        """As :meth:`respool.pool.AsyncConnectionPool.warm_up`."""
        await self._monitors.current().warm_up(self.config.max_size if size is None else size, wait)

    def warm_up(self, size: int | None = None, *, wait: float | None = None) -> None:
        """As :meth:`awarm_up`, from inside a greenlet of SQLAlchemy's."""
        await_only(self.awarm_up(size, wait=wait))

    async def aclose(self, timeout: float = 10.0) -> None:
        """End the running loop's pool; as :meth:`respool.pool.AsyncConnectionPool.close`."""
        await self._monitors.current().close(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """As :meth:`aclose`, from inside a greenlet of SQLAlchemy's."""
        await_only(self.aclose(timeout))
