"""An observer or a log handler that blocks, uses the pool or raises what is no ``Exception`` costs only itself."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from respool.pool import AsyncConnectionPool, ConnectionPool, PoolObserver
from respool.pool.drivers.keeper import keeper
from tests.pool.test_interrupts import PATIENCE, AsyncCounted, Counted, atake_all, in_a_thread, take_all

EVENTS = ["connected", "closed", "connect_failed", "recovered", "leaked", "leak_returned"]


class Harsh(BaseException):
    """No ``Exception``."""


class Raising(PoolObserver):
    """Raises at every event."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.heard: list[str] = []
        for event in EVENTS:
            setattr(self, event, self.at(event, kind))

    def at(self, event: str, kind: type[BaseException]) -> Any:
        def hear(*facts: object) -> None:
            self.heard.append(event)
            raise kind(event)

        return hear


@pytest.fixture
def _handler() -> Iterator[logging.Handler]:
    """A log handler that raises."""

    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise Harsh("the log")

    handler = Handler()
    logger = logging.getLogger("respool.pool")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", [ValueError, Harsh, GeneratorExit, asyncio.CancelledError])
@pytest.mark.usefixtures("_handler")
def test_whatever_an_observer_and_the_log_raise_the_pool_goes_on(kind: type[BaseException]) -> None:
    observer = Raising(kind)
    pool = ConnectionPool(Counted().connect, max_size=1, observer=observer)
    lease = pool.acquire(timeout=PATIENCE)
    waiter = in_a_thread(lambda: pool.acquire(timeout=PATIENCE).release())
    while not pool.stats().waiting:
        pass
    lease.release(broken=True)
    waiter.result(PATIENCE)
    assert take_all(pool).total == 1
    pool.close()
    assert observer.heard == ["connected", "closed", "connected", "closed"]


@pytest.mark.parametrize("kind", [ValueError, Harsh, SystemExit, KeyboardInterrupt])
@pytest.mark.usefixtures("_handler")
def test_whatever_an_observer_and_the_log_raise_the_pool_goes_on_in_asyncio(kind: type[BaseException]) -> None:
    async def program() -> None:
        observer = Raising(kind)
        pool = AsyncConnectionPool(AsyncCounted().connect_async, max_size=2, observer=observer)
        await atake_all(pool)
        assert (await atake_all(pool)).idle == 2
        assert observer.heard == ["connected", "connected"]
        await pool.close()

    asyncio.run(program())


def test_what_ends_a_program_goes_on_out_of_an_observer_in_the_main_thread_when_all_is_done() -> None:
    pool = ConnectionPool(Counted().connect, max_size=1, observer=Raising(KeyboardInterrupt))
    lease = pool.acquire(timeout=PATIENCE)
    waiter = in_a_thread(lambda: pool.acquire(timeout=PATIENCE).release())
    while not pool.stats().waiting:
        pass
    with pytest.raises(KeyboardInterrupt):
        lease.release(broken=True)
    waiter.result(PATIENCE)
    assert in_a_thread(lambda: take_all(pool)).result(PATIENCE).total == 1
    in_a_thread(pool.close).result(PATIENCE)


def test_an_observer_that_blocks_holds_nobody_else_up() -> None:
    gate = threading.Event()

    class Blocking(PoolObserver):
        def connected(self, seconds: float) -> None:
            gate.wait(PATIENCE * 4)

        def closed(self, reason: str) -> None:
            gate.wait(PATIENCE * 4)

    pool = ConnectionPool(Counted().connect, max_size=1, observer=Blocking())
    lease = pool.acquire(timeout=PATIENCE)
    waiter = in_a_thread(lambda: pool.acquire(timeout=PATIENCE).release())
    while not pool.stats().waiting:
        pass
    giver = in_a_thread(lambda: lease.release(broken=True))
    waiter.result(PATIENCE)
    assert not giver.done()
    gate.set()
    giver.result(PATIENCE)
    pool.close()


def test_an_observer_that_blocks_where_time_passes_does_not_stop_the_keeper() -> None:
    gate, heard = threading.Event(), threading.Event()

    class Blocking(PoolObserver):
        def leaked(self, holder: object, seconds: float) -> None:
            heard.set()
            gate.wait(PATIENCE * 4)

    pool = ConnectionPool(Counted().connect, max_size=1, observer=Blocking(), leak_after=0.001)
    lease = pool.acquire(timeout=PATIENCE)
    assert heard.wait(PATIENCE)
    other = ConnectionPool(Counted().connect, max_size=1)
    assert in_a_thread(lambda: take_all(other)).result(PATIENCE).total == 1
    gate.set()
    lease.release()
    other.close()
    pool.close()


def test_an_observer_and_a_log_handler_may_use_the_pool() -> None:
    seen: list[bool] = []

    class Using(PoolObserver):
        def closed(self, reason: str) -> None:
            if len(seen) < 3:
                with pool.acquire(timeout=PATIENCE):
                    seen.append(True)

    pool = ConnectionPool(Counted().connect, max_size=1, observer=Using())
    pool.acquire(timeout=PATIENCE).release(broken=True)
    assert seen == [True]
    pool.close()


@pytest.mark.parametrize("kind", [Harsh, SystemExit, KeyboardInterrupt, MemoryError])
def test_the_keeper_outlives_a_job_that_raises(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    def job() -> None:
        raise kind("a job")

    caplog.set_level(logging.CRITICAL, "respool.pool")
    keeper.at(0.0, job)
    keeper.start(job)
    pool = ConnectionPool(Counted().connect, max_size=2)
    assert in_a_thread(lambda: take_all(pool)).result(PATIENCE).total == 2
    pool.close()


def test_the_keeper_comes_back_with_its_alarms_when_its_thread_has_ended() -> None:
    keeper.start(int)
    first = keeper._thread
    assert first is not None
    rung = threading.Event()
    keeper.at(keeper_time() + 0.05, rung.set)
    keeper._thread = None  # it ends at its next job
    keeper._jobs.put((float("-inf"), int, ()))
    first.join(PATIENCE)
    keeper.start(int)
    assert rung.wait(PATIENCE)


def keeper_time() -> float:
    from respool.pool.drivers.clock import Clock

    return Clock.now()
