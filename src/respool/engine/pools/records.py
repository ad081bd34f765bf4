"""SQLAlchemy's connection records: made, and kept when only their connection is lost.

A record stands for a place in the pool and may outlive its connection: its ``record_info`` is the user's, and stays
when the connection is invalidated or detached.  Such a record is spare until the next connect takes it up again.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from respool.engine.dialects.arrivals import NOTHING, Arrival, arrival_of
from respool.engine.dialects.pipelining import is_far
from respool.engine.dialects.signs import transaction_state
from respool.engine.pools.leases import Before, Mode, mode_of
from respool.pool import CloseReason
from respool.pool.core.entries import PoolEntry
from respool.pool.drivers.monitor import Monitor

if TYPE_CHECKING:
    from respool.engine.pools.lending import LendingPool

__all__ = ["Record", "Records"]


_OUT_OF_ORDER = (CloseReason.FAILED_CHECK, CloseReason.FAILED_RESET, CloseReason.BROKEN)


class Record(Protocol):
    """What is used of SQLAlchemy's connection record, and the marks that we leave on it."""

    dbapi_connection: Any
    starttime: float
    _soft_invalidate_time: float
    respool_entry: PoolEntry
    respool_monitor: Monitor
    respool_arrival: Arrival  #: what its connection came with
    respool_before: Before  #: what a lease has changed about it
    respool_mode: Mode  #: what its connection is set to
    respool_tells: bool  #: whether its connection can tell at any time that a transaction is open
    respool_detached: bool  #: whether its connection has gone to somebody for good
    respool_far: bool  #: whether saving a round trip on it is worth some work

    def close(self) -> None: ...
    def get_connection(self) -> Any: ...


class Records:
    """The records of one pool."""

    def __init__(self, pool: LendingPool) -> None:
        self._pool = pool
        self.spare: deque[Any] = deque()

    def connect(self) -> Any:
        """A record with a new connection; opening it may take a while."""
        record = self._take_spare()
        if record is None:
            record = self._pool._create_connection()
        else:
            try:
                record.get_connection()
            except BaseException:
                self.spare.append(record)
                raise
        pool = self._pool
        try:
            record.respool_arrival = arrival_of(pool, record.dbapi_connection)
        except BaseException as error:
            record.invalidate(error)
            self.spare.append(record)
            raise
        record.respool_mode = mode_of(record.respool_arrival)
        record.respool_detached = False
        known = record.respool_arrival is not NOTHING
        record.respool_tells = known and transaction_state(record.dbapi_connection)[1]
        record.respool_far = not pool.as_queue_pool and is_far(pool._dialect, record.dbapi_connection)
        return record

    def _take_spare(self) -> Any:
        try:
            return self.spare.popleft()
        except IndexError:
            return None

    def is_stale(self, record: Record) -> bool:
        """Whether the record's connection was invalidated, or is older than SQLAlchemy's ``recycle`` allows."""
        pool = self._pool
        return (
            record.dbapi_connection is None
            or record._soft_invalidate_time > record.starttime
            or (pool.as_queue_pool and pool._invalidate_time > record.starttime)
            or -1 < pool._recycle < time.time() - record.starttime
        )

    def close(self, record: Record, reason: CloseReason) -> None:
        """Close a connection that the pool has let go; where its place is only renewed, the record stays.

        One that is out of order is closed in SQLAlchemy's short way: in asyncio a goodbye may wait for an answer.
        """
        try:
            if reason in _OUT_OF_ORDER and record.dbapi_connection is not None:
                getattr(record, "_ConnectionRecord__close")(terminate=True)  # noqa: B009 - the name is SQLAlchemy's secret
            else:
                record.close()
        finally:
            if reason in (CloseReason.MAX_LIFETIME, CloseReason.FAILED_CHECK, CloseReason.BROKEN):
                self.spare.append(record)

    def discard(self, record: Record) -> None:
        """Give a place back whose connection is no good; the record stays, for the next connect."""
        entry, reason, gone = record.respool_entry, CloseReason.BROKEN, record.dbapi_connection is None
        if gone:
            entry.resource = None
            if record.respool_detached:
                reason = CloseReason.DETACHED
        # the pool closes it, where no cancellation of the caller's can reach
        record.respool_monitor.give(entry, reason)
        if gone:  # not before: cut off in between, it would be spare and somebody's, or spare twice
            self.spare.append(record)
