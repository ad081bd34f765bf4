"""A connection pool for any resource, for threads and for asyncio; it knows nothing of SQLAlchemy."""

from respool.pool.aio import AsyncConnectionPool, AsyncLease
from respool.pool.entries import CloseReason
from respool.pool.observer import PoolObserver
from respool.pool.snapshot import ConnectionRow, PoolSnapshot, WaiterRow
from respool.pool.stats import PoolStats
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
