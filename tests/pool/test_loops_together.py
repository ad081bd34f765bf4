"""A pool for asyncio that several event loops use: its numbers are those of all, and can be had from anywhere."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import fields

from respool.config import PoolConfig
from respool.pool import AsyncConnectionPool
from respool.pool.core.entries import CloseReason
from respool.pool.core.histogram import Histogram
from respool.pool.core.state import PoolState
from respool.pool.telling.stats import stats_of, together


async def _open() -> object:
    return object()


async def _close(resource: object) -> None: ...


def test_two_loops_and_none() -> None:
    pool = AsyncConnectionPool(_open, close=_close, max_size=3, name="shop")
    assert (pool.stats().total, pool.stats().max_size, pool.snapshot().connections) == (0, 3, ())
    held, seen = threading.Barrier(3, timeout=30), threading.Event()

    async def hold() -> None:
        async with pool.acquire():
            await asyncio.to_thread(held.wait)
            await asyncio.to_thread(seen.wait)
        await pool.close()

    threads = [threading.Thread(target=lambda: asyncio.run(hold())) for _ in range(2)]
    for thread in threads:
        thread.start()
    held.wait()
    stats, snapshot = pool.stats(), pool.snapshot()
    seen.set()
    for thread in threads:
        thread.join()
    assert (stats.acquired, stats.total, stats.max_size, stats.connects) == (2, 2, 6, 2)
    assert [row.state for row in snapshot.connections] == ["acquired", "acquired"]
    assert snapshot.stats.acquired == 2


def test_every_number_is_added_up_or_said_once() -> None:
    parts = []
    for number in (1, 2):
        state = PoolState(PoolConfig(max_size=number), float, object)
        state.count["timeouts"] = number
        state.closes[CloseReason.MAX_IDLE] = number
        state._past_uses = 1
        state.wait_time = Histogram()
        state.wait_time.add(float(number))
        state.closed = number == 1
        parts.append(state)
    both = together([stats_of("shop", state) for state in parts])
    assert (both.name, both.max_size, both.timeouts, both.closed) == ("shop", 3, 3, False)
    assert (both.wait_time.sum, both.wait_time.total, both.wait_time.max) == (3.0, 2, 2.0)
    assert both.closes == {"max_idle": 3}
    assert {field.name for field in fields(both)} == set(both.as_dict())
