"""respool's own pools, on stub connections."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.base import Setup, TaskPeer, ThreadPeer
from benchmarks.stub import StubConnection
from respool.errors import PoolTimeout
from respool.pool import AsyncConnectionPool, ConnectionPool
from respool.pool.aio import AsyncLease
from respool.pool.threads import Lease


def settings(setup: Setup) -> dict[str, Any]:
    given = {"max_size": setup.size, "timeout": setup.timeout, "max_idle": setup.max_idle}
    return {name: value for name, value in given.items() if value is not None}


class Respool(ThreadPeer):
    name, key, package, ours = "respool ConnectionPool", "respool", "respool", True
    late = PoolTimeout

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._pool = ConnectionPool(setup.server.connect, **settings(setup))
        self.acquire = self._pool.acquire
        self.release = Lease.release

    def close(self) -> None:
        self._pool.close()


class RespoolAsync(TaskPeer):
    name, key, package, ours = "respool AsyncConnectionPool", "respool", "respool", True
    late = PoolTimeout

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._pool = AsyncConnectionPool(setup.server.connect_async, close=StubConnection.aclose, **settings(setup))
        self.acquire = self._pool.acquire
        self.release = AsyncLease.release

    async def close(self) -> None:
        await self._pool.close()
