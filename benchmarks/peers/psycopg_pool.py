"""psycopg_pool, on stub connections: it takes any ``connection_class``."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from benchmarks.peers.base import Setup, TaskPeer, ThreadPeer
from benchmarks.stub import StubConnection, StubServer


class PsycopgStub:
    """A stub connection as psycopg_pool wants it: with a transaction status, and room for its marks."""

    pgconn = SimpleNamespace(transaction_status=TransactionStatus.IDLE)

    def __init__(self, inner: StubConnection) -> None:
        self._inner = inner

    @classmethod
    def connect(cls, conninfo: str, *, server: StubServer) -> PsycopgStub:
        return cls(server.connect())

    def close(self) -> None:
        self._inner.close()


class PsycopgStubAsync(PsycopgStub):
    @classmethod
    async def connect(cls, conninfo: str, *, server: StubServer) -> PsycopgStub:  # type: ignore[override]
        return cls(await server.connect_async())

    async def close(self) -> None:  # type: ignore[override]
        self._inner.close()


def settings(setup: Setup) -> dict[str, Any]:
    given = {"min_size": 0, "max_size": setup.size, "timeout": setup.timeout, "max_idle": setup.max_idle}
    stub = {"kwargs": {"server": setup.server}, "open": False}
    return {name: value for name, value in given.items() if value is not None} | stub


class PsycopgPool(ThreadPeer):
    name, key, package = "psycopg_pool", "psycopg_pool", "psycopg_pool"
    late = PoolTimeout

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._pool: Any = ConnectionPool(connection_class=PsycopgStub, **settings(setup))
        self._pool.open()
        self.acquire: Callable[[], Any] = self._pool.getconn
        self.release: Callable[[Any], object] = self._pool.putconn

    def close(self) -> None:
        self._pool.close()


class PsycopgPoolAsync(TaskPeer):
    name, key, package = "psycopg_pool (async)", "psycopg_pool", "psycopg_pool"
    late = PoolTimeout

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._pool: Any = AsyncConnectionPool(
            connection_class=PsycopgStubAsync,
            **settings(setup),
        )
        self.acquire = self._pool.getconn
        self.release = self._pool.putconn

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()
