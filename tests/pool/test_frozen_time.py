"""Time that a test has frozen: the pool's goes on."""

from __future__ import annotations

import asyncio
import time
from types import ModuleType
from typing import Any

import pytest

from respool.pool import AsyncConnectionPool, ConnectionPool, PoolObserver
from respool.pool.drivers import clock, keeper, tasks, threads
from tests.pool.test_interrupts import PATIENCE, AsyncCounted, Counted


@pytest.fixture
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As freezegun does: in the module time, and wherever a module has one of its functions."""
    names = ("time", "monotonic", "perf_counter", "monotonic_ns", "time_ns", "perf_counter_ns")
    fakes = {getattr(time, name): (lambda: 1_700_000_000.0) for name in names}
    modules: list[ModuleType] = [time, clock, keeper, tasks, threads]
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, type(time.time)) and value in fakes:
                monkeypatch.setattr(module, name, fakes[value])


class Closed(PoolObserver):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.mark.usefixtures("_frozen")
def test_promise_09_idle_connections_are_closed_in_frozen_time() -> None:
    observer = Closed()
    pool = ConnectionPool(Counted().connect, max_idle=0.05, observer=observer)
    pool.acquire(timeout=PATIENCE).release()
    while not observer.reasons:
        pass
    assert observer.reasons == ["max_idle"]
    pool.close()


@pytest.mark.usefixtures("_frozen")
def test_promise_09_idle_connections_are_closed_in_frozen_time_in_asyncio() -> None:
    async def program() -> None:
        observer = Closed()
        pool: Any = AsyncConnectionPool(
            AsyncCounted().connect_async, max_idle=0.05, connect_timeout=None, observer=observer
        )
        async with pool.acquire():
            pass
        while not observer.reasons:
            await asyncio.sleep(0)
        assert observer.reasons == ["max_idle"]

    asyncio.run(program())
