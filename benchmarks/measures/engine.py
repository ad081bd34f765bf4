"""``engine.connect()`` and ``close()``: the same engine with its stock pool and with ours."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from sqlalchemy import Pool, QueuePool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from benchmarks.measures.base import Column, Measurement, Target
from benchmarks.peers.bare import AsyncReadyPool, ReadyPool
from benchmarks.rounds import Budget, Rows, collect
from benchmarks.stub import StubServer
from respool.engine import AsyncFairPool, FairPool

STUB, SQLITE = "threads, stub driver", "threads, SQLite file"
ASYNC_STUB, AIOSQLITE = "asyncio, stub driver", "asyncio, aiosqlite file"


@dataclass(frozen=True)
class Variant:
    """An engine's pool."""

    name: str
    key: str
    poolclass: type[Pool]
    ours: bool = False


THREADS = [
    Variant("respool FairPool", "respool-engine", FairPool, ours=True),
    Variant("SQLAlchemy QueuePool", "stock", QueuePool),
]
TASKS = [
    Variant("respool AsyncFairPool", "respool-engine", AsyncFairPool, ours=True),
    Variant("SQLAlchemy AsyncAdaptedQueuePool", "stock", AsyncAdaptedQueuePool),
]


#: On the stub driver only: what is left when a pool does nothing at all.
FLOOR, ASYNC_FLOOR = (
    Variant("(floor: a pool that does nothing)", "floor", kind) for kind in (ReadyPool, AsyncReadyPool)
)


def run(budget: Budget) -> Rows:
    rounds, seconds = budget.pick((7, 0.2), (3, 0.04))
    with _folder() as folder:
        sqlite = f"sqlite:///{folder}/bench.db"
        aiosqlite = f"sqlite+aiosqlite:///{folder}/bench.db"
        return Rows(
            [
                *collect(STUB, [*THREADS, FLOOR], rounds, lambda variant: in_threads(variant, "stub://", seconds)),
                *collect(SQLITE, THREADS, rounds, lambda variant: in_threads(variant, sqlite, seconds)),
                *collect(
                    ASYNC_STUB,
                    [*TASKS, ASYNC_FLOOR],
                    rounds,
                    lambda variant: in_tasks(variant, "stub+asyncio://", seconds),
                ),
                *collect(AIOSQLITE, TASKS, rounds, lambda variant: in_tasks(variant, aiosqlite, seconds)),
            ]
        )


def in_threads(variant: Variant, url: str, seconds: float) -> dict[str, float]:
    creator = {"creator": StubServer().connect} if url.startswith("stub") else {}
    engine = create_engine(url, poolclass=variant.poolclass, **creator)

    def repeat(times: int) -> float:
        began = thread_time()
        for _ in range(times):
            engine.connect().close()
        return thread_time() - began

    try:
        repeat(100)
        times = int(seconds * 100 / repeat(100))
        return {"us": repeat(times) / times * 1e6}
    finally:
        engine.dispose()


def in_tasks(variant: Variant, url: str, seconds: float) -> dict[str, float]:
    async def main() -> float:
        creator: dict[str, Any] = {"creator": StubServer().connect_in_greenlet} if url.startswith("stub") else {}
        engine = create_async_engine(url, poolclass=variant.poolclass, **creator)
        try:
            await _repeat(engine, 50)
            times = int(seconds * 50 / await _repeat(engine, 50))
            return await _repeat(engine, times) / times
        finally:
            await engine.dispose()

    return {"us": asyncio.run(main()) * 1e6}


async def _repeat(engine: AsyncEngine, times: int) -> float:
    clock = perf_counter if engine.dialect.driver == "aiosqlite" else thread_time  # aiosqlite works in another thread
    began = clock()
    for _ in range(times):
        connection = await engine.connect()
        await connection.close()
    return clock() - began


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as name:
        yield Path(name)


MEASUREMENT = Measurement(
    name="engine",
    title="The price of `engine.connect()`",
    text=(
        "`engine.connect()` and `close()` in a loop, one caller, a free connection: the same engine once with the stock"
        " pool and once with ours, everything else at its default (so every close rolls back). The greater part of it"
        " is SQLAlchemy's own and the same for both: `Connection`, greenlets, and with aiosqlite a trip to another"
        " thread for each rollback. The stub driver shows what is left without a database; the floor there is the same engine with a pool that hands"
        " everybody the same ready proxy and does nothing: for asyncio mostly two greenlets, one for `connect()` and one"
        " for `close()`, which an `AsyncConnection` starts whatever its pool does. Time of the processor; with aiosqlite, time on the wall."
    ),
    columns=(Column("us", "µs a turn", 2, spread=True),),
    compare="us",
    run=run,
    targets=(
        Target(
            "threads, SQLite file: at most 0.7 × QueuePool",
            lambda rows: rows.ratio("us", (SQLITE, "respool-engine"), (SQLITE, "stock")),
            0.7,
        ),
        Target(
            "asyncio, stub driver: at most 0.5 × AsyncAdaptedQueuePool",
            lambda rows: rows.ratio("us", (ASYNC_STUB, "respool-engine"), (ASYNC_STUB, "stock")),
            0.5,
        ),
    ),
)
