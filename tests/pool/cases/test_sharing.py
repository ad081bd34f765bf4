"""Who gets which connection, and how many there are."""

from __future__ import annotations

import asyncio

from respool.testing import Gate
from tests.pool.cases.driver import Driver, until


async def test_nothing_is_opened_before_somebody_asks_and_one_is_enough_for_one_after_the_other(driver: Driver) -> None:
    async with driver.pool() as shop:
        assert shop.stats.total == 0
        for _ in range(5):
            await (await shop.acquire()).release()
        assert shop.connector.connects.calls == 1


async def test_it_grows_with_those_who_ask_at_once_and_never_above_the_limit(driver: Driver) -> None:
    async with driver.pool(max_size=3) as shop:
        holders = await shop.hold(3)
        assert len({holder.connection for holder in holders}) == 3
        (waiter,) = await shop.line_up(1)
        assert (shop.connector.open, shop.stats.total) == (3, 3)
        await holders[0].release()
        last = await waiter
        assert last.connection is holders[0].connection
        for holder in (*holders[1:], last):
            await holder.release()
        assert shop.stats.peak == 3


async def test_callers_are_served_in_the_order_in_which_they_came(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        line = await shop.line_up(8)
        for first, *others in (line[n:] for n in range(8)):
            await holder.release()
            holder = await first
            assert not any(task.done() for task in others)
        await holder.release()


async def test_the_most_recently_used_goes_out_first(driver: Driver) -> None:
    async with driver.pool(max_size=3) as shop:
        a, b, c = await shop.hold(3)
        for holder in (b, c, a):
            await holder.release()
        again = await shop.hold(3)
        assert [holder.connection for holder in again] == [a.connection, c.connection, b.connection]
        for holder in again:
            await holder.release()


async def test_min_size_is_opened_without_being_asked_for(driver: Driver) -> None:
    async with driver.pool(min_size=2, max_size=4) as shop:
        await until(lambda: shop.stats.idle == 2)
        assert shop.connector.open == 2


async def test_a_lost_connection_of_min_size_is_replaced_without_being_asked_for(driver: Driver) -> None:
    async with driver.pool(min_size=1) as shop:
        (holder,) = await shop.hold(1)
        await holder.release(broken=True)
        await until(lambda: shop.stats.idle == 1)
        assert shop.connector.connects.calls == 2


async def test_no_more_than_max_connecting_are_opened_at_once(driver: Driver) -> None:
    async with driver.pool(max_size=6, max_connecting=2) as shop:
        gate = Gate()
        shop.connector.connects.always(gate)
        line = await shop.line_up(6)
        await until(lambda: gate.waiting == 2)
        assert (shop.stats.connecting, shop.connector.connects.calls) == (2, 2)
        gate.open()
        for task in line:
            await (await task).release()


async def test_whichever_comes_first_serves_and_the_connect_goes_on_into_the_pool(driver: Driver) -> None:
    async with driver.pool(max_size=2) as shop:
        (holder,) = await shop.hold(1)
        gate = Gate()
        shop.connector.connects.then(gate)
        (waiter,) = await shop.line_up(1)
        await until(lambda: gate.waiting)
        await holder.release()
        served = await waiter
        assert served.connection is holder.connection
        gate.open()
        await until(lambda: shop.stats.idle == 1)
        await served.release()


async def test_a_lease_gives_back_once_however_often_it_is_released(driver: Driver) -> None:
    async with driver.pool() as shop:
        (holder,) = await shop.hold(1)
        await holder.release()
        (other,) = await shop.hold(1)
        await holder.release()
        await holder.release(broken=True)
        assert shop.stats.acquired == 1
        await other.release()


async def test_connections_are_reset_before_the_next_one_gets_them(driver: Driver) -> None:
    async with driver.pool("reset") as shop:
        gate = Gate()
        shop.connector.resets.then(gate)
        (holder,) = await shop.hold(1)
        releasing = asyncio.create_task(holder.release())
        await until(lambda: gate.waiting)
        assert shop.stats.acquired == 1
        gate.open()
        await releasing
        assert (shop.stats.idle, shop.connector.resets.calls) == (1, 1)
