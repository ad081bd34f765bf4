"""Tasks that are cancelled at any await they may stand at: nothing is lost, however it falls. The dice are seeded."""

from __future__ import annotations

import asyncio
import random

import pytest

from respool.testing import Answer, Gate
from tests.pool.cases.driver import ASYNCIO, Face, until


async def visit(shop: Face, loops: int) -> None:
    holder = await shop.acquire()
    try:
        await shop.connector.use(holder.connection)
        for _ in range(loops):
            await asyncio.sleep(0)
    finally:
        await holder.release()


@pytest.mark.parametrize("seed", range(8))
async def test_300_tasks_that_are_cancelled_anywhere(seed: int) -> None:
    dice = random.Random(seed)
    gates: list[Gate] = []

    def answer() -> Answer:
        """Mostly well, sometimes late, sometimes badly."""
        roll = dice.random()
        if roll < 0.15:
            gates.append(Gate(ConnectionError("late and bad") if roll < 0.03 else None))
            return gates[-1]
        return ValueError("bad") if roll < 0.25 else None

    async with ASYNCIO.pool("check", "reset", max_size=5, check_after=dice.choice([0.0, 1.0])) as shop:
        scripts = shop.connector.connects, shop.connector.checks, shop.connector.resets, shop.connector.uses
        for script in scripts:
            script.then(*(answer() for _ in range(300)))
        visitors = []
        for _ in range(300):
            visitors.append(asyncio.create_task(visit(shop, dice.randrange(4))))
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            if dice.random() < 0.9:
                dice.choice(visitors[-10:]).cancel()
            if gates and dice.random() < 0.5:
                gates.pop(dice.randrange(len(gates))).open()
            shop.monitor.step(shop.monitor.state.check)
        for gate in gates:
            gate.open()
        for script in scripts:
            script.free()
        await asyncio.wait(visitors)
        ends = ["cancelled" if task.cancelled() else type(task.exception()).__name__ for task in visitors]
        assert set(ends) >= {"cancelled", "NoneType"}  # else it would prove nothing
        await until(lambda: shop.stats.connecting == 0)
        assert (shop.stats.acquired, shop.stats.waiting) == (0, 0)
        await until(lambda: shop.connector.open == shop.stats.idle)
        for holder in await shop.hold(5):
            await holder.release()
