"""What happens while nobody does anything. The times are short and real; what is waited for are the pool's own events."""

from __future__ import annotations

import gc
import weakref

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
            monitor = weakref.ref(shop.monitor)
        del shop

        def collected() -> bool:
            gc.collect()
            return monitor() is None

        await until(collected)
        await (await other.acquire()).release()
