"""One asyncio pool and several event loops: each has connections and limits of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from respool.errors import PoolTimeout
from respool.pool import AsyncConnectionPool
from respool.testing import AsyncScriptedConnector, FakeConnection


@pytest.fixture
def connector() -> AsyncScriptedConnector:
    return AsyncScriptedConnector()


@pytest.fixture
def pool(connector: AsyncScriptedConnector) -> AsyncConnectionPool[FakeConnection]:
    return AsyncConnectionPool(**connector.functions("connect", "close"), max_size=1, name="shop")


def test_loops_one_after_the_other(
    pool: AsyncConnectionPool[FakeConnection], connector: AsyncScriptedConnector
) -> None:
    numbers = []

    async def use() -> None:
        for _ in range(3):
            async with pool.acquire() as connection:
                numbers.append(connection.number)
        await pool.close()

    for _ in range(3):
        asyncio.run(use())
    assert numbers == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert connector.open == 0


def test_a_loop_that_ends_with_callers_in_line_and_connects_under_way_leaves_nothing_behind(
    pool: AsyncConnectionPool[FakeConnection], connector: AsyncScriptedConnector
) -> None:
    async def leave_early() -> None:
        waiting = [asyncio.ensure_future(pool.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.stats().connecting == 1
        assert not any(task.done() for task in waiting)

    asyncio.run(leave_early())
    assert connector.open == 0

    async def use() -> int:
        async with pool.acquire(1) as connection:
            number = connection.number
        await pool.close()
        return number

    assert asyncio.run(use()) == 1


@pytest.mark.parametrize("min_size", [0, 1])
def test_a_loop_that_ends_without_a_word_closes_what_nobody_uses(
    connector: AsyncScriptedConnector, min_size: int
) -> None:
    """``asyncio.run`` and no ``close()``; and what is kept warm is not opened anew."""
    functions = connector.functions("connect", "close")
    pool = AsyncConnectionPool(**functions, min_size=min_size, max_size=2, name="shop")
    for number in (1, 2):
        asyncio.run(use_once(pool))
        assert (connector.open, len(connector.connections)) == (0, number)


def in_loops(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run each in a loop in a thread of its own, all at once."""
    errors: list[BaseException] = []

    def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_two_loops_at_once_have_a_limit_each(
    pool: AsyncConnectionPool[FakeConnection], connector: AsyncScriptedConnector
) -> None:
    both_hold = threading.Barrier(2, timeout=20)

    async def use() -> None:
        for _ in range(20):
            async with pool.acquire() as connection:
                await asyncio.to_thread(both_hold.wait)
                assert not connection.closed
                with pytest.raises(PoolTimeout):
                    await pool.acquire(0)
        await pool.close()

    in_loops(use, use)
    assert len(connector.connections) == 2


class ShyLoop(asyncio.SelectorEventLoop):
    """A loop that lets another thread do something at the moment when it is asked whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None

    def is_closed(self) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().is_closed()


def test_two_loops_that_begin_at_the_same_moment_keep_what_they_have(
    pool: AsyncConnectionPool[FakeConnection], connector: AsyncScriptedConnector
) -> None:
    """The second one comes while the first one looks which loops are closed, to add itself to the others."""
    second_is_in, first_is_in = threading.Event(), threading.Event()
    first_of_all = ShyLoop()

    async def second() -> None:
        before = pool._monitors.current()
        second_is_in.set()
        await asyncio.to_thread(first_is_in.wait, 20)
        async with pool.acquire():
            assert pool._monitors.current() is before
            assert before in pool._monitors.all()
        await pool.close()

    thread = threading.Thread(target=asyncio.run, args=(second(),))

    def begin_second() -> None:
        thread.start()
        second_is_in.wait(0.2)  # where a lock keeps it out, it comes later

    async def first() -> None:
        first_of_all.meanwhile = begin_second
        pool.stats()
        first_is_in.set()
        await asyncio.to_thread(second_is_in.wait, 20)
        await pool.close()

    first_of_all.run_until_complete(use_once(pool))
    asyncio.run(first())
    thread.join()
    first_of_all.run_until_complete(pool.close())
    first_of_all.close()
    assert connector.open == 0


async def use_once(pool: AsyncConnectionPool[FakeConnection]) -> None:
    async with pool.acquire():
        pass


async def test_what_the_pool_opens_knows_nothing_of_the_request_that_asked_first() -> None:
    request: ContextVar[str | None] = ContextVar("request", default=None)
    seen: list[str | None] = []

    async def connect() -> FakeConnection:
        seen.append(request.get())
        return FakeConnection(1)

    pool = AsyncConnectionPool(connect, max_size=1)
    request.set("GET /orders")
    async with pool.acquire():
        assert seen == [None]
    await pool.close()
