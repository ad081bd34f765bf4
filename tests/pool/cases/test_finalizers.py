"""Connections that nobody gives back but the garbage collector, in whatever thread and at whatever moment."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from respool.pool import CloseReason
from tests.pool.cases.driver import ASYNCIO, Driver, until


async def test_a_lease_that_is_lost_gives_its_place_back_and_warns(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        with pytest.warns(ResourceWarning, match="a connection of pool 'shop' was never given back"):
            del holder
            gc.collect()
        other = await waiter
        assert shop.observer.closes == ["broken"]
        assert other.connection.number == 2
        await other.release()


async def test_a_lease_that_is_lost_in_a_foreign_thread_serves_who_waits_in_the_loop() -> None:
    async with ASYNCIO.pool(max_size=1) as shop:
        holder = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        with pytest.warns(ResourceWarning, match="never given back"):
            thread = threading.Thread(target=lambda: (holder.clear(), gc.collect()))
            thread.start()
            thread.join()
        await (await waiter).release()
        await until(lambda: shop.connector.open == 1)


async def test_giving_back_inside_the_lock_neither_hangs_nor_is_lost(driver: Driver) -> None:
    """A finalizer may run at any bytecode, also in the thread that holds the pool's lock."""
    async with driver.pool(max_size=2) as shop:
        holders = await shop.hold(2)
        entries = [holder.lease._entry for holder in holders]
        (waiter,) = await shop.line_up(1)
        inside = []

        def transition() -> None:
            shop.monitor.give(entries[0])
            shop.monitor.give(entries[1], CloseReason.BROKEN)
            inside.append(shop.monitor.state.acquired)

        shop.monitor.step(transition)
        assert inside == [2]  # not yet: the lock was taken
        served = await waiter
        assert served.connection is holders[0].connection
        assert (shop.stats.acquired, shop.stats.closes) == (1, {"broken": 1})
        for holder in holders:
            holder.lease._entry = None
        await served.release()


async def test_giving_back_while_another_thread_holds_the_lock_does_not_wait_for_it(driver: Driver) -> None:
    async with driver.pool(max_size=2) as shop:
        (holder,) = await shop.hold(1)
        monitor, entry = shop.monitor, holder.lease._entry
        holder.lease._entry = None
        entered, go_on = threading.Event(), threading.Event()
        busy = threading.Thread(target=monitor.step, args=(lambda: (entered.set(), go_on.wait(20)),))
        busy.start()
        assert entered.wait(20)
        monitor.give(entry)
        assert monitor.state.acquired == 1
        go_on.set()
        busy.join()
        assert monitor.state.acquired == 0
        assert shop.stats.idle == 1


async def test_a_lease_that_is_lost_in_the_middle_of_everything(driver: Driver) -> None:
    """Garbage is collected again and again while callers come and go."""
    async with driver.pool(max_size=3) as shop:
        shop.late = 3  # a lost one may be closed a moment after its successor was opened

        async def careless() -> None:
            for n in range(20):
                holder = await shop.acquire()
                if n % 4 == 0:
                    cycle = [holder]
                    cycle.append(cycle)
                    del holder, cycle
                else:
                    await holder.release()

        stop = threading.Event()

        def collect() -> None:
            while not stop.wait(0.001):
                gc.collect(0)

        with pytest.warns(ResourceWarning, match="never given back"):
            collector = threading.Thread(target=collect)
            collector.start()
            await asyncio.gather(*(careless() for _ in range(10)))
            stop.set()
            collector.join()
            gc.collect()
        await until(lambda: shop.stats.acquired == 0)
        shop.check()
