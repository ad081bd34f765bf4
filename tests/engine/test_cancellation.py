"""A cancelled query gives its connection back, whole."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from respool.engine import AsyncFairPool
from tests.support.postgres import PostgresServer

ONE = sa.select(sa.literal(1))


def engine_for(postgres: PostgresServer, pg_url: str, driver: str, **settings: Any) -> AsyncEngine:
    url = postgres.url(driver, str(sa.make_url(pg_url).database))
    return create_async_engine(url, poolclass=AsyncFairPool, **settings)


def pool_of(engine: AsyncEngine) -> AsyncFairPool:
    assert isinstance(engine.pool, AsyncFairPool)
    return engine.pool


async def given_back(pool: AsyncFairPool) -> None:
    """Until every connection is whole and back in the pool."""
    while pool.stats().acquired:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_07_a_cancelled_query_costs_no_connection(
    postgres: PostgresServer, pg_url: str, driver: str
) -> None:
    engine = engine_for(postgres, pg_url, driver, max_size=1)

    async def sleep() -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("CREATE TABLE left_behind (x INTEGER)"))
            await connection.execute(sa.text("SELECT pg_sleep(60)"))

    task = asyncio.create_task(sleep())
    while not await asyncio.to_thread(postgres.sleeps, str(sa.make_url(pg_url).database)):
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT to_regclass('left_behind')")) is None, "rolled back"
    assert pool_of(engine).stats().connects == 1
    await engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_07_random_cancellations_leak_nothing(
    postgres: PostgresServer, pg_url: str, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_for(postgres, pg_url, driver, max_size=5)
    chance = random.Random(7)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    async def work() -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT pg_sleep(0.003)"))
            await connection.execute(ONE)
            await connection.commit()

    async def cancelled() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(chance.random() * 0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(work() for _ in range(5)))
    for _ in range(10):
        await asyncio.gather(*(cancelled() for _ in range(10)))
    pool = pool_of(engine)
    await given_back(pool)
    stats = pool.stats()
    assert stats.connects - 5 <= 1, f"reconnects: {stats.closes}"
    async with engine.connect() as connection:
        idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        assert await connection.scalar(sa.text(idle)) == 0
    await asyncio.gather(*(work() for _ in range(5)))
    assert not complaints
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    await engine.dispose()


async def test_a_cancelled_commit_is_settled(postgres: PostgresServer, pg_url: str) -> None:
    engine = engine_for(postgres, pg_url, "psycopg", max_size=1)
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
    for _ in range(20):
        async with engine.connect() as connection:
            await connection.execute(sa.text("INSERT INTO t VALUES (1)"))
            task = asyncio.create_task(connection.commit())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    await given_back(pool_of(engine))
    async with engine.connect() as connection:
        assert await connection.scalar(ONE) == 1
    await engine.dispose()
