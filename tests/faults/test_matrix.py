"""Every step that can go wrong, in every way it can: afterwards the law holds, and the next caller is served.

A visit is acquire, use, release.  One of its steps goes wrong once: at once with an error, slowly, for ever, or by being
cancelled (in a thread, where nothing can be cancelled, by what an interrupt at the keyboard would raise there).
"""

from __future__ import annotations

import asyncio

import pytest

from respool.testing import Answer, Gate, Script
from tests.pool.cases.driver import ASYNCIO, PATIENCE, THREADS, Driver, Face, Holding, in_thread, until


class Failure(Exception):
    """What goes wrong, for good."""


class Interrupt(BaseException):
    """A ``KeyboardInterrupt`` that does not end the tests."""


#: What the visitor sees; where two words stand, the first is for threads and the second for tasks.
OUTCOMES = {
    "connect": {"ok": "done", "error": "Failure", "slow": "done", "never": "done", "cancelled": "interrupted"},
    "check": {"ok": "done", "error": "done", "slow": "done", "never": "PoolTimeout", "cancelled": "interrupted"},
    "reset": {"ok": "done", "error": "done", "slow": "done", "never": "hangs", "cancelled": "interrupted"},
    "use": {"ok": "done", "error": "Failure", "slow": "done", "never": "hangs", "cancelled": "interrupted"},
    # a thread closes by itself; in asyncio a task of the pool's does it
    "close": {"ok": "done", "error": "done", "slow": "done", "never": "hangs done", "cancelled": "interrupted done"},
}
CELLS = [(step, fault) for step, faults in OUTCOMES.items() for fault in faults]


async def use(shop: Face, holder: Holding) -> None:
    if shop.driver is ASYNCIO:
        await shop.connector.use(holder.connection)
    else:
        await in_thread(shop.connector.use, holder.connection)


async def visit(shop: Face, timeout: float, *, breaks: bool) -> None:
    holder = await shop.acquire(timeout)
    try:
        await use(shop, holder)
    finally:
        await holder.release(broken=breaks)


def outcome(task: asyncio.Task[None]) -> str:
    if not task.done():
        return "hangs"
    if task.cancelled() or isinstance(task.exception(), Interrupt):
        return "interrupted"
    error = task.exception()
    return "done" if error is None else type(error).__name__


@pytest.mark.parametrize("driver", [THREADS, ASYNCIO], ids=lambda driver: driver.name)
@pytest.mark.parametrize("step, fault", CELLS)
async def test_a_fault(driver: Driver, step: str, fault: str) -> None:
    gate = Gate()
    answers: dict[str, Answer] = {"ok": None, "error": Failure("no"), "slow": gate, "never": gate, "cancelled": gate}
    if fault == "cancelled" and driver is THREADS:
        answers["cancelled"] = Interrupt()
    async with driver.pool("check", "reset", check_after=0.0, connect_timeout=0.1) as shop:
        shop.late = 1  # a connect that was given up may still arrive
        if step != "connect":
            for holder in await shop.hold(2):
                await holder.release()  # so that there is something to check
        script: Script = getattr(shop.connector, {"use": "uses", "close": "closes"}.get(step, step + "s"))
        calls = script.calls
        script.then(answers[fault])
        timeout = 0.3 if (step, fault) == ("check", "never") else PATIENCE
        visitor = asyncio.create_task(visit(shop, timeout, breaks=step == "close"))
        await until(lambda: script.calls > calls)
        if fault == "slow":
            await until(lambda: gate.waiting or script.calls > calls + 1)
            gate.open()
        elif fault == "cancelled" and driver is ASYNCIO:
            await until(lambda: gate.waiting)
            victims = [task for task in asyncio.all_tasks() if task.get_name() == "respool-shop"]
            (victims[0] if step == "close" else visitor).cancel()

        words = OUTCOMES[step][fault].split()
        expected = words[0] if driver is THREADS else words[-1]
        if expected != "hangs":
            await until(visitor.done)
        for holder in [await shop.acquire(), *([] if expected == "hangs" else [await shop.acquire()])]:
            await use(shop, holder)
            await holder.release()
        shop.check()
        assert outcome(visitor) == expected

        shop.connector.free()
        await until(visitor.done)
        await until(lambda: (shop.stats.acquired, shop.stats.waiting) == (0, 0))
        assert outcome(visitor) == ("done" if expected == "hangs" else expected)
