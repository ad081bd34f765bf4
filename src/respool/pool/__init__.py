"""A connection pool for any resource, for threads and for asyncio; it knows nothing of SQLAlchemy."""

from respool.pool.aio import AsyncConnectionPool, AsyncLease
from respool.pool.core.entries import CloseReason
from respool.pool.telling.observer import PoolObserver
from respool.pool.telling.snapshot import ConnectionRow, PoolSnapshot, WaiterRow
from respool.pool.telling.stats import PoolStats
from respool.pool.threads import ConnectionPool, Lease

__all__ = [
    "AsyncConnectionPool",
    "AsyncLease",
    "CloseReason",
    "ConnectionPool",
    "ConnectionRow",
    "Lease",
    "PoolObserver",
    "PoolSnapshot",
    "PoolStats",
    "WaiterRow",
]
