"""What pools have counted is not lost when another one takes their place, or when their event loop ends; nor are they kept."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool


@pytest.fixture
def engine(sqlite_file: str) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{sqlite_file}", poolclass=FairPool, max_size=3)
    yield engine
    engine.dispose()


def pool_of(engine: Engine) -> FairPool:
    assert isinstance(engine.pool, FairPool)
    return engine.pool


def use(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def test_a_new_pool_begins_at_zero_and_the_totals_go_on(engine: Engine) -> None:
    for _ in range(3):
        use(engine)
        engine.dispose()
    use(engine)
    assert pool_of(engine).stats().acquired_total == 1
    totals = pool_of(engine).totals()
    assert (totals.acquired_total, totals.use_time.total, totals.connects) == (4, 4, 4)
    assert (totals.max_size, totals.total, totals.idle, totals.closes) == (3, 1, 1, {"evicted": 3})


def test_what_is_out_of_a_pool_that_was_disposed_of_is_counted_until_it_is_back(engine: Engine) -> None:
    connection = engine.connect()
    old = weakref.ref(pool_of(engine).running_monitors()[0])
    engine.dispose()
    gc.collect()
    assert (pool_of(engine).totals().acquired, pool_of(engine).totals().max_size) == (1, 3)
    connection.close()
    del connection
    gc.collect()  # nobody has that pool any more
    totals = pool_of(engine).totals()
    assert (totals.acquired, totals.total, totals.use_time.total) == (0, 0, 1)
    gc.collect()
    assert old() is None
    assert pool_of(engine).totals() == totals


def test_a_pool_that_was_let_go_of_is_not_kept(engine: Engine) -> None:
    use(engine)
    old = weakref.ref(pool_of(engine).running_monitors()[0])
    engine.dispose(close=False)
    gc.collect()
    assert old() is None


def test_pools_that_were_disposed_of_are_not_kept_although_nobody_reads(engine: Engine) -> None:
    old = []
    for _ in range(3):
        use(engine)
        old.append(weakref.ref(pool_of(engine).running_monitors()[0]))
        engine.dispose()
    gc.collect()
    assert [monitor() for monitor in old] == [None, None, None]
    assert pool_of(engine).totals().acquired_total == 3


def test_loops_that_have_ended_are_counted_and_not_kept(sqlite_file: str) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{sqlite_file}", poolclass=AsyncFairPool, max_size=3)
    loops = []

    async def work() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    for number in range(4):
        asyncio.run(work())
        gc.collect()
        if number == 1:
            asyncio.run(engine.dispose())
    pool = engine.pool
    assert isinstance(pool, AsyncFairPool)
    totals = pool.totals()
    assert (totals.acquired_total, totals.use_time.total, totals.connects, totals.max_size) == (4, 4, 4, 3)
    assert totals.total == 0
    gc.collect()
    assert [loop() for loop in loops[:-1]] == [None, None, None]


def test_values_of_a_pool_that_is_gone_are_fetched_once(engine: Engine) -> None:
    pool_of(engine).ledger.keep_times(True)
    use(engine)
    engine.dispose()
    use(engine)
    pool_of(engine).totals()  # whoever only looks takes nothing away
    totals, times = pool_of(engine).fetch_totals()
    assert (totals.use_time.total, len(times.use_time), len(times.create_time)) == (2, 2, 2)
    assert pool_of(engine).fetch_totals()[1].use_time == []
