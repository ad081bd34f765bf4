"""Callers who do not get a connection in time, or do not want it any more."""

from __future__ import annotations

import asyncio
import time

import pytest

from respool.errors import PoolQueueFull, PoolTimeout
from respool.testing import Gate
from tests.pool.cases.driver import ASYNCIO, Driver, until


async def test_a_caller_waits_as_long_as_the_setting_says_and_no_longer(driver: Driver) -> None:
    async with driver.pool(max_size=1, timeout=0.05) as shop:
        (holder,) = await shop.hold(1)
        began = time.monotonic()
        with pytest.raises(PoolTimeout, match=r"no connection from pool 'shop' within 0\.05 s") as caught:
            await shop.acquire()
        assert time.monotonic() - began >= 0.05
        assert (caught.value.timeout, caught.value.facts["acquired"]) == (0.05, 1)
        assert (shop.stats.waiting, shop.stats.timeouts) == (0, 1)
        await holder.release()
        await (await shop.acquire()).release()


async def test_a_call_may_have_a_timeout_of_its_own(driver: Driver) -> None:
    async with driver.pool(max_size=1, timeout=None) as shop:
        (holder,) = await shop.hold(1)
        with pytest.raises(PoolTimeout, match=r"within 0\.02 s"):
            await shop.acquire(0.02)
        await holder.release()


async def test_timeout_0_never_waits_for_another_caller(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        holder = await shop.acquire(0)  # the connect that is made for it is no waiting for others
        with pytest.raises(PoolTimeout):
            await shop.acquire(0)
        await holder.release()
        await (await shop.acquire(0)).release()


async def test_timeout_0_ends_with_the_connect_that_fails(driver: Driver) -> None:
    async with driver.pool(max_size=2, max_connecting=2) as shop:
        gates = Gate(ConnectionRefusedError()), Gate(ConnectionRefusedError())
        shop.connector.connects.then(*gates)
        impatient = [shop.ask(0), shop.ask(0)]
        await until(lambda: all(gate.waiting for gate in gates))
        for gate in gates:
            gate.open()
        for task in impatient:
            with pytest.raises(PoolTimeout) as caught:
                await task
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_an_impatient_caller_whose_connect_failed_is_woken_once(driver: Driver) -> None:
    """Its thread may not have moved yet when another connect fails, or when a connection is given back."""
    async with driver.pool(max_size=2) as shop:
        (holder,) = await shop.hold(1)
        state = shop.monitor.state
        waiter = shop.monitor.step(lambda: state.join("impatient", patient=False))
        (entry,) = (entry for entry in state.entries.values() if entry.resource is None)
        shop.monitor.step(lambda: state.failed(entry, ConnectionRefusedError(), outage=True))
        await holder.release()
        shop.monitor.step(lambda: state.leave(waiter))
        assert (shop.stats.idle, shop.stats.acquired) == (1, 0)


async def test_max_waiting_refuses_the_one_too_many_at_once(driver: Driver) -> None:
    async with driver.pool(max_size=1, max_waiting=2) as shop:
        (holder,) = await shop.hold(1)
        line = await shop.line_up(2)
        with pytest.raises(PoolQueueFull, match="2 callers wait already, max_waiting is 2"):
            await shop.acquire()
        for task in line:
            await holder.release()
            holder = await task
        await holder.release()
        assert shop.stats.refused == 1


async def test_a_caller_who_gives_up_leaves_its_connect_running_into_the_pool(driver: Driver) -> None:
    async with driver.pool() as shop:
        gate = Gate()
        shop.connector.connects.then(gate)
        with pytest.raises(PoolTimeout):
            await shop.acquire(0.02)
        assert shop.stats.connecting == 1
        gate.open()
        await until(lambda: shop.stats.idle == 1)
        await (await shop.acquire()).release()
        assert shop.connector.connects.calls == 1


async def test_those_behind_one_who_gave_up_move_up(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        impatient = shop.ask(0.05)
        await until(lambda: shop.stats.waiting == 1)
        (patient,) = await shop.line_up(1)
        with pytest.raises(PoolTimeout):
            await impatient
        await holder.release()
        await (await patient).release()


async def test_the_deadline_covers_the_check(driver: Driver) -> None:
    async with driver.pool("check", check_after=0.0) as shop:
        for holder in await shop.hold(2):
            await holder.release()
        gate = Gate()
        shop.connector.checks.always(gate)
        with pytest.raises(PoolTimeout):
            await shop.acquire(0.05)
        assert shop.observer.closes == ["failed_check"]  # one bad check costs one connection
        assert shop.stats.idle == 1


# -- cancellation: asyncio only, nothing else can be cancelled from outside ---------------------------------------------


async def cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_in_line() -> None:
    async with ASYNCIO.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        first, second = await shop.line_up(2)
        await cancel(first)
        await holder.release()
        await (await second).release()


async def test_cancelled_while_connecting_leaves_the_connect_running() -> None:
    async with ASYNCIO.pool() as shop:
        gate = Gate()
        shop.connector.connects.then(gate)
        task = shop.ask()
        await until(lambda: gate.waiting)
        await cancel(task)
        gate.open()
        await until(lambda: shop.stats.idle == 1)


async def test_cancelled_with_the_connection_in_hand_passes_it_on() -> None:
    async with ASYNCIO.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        first, second = await shop.line_up(2)
        holder.lease._monitor.give(holder.lease._entry)  # it is the first one's now, who has not run yet
        holder.lease._entry = None
        first.cancel()
        served = await second
        assert first.cancelled()
        assert served.connection is holder.connection
        await served.release()


async def test_cancelled_in_a_check_costs_that_connection_only() -> None:
    async with ASYNCIO.pool("check", check_after=0.0) as shop:
        for holder in await shop.hold(2):
            await holder.release()
        shop.connector.checks.then(gate := Gate())
        task = shop.ask()
        await until(lambda: gate.waiting)
        await cancel(task)
        await until(lambda: shop.observer.closes == ["broken"])
        assert shop.stats.idle == 1
        await (await shop.acquire()).release()


async def test_cancelled_in_a_reset_costs_that_connection_only() -> None:
    async with ASYNCIO.pool("reset") as shop:
        (holder,) = await shop.hold(1)
        shop.connector.resets.then(gate := Gate())
        task = asyncio.create_task(holder.release())
        await until(lambda: gate.waiting)
        await cancel(task)
        await until(lambda: shop.observer.closes == ["broken"])
        await (await shop.acquire()).release()


async def test_a_cancelled_connect_is_made_again_for_who_waits() -> None:
    async with ASYNCIO.pool() as shop:
        shop.connector.connects.then(gate := Gate())
        waiter = shop.ask()
        await until(lambda: gate.waiting)
        (connect,) = (task for task in asyncio.all_tasks() if task.get_name() == "respool-shop")
        connect.cancel()
        await (await waiter).release()
        assert shop.connector.connects.calls == 2
