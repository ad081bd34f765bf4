"""Whatever makes the tasks of a loop: the pool's own work runs in tasks of its own, and everybody gets his own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool
from respool.pool import AsyncConnectionPool
from tests.pool.test_interrupts import AsyncCounted, atake_all


def plain(loop: asyncio.AbstractEventLoop, coro: Any) -> Any:
    """As the documentation of ``set_task_factory`` has it: without a context."""
    return asyncio.Task(coro, loop=loop)


FACTORIES: dict[str, Callable[..., Any]] = {"plain": plain}
if hasattr(asyncio, "eager_task_factory"):  # Python 3.12
    FACTORIES["eager"] = asyncio.eager_task_factory

factories = pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)


@factories
def test_a_pool_in_a_loop_with_a_task_factory(factory: Callable[..., Any]) -> None:
    async def program() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        pool = AsyncConnectionPool(AsyncCounted().connect_async, max_size=2)
        assert (await atake_all(pool)).idle == 2
        lease = await pool.acquire()
        await lease.release(broken=True)
        await pool.close()

    asyncio.run(program())


@factories
def test_everybody_gets_his_own_rows(factory: Callable[..., Any], tmp_path: Path) -> None:
    async def program() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        url = f"sqlite+aiosqlite:///{tmp_path}/file.db"
        engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=3, check_after=0.0)
        wrong = []

        async def ask(number: int) -> None:
            for n in range(20):
                async with engine.connect() as connection:
                    row = await connection.scalar(sa.text("SELECT :n"), {"n": number * 100 + n})
                    if row != number * 100 + n:
                        wrong.append((number, n, row))
                    if n % 7 == number % 7:
                        await connection.invalidate()

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(ask(number))
        assert wrong == []
        pool: Any = engine.pool
        assert pool.stats().acquired == 0
        await engine.dispose()

    asyncio.run(program())


def test_dispose_in_a_coroutine(tmp_path: Path) -> None:
    async def program() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/file.db", poolclass=AsyncFairPool)
        async with engine.connect():
            pass
        pool: Any = engine.pool
        engine.sync_engine.dispose()
        assert pool.stats().total == 0
        await pool._monitors.current().wait_closings(10)
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("SELECT 1")) == 1
        await engine.dispose()

    asyncio.run(program())
