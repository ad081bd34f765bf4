"""The limit: SQL by hand on asyncpg's own pool, a connection for each statement or transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI

from benchmarks.applications.frameworks import in_context

ORDER = "INSERT INTO orders (token, item_id) VALUES ($1, $2)"


class Work:
    pool: Any

    async def read(self, session: Any, number: int) -> dict[str, Any]:
        return dict(await self.pool.fetchrow("SELECT id, name, stock FROM item WHERE id = $1", number))

    async def listing(self, session: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.pool.fetch("SELECT id, name, stock FROM item ORDER BY id LIMIT 100")]

    async def stock(self, session: Any, number: int) -> int:
        return int(await self.pool.fetchval("SELECT stock FROM item WHERE id = $1", number))

    async def write(self, session: Any, token: str, item: int) -> None:
        await self.pool.execute(ORDER, token, item)

    async def sell(self, session: Any, number: int, token: str) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.fetchrow("SELECT id, name, stock FROM item WHERE id = $1", number)
            await connection.execute("UPDATE item SET stock = stock - 1 WHERE id = $1", number)
            await connection.execute(ORDER, token, number)

    async def sleep(self, session: Any, seconds: float) -> None:
        await self.pool.fetchval("SELECT pg_sleep($1)", seconds)

    async def declined(self, session: Any, token: str, error: Exception) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(ORDER, token, 1)
            raise error

    async def shared(self, session: Any, tokens: Sequence[str]) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await asyncio.gather(*(connection.execute(ORDER, token, 1) for token in tokens))


def make(url: str, size: int) -> Any:
    work = Work()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=1, max_size=size) as work.pool:
            yield

    async def none() -> None:
        return None

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    in_context(app, work, none)
    return app
