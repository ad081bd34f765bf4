"""How the pool opens, closes and checks SQLAlchemy's connection records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import greenlet_spawn

from respool.engine.dialects.cancels import prepare
from respool.engine.dialects.outage import is_outage
from respool.engine.dialects.server_hangups import hung_up
from respool.engine.dialects.signs import transaction_note
from respool.engine.pools.staleness import ping
from respool.pool import CloseReason
from respool.pool.drivers.monitor import Monitor

if TYPE_CHECKING:
    from respool.engine.pools.lending import LendingPool
    from respool.engine.pools.records import Records

__all__ = ["AsyncRecordConnector", "RecordConnector"]


class RecordConnector:
    """For threads. A resource is a connection record, which connects when it is made and closes by itself."""

    monitor: Monitor  #: that it works for

    def __init__(self, pool: LendingPool, records: Records) -> None:
        self._pool = pool
        self._records = records
        self.close = records.close

    def connect(self) -> Any:
        record = self._records.connect()
        record.respool_monitor = self.monitor
        return record

    def check(self, record: Any, timeout: float) -> None:
        ping(self._pool, record)

    def reset(self, record: Any) -> None:
        """Nothing: SQLAlchemy rolls back before it gives a record back."""

    def is_outage(self, error: BaseException) -> bool:
        return is_outage(self._pool._dialect, error)

    def is_databases(self, error: BaseException) -> bool:
        kind: Any = getattr(getattr(self._pool._dialect, "dbapi", None), "Error", OSError)
        return isinstance(error, (kind, OSError))

    def note(self, record: Any) -> str | None:
        return transaction_note(record.dbapi_connection)

    def dead(self, records: list[Any]) -> list[Any]:
        return hung_up(records)


class AsyncRecordConnector:
    """For asyncio: the same, in the greenlet that SQLAlchemy's async drivers need."""

    monitor: Monitor  #: that it works for

    def __init__(self, pool: LendingPool, records: Records) -> None:
        self._pool = pool
        self._records = records
        self._left_behind: set[asyncio.Task[None]] = set()

    async def connect(self) -> Any:
        return await greenlet_spawn(self._connect)

    def _connect(self) -> Any:
        record = self._records.connect()
        try:
            record.respool_monitor = self.monitor
            prepare(self._pool._dialect, record.dbapi_connection)
        except BaseException:
            record.close()
            raise
        return record

    async def close(self, record: Any, reason: CloseReason) -> None:
        await greenlet_spawn(self._records.close, record, reason)

    async def check(self, record: Any, timeout: float) -> None:
        """In a task that can be left behind: a driver may answer a cancellation by another word to a stalled network."""
        check = asyncio.Task(greenlet_spawn(ping, self._pool, record), loop=asyncio.get_running_loop())
        try:
            await asyncio.wait({check})
        except asyncio.CancelledError:
            self._left_behind.add(check)
            check.add_done_callback(self._forget)
            check.cancel()
            raise
        check.result()

    def _forget(self, check: asyncio.Task[None]) -> None:
        self._left_behind.discard(check)
        if not check.cancelled():
            check.exception()  # of no interest any more

    async def reset(self, record: Any) -> None:
        """Nothing: SQLAlchemy rolls back before it gives a record back."""

    def is_outage(self, error: BaseException) -> bool:
        return is_outage(self._pool._dialect, error)

    def note(self, record: Any) -> str | None:
        return transaction_note(record.dbapi_connection)

    def dead(self, records: list[Any]) -> list[Any]:
        return hung_up(records)
