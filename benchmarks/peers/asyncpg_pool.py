"""asyncpg.Pool: it only takes connections of its own class, so these are real ones, to a PostgreSQL of our own.

Its reset on release is one round trip to the server; here it is switched off, so that the pool alone is measured.
"""

from __future__ import annotations

import atexit
from functools import cache, partial
from typing import Any

import asyncpg

from benchmarks.peers.base import Setup, TaskPeer
from tests.support.postgres import PostgresServer


class AsyncpgPool(TaskPeer):
    name, key, package = "asyncpg.Pool", "asyncpg", "asyncpg"
    late = TimeoutError

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        idle = {} if setup.max_idle is None else {"max_inactive_connection_lifetime": setup.max_idle}
        self._pool = asyncpg.create_pool(
            server().url(driver=None), connect=self._connect, reset=_no_reset, min_size=0, max_size=setup.size, **idle
        )
        self.acquire = (
            self._pool.acquire if setup.timeout is None else partial(self._pool.acquire, timeout=setup.timeout)
        )
        self.release = self._pool.release

    async def _connect(self, *args: Any, **options: Any) -> Any:
        """First what the stub server would do, then a real connect."""
        stub = await self.setup.server.connect_async()
        connection = await asyncpg.connect(*args, **options)
        connection.add_termination_listener(lambda _: stub.close())
        return connection

    async def open(self) -> None:
        await self._pool

    async def close(self) -> None:
        await self._pool.close()


@cache
def server() -> PostgresServer:
    started = PostgresServer()
    started.start()
    atexit.register(started.close)
    return started


async def _no_reset(connection: Any) -> None:
    """Leave the connection as it is."""
