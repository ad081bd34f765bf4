"""Closing a pool, and what an operator does to a running one."""

from __future__ import annotations

import asyncio
import logging

import pytest

from respool.errors import ConfigError, ConnectFailed, PoolClosed, PoolTimeout
from respool.testing import Gate
from tests.pool.cases.driver import Driver, until

# -- close -------------------------------------------------------------------------------------------------------------


async def test_close_fails_who_waits_and_waits_for_who_holds(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        line = await shop.line_up(3)
        closing = asyncio.create_task(shop.close())
        for task in line:
            with pytest.raises(PoolClosed):
                await task
        assert not closing.done()
        await holder.release()
        await closing
        assert shop.connector.open == 0


async def test_close_names_who_still_holds_a_connection(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "respool.pool")
    async with driver.pool() as shop:
        (holder,) = await shop.hold(1)
        await shop.close(0.02)
        assert "pool 'shop' is closed, and still: connection 1 held" in caplog.text
        await holder.release()
        await until(lambda: shop.connector.open == 0)


async def test_a_closed_pool_refuses_and_may_be_closed_again(driver: Driver) -> None:
    async with driver.pool() as shop:
        await shop.close()
        with pytest.raises(PoolClosed):
            await shop.acquire()
        await shop.close()


async def test_close_closes_what_is_under_way_when_it_arrives(driver: Driver) -> None:
    async with driver.pool() as shop:
        shop.connector.connects.then(gate := Gate())
        waiter = shop.ask()
        await until(lambda: gate.waiting)
        closing = asyncio.create_task(shop.close())
        with pytest.raises(PoolClosed):
            await waiter
        gate.open()
        await closing
        assert (len(shop.connector.connections), shop.connector.open) == (1, 0)


# -- a running pool ----------------------------------------------------------------------------------------------------


async def test_resize_grows_for_who_waits_and_shrinks_with_what_comes_back(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        shop.pool.resize(max_size=2)
        other = await waiter
        shop.pool.resize(max_size=1)
        await other.release()
        await until(lambda: shop.observer.closes == ["shrunk"])
        await holder.release()
        assert (shop.stats.max_size, shop.stats.total) == (1, 1)
        shop.late = 1  # there were two once
        with pytest.raises(ConfigError, match="min_size=3 is larger than max_size=1"):
            shop.pool.resize(min_size=3)


async def test_a_suspended_pool_lets_callers_wait_and_resumed_serves_them_in_order(driver: Driver) -> None:
    async with driver.pool(max_size=2) as shop:
        (holder,) = await shop.hold(1)
        await holder.release()
        shop.pool.suspend()
        line = await shop.line_up(3)
        assert shop.stats.idle == 1
        shop.pool.resume()
        for task in line:
            await (await task).release()


async def test_a_pool_may_be_suspended_before_its_first_use(driver: Driver) -> None:
    async with driver.pool() as shop:
        shop.pool.suspend()
        with pytest.raises(PoolTimeout):
            await shop.acquire(0.02)
        shop.pool.resume()
        await (await shop.acquire()).release()


async def test_a_suspended_pool_below_min_size_is_quiet(driver: Driver) -> None:
    async with driver.pool(min_size=1, max_lifetime=0.02) as shop:
        await until(lambda: shop.stats.idle == 1)
        shop.pool.suspend()
        await until(lambda: shop.stats.total == 0)
        ticks = []
        tick = shop.monitor.tick
        shop.monitor.tick = lambda at=None: (ticks.append(at), tick(at))
        with pytest.raises(PoolTimeout):
            await shop.acquire(0.05)
        assert ticks == []
        del shop.monitor.tick
        shop.pool.resume()


async def test_soft_eviction_replaces_every_connection_when_nobody_uses_it(driver: Driver) -> None:
    async with driver.pool() as shop:
        idle, held = await shop.hold(2)
        await idle.release()
        shop.pool.soft_evict()
        await until(lambda: idle.connection.closed)
        assert not held.connection.closed
        await held.release()
        await until(lambda: held.connection.closed)
        await (await shop.acquire()).release()
        assert len(shop.connector.connections) == 3


async def test_soft_eviction_over_a_while(driver: Driver) -> None:
    async with driver.pool(max_size=3, max_idle=None, max_lifetime=None) as shop:
        for holder in await shop.hold(3):
            await holder.release()
        shop.pool.soft_evict(spread=0.05)
        await until(lambda: shop.stats.total == 0)


async def test_warm_up_opens_so_many_and_waits_for_them(driver: Driver) -> None:
    async with driver.pool(max_size=5) as shop:
        await shop.call("warm_up", 3, wait=10)
        assert shop.stats.idle == 3
        await shop.call("warm_up")
        await until(lambda: shop.stats.idle == 5)


async def test_warm_up_tells_what_went_wrong(driver: Driver) -> None:
    async with driver.pool() as shop:
        shop.connector.connects.then(ValueError("no such host"))
        with pytest.raises(ConnectFailed) as caught:
            await shop.call("warm_up", 1, wait=10)
        assert isinstance(caught.value.__cause__, ValueError)
        shop.connector.connects.then(gate := Gate())
        with pytest.raises(PoolTimeout):
            await shop.call("warm_up", 1, wait=0.02)
        gate.open()


# -- what it shows -----------------------------------------------------------------------------------------------------


async def test_a_snapshot_has_a_row_for_each_connection_and_each_caller_in_line(driver: Driver) -> None:
    async with driver.pool(max_size=2) as shop:
        holders = await shop.hold(2)
        line = await shop.line_up(1)
        shown = shop.pool.snapshot()
        assert [row.state for row in shown.connections] == ["acquired", "acquired"]
        assert len(shown.waiters) == 1
        assert shown.stats.waiting == 1
        for holder in holders:
            await holder.release()
        await (await line[0]).release()


async def test_a_connection_that_is_held_too_long_is_reported_and_its_return_too(driver: Driver) -> None:
    async with driver.pool(leak_after=0.02) as shop:
        (holder,) = await shop.hold(1)
        await until(lambda: shop.observer.leaks)
        await holder.release()
        assert [line.split()[0] for line in shop.observer.leaks] == ["held", "returned"]
        assert shop.stats.leaks == 1


async def test_use_and_waiting_are_measured(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        await holder.release()
        await (await waiter).release()
        stats = shop.stats
        assert (stats.acquired_total, stats.waited_total) == (2, 2)
        assert (stats.use_time.total, stats.wait_time.total, stats.create_time.total) == (2, 2, 1)
        assert stats.wait_time.max > 0
        assert stats.saturated_seconds > 0
