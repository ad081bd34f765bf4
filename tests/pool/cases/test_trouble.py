"""Connections that fail to open, die, or cannot be closed; a database that goes away and comes back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from respool.errors import PoolTimeout
from respool.testing import Gate
from tests.pool.cases.driver import Driver, Recorder, until

AWAY = ConnectionRefusedError("nobody listens")


class WrongPassword(Exception):
    pass


async def test_an_error_for_good_reaches_the_caller_whose_turn_it_was(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        shop.connector.connects.then(WrongPassword("no"), None)
        line = [shop.ask()]
        await until(lambda: shop.stats.connect_errors)
        line += [shop.ask()]
        with pytest.raises(WrongPassword, match="no"):
            await line[0]
        await (await line[1]).release()
        assert shop.observer.errors[0] is not None


async def test_an_outage_lets_callers_wait_and_serves_all_when_it_is_over(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "respool.pool")
    async with driver.pool(max_size=2) as shop:
        shop.connector.connects.always(AWAY)
        line = await shop.line_up(5)
        await until(lambda: shop.connector.connects.calls >= 3)
        assert shop.stats.database_away
        assert not any(task.done() for task in line)
        shop.connector.connects.always()
        for task in line:
            await (await task).release()
        assert not shop.stats.database_away
        assert len(shop.observer.outages) == 1
    assert [record.getMessage().split(": ")[1].split(" after")[0] for record in caplog.records] == [
        "connect failed, trying again",
        "the database is back",
    ]


async def test_a_timeout_in_an_outage_tells_its_cause(driver: Driver) -> None:
    async with driver.pool() as shop:
        shop.connector.connects.always(AWAY)
        patient = shop.ask()
        await until(lambda: shop.stats.database_away)
        with pytest.raises(PoolTimeout) as caught:
            await shop.acquire(0.05)
        shop.connector.connects.always()
        await (await patient).release()
        assert caught.value.__cause__ is AWAY
        assert caught.value.facts["database_away"] is True


async def test_a_connect_that_hangs_is_given_up_and_what_comes_of_it_later_is_closed(driver: Driver) -> None:
    async with driver.pool(max_size=1, connect_timeout=0.05) as shop:
        shop.late = 1
        shop.connector.connects.then(gate := Gate(), None)
        await (await shop.acquire()).release()
        assert shop.connector.connects.calls == 2
        gate.open()
        if driver.name == "threads":  # in asyncio the hung one was cancelled
            await until(lambda: len(shop.connector.connections) == 2)
        await until(lambda: shop.connector.open == 1)


async def test_a_broken_connection_is_closed_and_replaced_for_who_waits(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        await holder.release(broken=True)
        other = await waiter
        assert other.connection is not holder.connection
        assert holder.connection.closed
        assert shop.observer.closes == ["broken"]
        await other.release()


async def test_a_reset_that_fails_is_not_the_callers_trouble(driver: Driver) -> None:
    async with driver.pool("reset", max_size=1) as shop:
        shop.connector.resets.then(ConnectionError("gone"))
        (holder,) = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        await holder.release()
        await (await waiter).release()
        assert shop.observer.closes == ["failed_reset"]


async def test_a_rested_connection_is_checked_and_a_dead_one_replaced_unnoticed(driver: Driver) -> None:
    async with driver.pool("check", check_after=0.0) as shop:
        for holder in await shop.hold(2):
            await holder.release()
        assert shop.connector.checks.calls == 0
        await (await shop.acquire()).release()
        assert shop.connector.checks.calls == 1
        shop.connector.checks.then(ConnectionError("dead"), ConnectionError("dead"))
        await (await shop.acquire()).release()
        assert shop.observer.closes == ["failed_check"] * 2
        assert shop.connector.connects.calls == 3


async def test_a_connection_in_constant_use_is_never_checked(driver: Driver) -> None:
    async with driver.pool("check", check_after=1000) as shop:
        for _ in range(5):
            await (await shop.acquire()).release()
        assert shop.connector.checks.calls == 0


async def test_a_close_that_fails_is_a_line_in_the_log(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    async with driver.pool() as shop:
        shop.connector.closes.then(OSError("already gone"))
        (holder,) = await shop.hold(1)
        await holder.release(broken=True)
        await until(lambda: "closing a connection failed" in caplog.text)
        await (await shop.acquire()).release()


async def test_a_close_that_hangs_keeps_nobody_waiting_for_the_next_connection(driver: Driver) -> None:
    async with driver.pool(max_size=1) as shop:
        (holder,) = await shop.hold(1)
        (waiter,) = await shop.line_up(1)
        shop.connector.closes.then(gate := Gate())
        release = asyncio.create_task(holder.release(broken=True))
        await (await waiter).release()
        gate.open()
        await release


async def test_an_observer_that_fails_harms_nobody(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    async with driver.pool(max_size=1) as shop:

        class Clumsy(Recorder):
            def connected(self, seconds: float) -> None:
                raise RuntimeError("oops")

        shop.monitor.observer = Clumsy()
        await (await shop.acquire()).release()
        await until(lambda: "the observer failed on 'connected'" in caplog.text)  # told after the caller was woken
