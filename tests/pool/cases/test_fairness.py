"""Nobody starves: whoever comes back again and again gets as much as everybody else. Counts, no times."""

from __future__ import annotations

import asyncio
import threading
import time

from tests.pool.cases.driver import ASYNCIO, THREADS, until

SIZE = 5


def fair(counts: list[int]) -> bool:
    """Within a tenth of the mean, all of them."""
    mean = sum(counts) / len(counts)
    return min(counts) >= 0.9 * mean and max(counts) <= 1.1 * mean


def test_what_is_fair() -> None:
    assert fair([20, 21, 19])
    assert not fair([20, 20, 15])


async def test_64_threads_on_5_connections() -> None:
    rounds, callers = 40, 64
    async with THREADS.pool(max_size=SIZE, max_connecting=SIZE) as shop:
        served: list[int] = []  # who, in order
        holders = await shop.hold(SIZE)

        inside: list[int] = []

        def may_go(me: int) -> bool:
            """Who holds a connection knows it, and all the others are in line: nobody is late by the system's doing."""
            all_here = len(inside) == SIZE and inside[0] == me and shop.stats.waiting == callers - SIZE
            return all_here or len(served) >= rounds * callers

        def work(me: int) -> None:
            while len(served) < rounds * callers:
                with shop.pool.acquire():
                    served.append(me)
                    inside.append(me)
                    while not may_go(me):
                        time.sleep(0.0001)
                    inside.remove(me)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(callers)]
        for thread in threads:
            thread.start()
        await until(lambda: shop.stats.waiting == callers)
        for holder in holders:
            await holder.release()
        await until(lambda: not any(thread.is_alive() for thread in threads))
        assert fair([served[: rounds * callers].count(n) for n in range(callers)])


async def test_1000_tasks_on_5_connections() -> None:
    rounds, callers = 10, 1000
    async with ASYNCIO.pool(max_size=SIZE, max_connecting=SIZE) as shop:
        served: list[int] = []
        holders = await shop.hold(SIZE)

        async def work(me: int) -> None:
            while len(served) < rounds * callers:
                async with shop.pool.acquire():
                    served.append(me)
                    await asyncio.sleep(0)

        tasks = [asyncio.create_task(work(n)) for n in range(callers)]
        await until(lambda: shop.stats.waiting == callers)
        for holder in holders:
            await holder.release()
        await asyncio.gather(*tasks)
        counts = [0] * callers
        for me in served[: rounds * callers]:
            counts[me] += 1
        assert fair(counts)
