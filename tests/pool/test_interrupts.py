"""An exception out of nowhere, before each instruction in turn: the pool is not locked, nothing lost, nobody forgotten."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial, wraps
from typing import Any

import pytest

from respool.pool import AsyncConnectionPool, ConnectionPool
from tests.support.interrupts import Interrupt, TimeLimit, at, every_instruction, interrupted_at

PATIENCE = 3.0


class Counted:
    """Connections that count themselves."""

    def __init__(self) -> None:
        self.open = 0

    def connect(self) -> Connection:
        return Connection(self)


class Connection:
    def __init__(self, counted: Counted) -> None:
        self._counted = counted
        self._closed = False
        counted.open += 1

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._counted.open -= 1

    def __del__(self) -> None:  # as drivers' connections do
        self.close()


def in_a_thread(function: Callable[[], object]) -> Future[Any]:
    """Run in a daemon thread: if it hangs, the test fails and ends all the same."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a thread of its own.

    Python does not expect an exception before any instruction: it may go on handling for ever what was being handled
    there, in that thread, where all who ask ``sys.exc_info()`` for an error, as Flask does at its ends, would find one.
    """

    @wraps(test)
    def run(**given: Any) -> None:
        in_a_thread(partial(test, **given)).result()

    return run


@pytest.fixture(autouse=True)
def nothing_is_being_handled() -> Iterator[None]:
    yield
    assert sys.exc_info() == (None, None, None)


def take_all(pool: Any) -> Any:
    """Every place of the pool can be taken, and is free again afterwards."""
    leases = [pool.acquire(timeout=PATIENCE) for _ in range(pool.config.max_size)]
    assert pool.stats().acquired == len(leases)
    for lease in leases:
        lease.release()
    pool._monitor.step(pool._monitor.state.check)
    return pool.stats()


def checked(pool: Any, where: str | None) -> Any:
    try:
        return in_a_thread(lambda: take_all(pool)).result(PATIENCE + 5)
    except BaseException as error:
        error.add_note(f"after an interrupt {where}")
        raise


def use(pool: Any) -> None:
    with pool.acquire(timeout=PATIENCE):
        pass


def throw_away(pool: Any) -> None:
    lease = pool.acquire(timeout=PATIENCE)
    lease.release(broken=True)


def two(pool: Any) -> None:
    with pool.acquire(timeout=PATIENCE), pool.acquire(timeout=PATIENCE):
        pass


def end(pool: Any) -> None:
    with pool.acquire(timeout=PATIENCE):
        pass
    pool.soft_evict()
    pool.resize(max_size=2)
    pool.stats()


# of leases and coroutines that are dropped where they were interrupted
IGNORED = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning"
)
CHECK, RESET = {"check_after": 0.0, "check": id}, {"reset": id}


@IGNORED
@pytest.mark.parametrize(
    "work, warm, settings, kind",
    [
        (use, True, {}, Interrupt),
        (use, True, {}, TimeLimit),
        (use, True, CHECK, Interrupt),
        (use, True, RESET, Interrupt),
        (use, False, {}, Interrupt),
        (use, False, {}, TimeLimit),
        (throw_away, True, {}, Interrupt),
        (throw_away, False, RESET, Interrupt),
        (end, True, CHECK, Interrupt),
    ],
)
@apart
def test_promise_07_an_interrupt_before_any_instruction(
    work: Callable[[Any], None], warm: bool, settings: dict[str, Any], kind: type[BaseException]
) -> None:
    for instruction in every_instruction(7 if work is end else 1):
        counted = Counted()
        pool = ConnectionPool(counted.connect, max_size=2, **settings)
        if warm:
            take_all(pool)
        where = interrupted_at(instruction, partial(work, pool), kind)
        stats = checked(pool, where)
        assert (stats.acquired, stats.waiting) == (0, 0), where
        pool.close()
        if where is None:
            break
    gc.collect()
    assert counted.open == 0


@IGNORED
@pytest.mark.parametrize("broken", [False, True])
@apart
def test_promise_08_an_interrupted_release_serves_those_in_line(broken: bool) -> None:
    def program(instruction: int) -> str | None:
        pool = ConnectionPool(Counted().connect, max_size=1)
        lease = [pool.acquire()]
        waiter = in_a_thread(lambda: use(pool))
        while not pool.stats().waiting:
            pass
        where = interrupted_at(instruction, lambda: lease.pop().release(broken=broken))
        waiter.result(PATIENCE)
        assert checked(pool, where).acquired == 0
        pool.close()
        return where

    for instruction in every_instruction():
        if program(instruction) is None:
            break


@IGNORED
@apart
def test_promise_08_whoever_is_interrupted_in_line_leaves_it_and_what_it_was_given_goes_on() -> None:
    def program(instruction: int) -> str | None:
        pool = ConnectionPool(Counted().connect, max_size=1)
        held = pool.acquire()
        over = threading.Event()

        def give_back() -> None:
            while not (pool.stats().waiting or over.is_set()):
                pass
            held.release()

        giver = in_a_thread(give_back)
        where = interrupted_at(instruction, lambda: use(pool))
        over.set()
        giver.result(PATIENCE)
        assert checked(pool, where).waiting == 0
        pool.close()
        return where

    for instruction in every_instruction(3):
        if program(instruction) is None:
            break


class AsyncCounted(Counted):
    async def connect_async(self) -> AsyncConnection:
        await asyncio.sleep(0)
        return AsyncConnection(self)


class AsyncConnection(Connection):
    async def close(self) -> None:  # type: ignore[override]
        super().close()

    def __del__(self) -> None:
        super().close()


async def ause(pool: Any) -> None:
    async with pool.acquire():
        await asyncio.sleep(0)


async def athrow_away(pool: Any) -> None:
    lease = await pool.acquire()
    await lease.release(broken=True)


async def ain_line(pool: Any) -> None:
    async with pool.acquire(), pool.acquire():
        other = asyncio.ensure_future(ause(pool))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await other


async def areset(resource: Any) -> None:
    await asyncio.sleep(0)


@IGNORED
@pytest.mark.parametrize(
    "work, warm, settings, kind",
    [
        (ause, True, {}, Interrupt),
        (ause, True, {}, TimeLimit),
        (ause, True, {"check_after": 0.0, "check": areset}, Interrupt),
        (ause, True, {"reset": areset}, Interrupt),
        (ause, False, {}, TimeLimit),
        (athrow_away, True, {}, Interrupt),
        (ain_line, True, {}, Interrupt),
    ],
)
@apart
def test_promise_07_an_interrupt_before_any_instruction_in_asyncio(
    work: Callable[[Any], Any], warm: bool, settings: dict[str, Any], kind: type[BaseException]
) -> None:
    for instruction in every_instruction(1 if warm and work is not ain_line else 5):
        if asyncio.run(interrupted_in_a_loop(work, warm, settings, instruction, kind)) is None:
            break


async def interrupted_in_a_loop(
    work: Callable[[Any], Any], warm: bool, settings: dict[str, Any], instruction: int, kind: type[BaseException]
) -> str | None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    pool = AsyncConnectionPool(AsyncCounted().connect_async, max_size=2, **settings)
    if warm:
        await atake_all(pool)
    where = await drive(loop.create_task(work(pool)), instruction, kind)
    if where is not None:
        gc.collect(1)  # of tasks that ended with an exception, which holds their frames
    try:
        stats = await asyncio.wait_for(atake_all(pool), PATIENCE + 5)
    except BaseException as error:
        error.add_note(f"after an interrupt {where}")
        raise
    assert (stats.acquired, stats.waiting) == (0, 0), where
    await pool.close()
    return where


async def atake_all(pool: Any) -> Any:
    leases = [await pool.acquire(timeout=PATIENCE) for _ in range(pool.config.max_size)]
    for lease in leases:
        await lease.release()
    return pool.stats()


async def drive(task: asyncio.Task[Any], instruction: int, kind: type[BaseException]) -> str | None:
    """Let a task run to its end while the instructions of the library are counted, in it and in the pool's own tasks."""
    tracer = at(instruction, kind)
    sys.settrace(tracer)
    try:
        with suppress(kind):
            await asyncio.wait({task}, timeout=PATIENCE)
            assert task.done()
    finally:
        sys.settrace(None)
    if task.done() and not task.cancelled():
        task.exception()
    return tracer.where
