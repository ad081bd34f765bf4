"""What happens while nobody does anything. The times are short and real; what is waited for are the pool's own events."""

from __future__ import annotations

import gc
import weakref

import pytest

from respool.pool.drivers import monitor
from tests.pool.cases.driver import Driver, until


async def test_a_burst_of_15_shrinks_to_min_size_without_any_traffic(driver: Driver) -> None:
    async with driver.pool(min_size=2, max_size=15, max_connecting=15, max_idle=0.1) as shop:
        for holder in await shop.hold(15):
            await holder.release()
        assert shop.stats.idle == 15
        await until(lambda: len(shop.observer.closes) == 13)
        assert shop.observer.closes == ["max_idle"] * 13
        assert shop.stats.idle == 2
        await until(lambda: shop.connector.open == 2)


async def test_what_lived_long_enough_is_closed_while_it_rests(driver: Driver) -> None:
    async with driver.pool(max_idle=None, max_lifetime=0.05) as shop:
        await (await shop.acquire()).release()
        await until(lambda: shop.observer.closes == ["max_lifetime"])
        assert shop.stats.total == 0


async def test_a_pool_that_is_forgotten_is_not_kept_alive_by_its_alarms(driver: Driver) -> None:
    async with driver.pool(max_idle=1000) as other:  # and its keeper goes on for the others
        async with driver.pool(max_idle=1000, connect_timeout=None) as shop:
            await (await shop.acquire()).release()
            assert shop.monitor.state.alarm_at < float("inf")
            forgotten = weakref.ref(shop.monitor)
        del shop

        def collected() -> bool:
            gc.collect()
            return forgotten() is None

        await until(collected)
        await (await other.acquire()).release()


async def test_promise_10_what_the_other_end_closed_leaves_the_pool_without_any_traffic(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "LOOK_EVERY", 0.01)
    async with driver.pool("is_dead", min_size=2, max_size=3) as shop:
        await until(lambda: shop.stats.idle == 2)
        first, second = shop.connector.connections
        first.dead = True
        await until(lambda: shop.observer.closes and shop.stats.idle == 2)  # told last, by the thread that closed it
        assert first.closed
        assert shop.observer.closes == ["server_closed"]
        assert not second.closed
        assert shop.stats.connects == 3


async def test_a_look_that_fails_closes_nothing(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def fails(connections: list[object]) -> list[object]:
        looks.append(len(connections))
        raise OSError("cannot look")

    monkeypatch.setattr(monitor, "LOOK_EVERY", 0.01)
    async with driver.pool("is_dead") as shop:
        monkeypatch.setattr(shop.monitor.connector, "dead", fails)
        await (await shop.acquire()).release()
        await until(lambda: len(looks) > 2)
        assert shop.stats.idle == 1
