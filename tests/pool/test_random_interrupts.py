"""Exceptions out of nowhere before instructions chosen at random: the pool goes on, and has all of its places.

``RESPOOL_SOAK_INTERRUPTS=1000000 RESPOOL_SOAK_SEED=5`` walks on for so long, an eighth of them in each test, and elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.pool import AsyncConnectionPool, ConnectionPool
from tests.pool.test_interrupts import (
    IGNORED,
    PATIENCE,
    AsyncCounted,
    Counted,
    apart,
    atake_all,
    athrow_away,
    ause,
    in_a_thread,
    throw_away,
    use,
)
from tests.support.interrupts import Interrupt, TimeLimit, now_and_then

EACH = int(os.environ.get("RESPOOL_SOAK_INTERRUPTS", "4000")) // 8
SEED = int(os.environ.get("RESPOOL_SOAK_SEED", "7"))
RATE = 0.002  #: of interrupts, for each instruction

pytestmark = [IGNORED, pytest.mark.usefixtures("nobody_is_told"), pytest.mark.timeout(0 if EACH > 5000 else 120)]
kinds = pytest.mark.parametrize("kind", [Interrupt, TimeLimit])


@contextmanager
def explained(pool: Any, tracer: Any) -> Iterator[None]:
    """An error says what came before it, how the pool is, where each thread is, and what of the time was ours."""
    began, used = time.monotonic(), time.process_time()
    try:
        yield
    except BaseException as error:
        took, worked = time.monotonic() - began, time.process_time() - used
        error.add_note(f"seed {SEED}, after {tracer.raised} interrupts, the last one {tracer.where}")
        error.add_note(f"in {took:.1f} s, of which the process had {worked:.1f} s of a processor; {pool.snapshot()}")
        for name, frame in sys._current_frames().items():
            error.add_note(f"thread {name}:\n" + "".join(traceback.format_stack(frame)))
        raise


def connect_and_execute(engine: Any) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1").all()


@kinds
@pytest.mark.parametrize("floor", ["pool", "engine"])
@apart
def test_promise_07_interrupts_at_random_instructions(kind: type[BaseException], floor: str, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/file.db", poolclass=FairPool, max_size=3, pool_timeout=PATIENCE)
    pool: Any = ConnectionPool(Counted().connect, max_size=3) if floor == "pool" else engine.pool
    work = (
        [partial(use, pool), partial(throw_away, pool)] if floor == "pool" else [partial(connect_and_execute, engine)]
    )
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            work[0]()

    beside = in_a_thread(go_on)
    tracer = now_and_then(RATE, SEED, kind)
    raised = collected = 0
    while raised < EACH:
        for one in work:
            with explained(pool, tracer):
                sys.settrace(tracer)
                with suppress(kind, sa.exc.StatementError):  # SQLAlchemy wraps what it takes for the driver's
                    one()
                sys.settrace(None)
        if tracer.raised > collected:  # SQLAlchemy's connection and its transaction hold each other
            collected = tracer.raised
            gc.collect(1)
        if tracer.raised - raised > 20:
            raised = tracer.raised
            gc.collect()
            with explained(pool, tracer):
                if beside.done():
                    beside.result()
                assert in_a_thread(work[0]).result(PATIENCE + 5) is None
    over.set()
    with explained(pool, tracer):
        beside.result(PATIENCE + 5)
    gc.collect()
    assert pool.stats().acquired == 0
    engine.dispose()


async def aconnect_and_execute(engine: Any) -> None:
    async with engine.connect() as connection:
        await connection.exec_driver_sql("SELECT 1")


@kinds
@pytest.mark.parametrize("floor", ["pool", "engine"])
@apart
def test_promise_07_interrupts_at_random_instructions_in_asyncio(
    kind: type[BaseException], floor: str, tmp_path: Path
) -> None:
    async def program() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        url = f"sqlite+aiosqlite:///{tmp_path}/file.db"
        engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=3, pool_timeout=PATIENCE)
        if floor == "pool":
            pool: Any = AsyncConnectionPool(AsyncCounted().connect_async, max_size=3)
            await walk(pool, [partial(ause, pool), partial(athrow_away, pool)], kind)
            await pool.close()
        else:
            await walk(engine.pool, [partial(aconnect_and_execute, engine)], kind)
        await engine.dispose()

    asyncio.run(program())


def judge(ended: list[Any], kind: type[BaseException]) -> None:
    for error in ended:
        if error is not None and not isinstance(error, (kind, sa.exc.StatementError)):
            raise error


async def walk(pool: Any, work: list[Callable[[], Awaitable[None]]], kind: type[BaseException]) -> None:
    """More tasks than there are places, again and again, all in one loop and none spared."""
    tracer = now_and_then(RATE, SEED, kind)
    checked = collected = 0
    while checked < EACH:
        with explained(pool, tracer):
            gc.disable()
            sys.settrace(tracer)
            try:
                ended = await asyncio.gather(
                    *(one() for one in work for _ in range(5 // len(work))), return_exceptions=True
                )
            finally:
                sys.settrace(None)
                gc.enable()
            judge(ended, kind)
        del ended
        if tracer.raised > collected:  # not while others are interrupted: Python calls a finalizer only once
            collected = tracer.raised
            await asyncio.sleep(0)
            gc.collect(0)
        if tracer.raised - checked > 20:
            checked = tracer.raised
            with explained(pool, tracer):
                for one in work:
                    await asyncio.wait_for(one(), PATIENCE + 5)
                assert pool.stats().waiting == 0
    gc.collect()
    with explained(pool, tracer):
        if isinstance(pool, AsyncConnectionPool):
            await atake_all(pool)
        assert pool.stats().acquired == 0
