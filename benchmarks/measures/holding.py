"""A request that reads, waits for something else, and reads again: how many can share five connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.measures.base import Column, Measurement, Target
from benchmarks.rounds import Budget, Rows, collect
from benchmarks.shop import Product, fill
from respool import AsyncDatabase, PoolConfig
from respool.engine import only_looks
from tests.support.postgres import PostgresServer

DRIVERS = ("asyncpg", "psycopg")
SIZE, CLIENTS, ELSEWHERE = 5, 200, 0.1


@dataclass(frozen=True)
class Variant:
    """How the session of a request is come by, and what it does before it waits."""

    name: str
    key: str
    open: Callable[[str], Any]
    ours: bool = False
    by_hand: bool = False


@asynccontextmanager
async def _stock(url: str) -> AsyncIterator[tuple[AsyncEngine, Callable[[], Any]]]:
    engine = create_async_engine(url, pool_size=SIZE, max_overflow=0, pool_timeout=600)
    try:
        yield engine, lambda: AsyncSession(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _ours(url: str) -> AsyncIterator[tuple[AsyncEngine, Callable[[], Any]]]:
    db = AsyncDatabase(url, pool=PoolConfig(max_size=SIZE, timeout=600))
    try:
        yield db.engine, lambda: db.scope("GET /products")
    finally:
        await db.close()


VARIANTS = [
    Variant("respool, `db.scope()`", "respool", _ours, ours=True),
    Variant("`AsyncSession`, the same code", "stock", _stock),
    Variant("`AsyncSession`, released by hand in between", "by_hand", _stock, by_hand=True),
]


def run(budget: Budget) -> Rows:
    rounds, seconds = budget.pick((5, 4.0), (1, 1.5))
    rows = Rows()
    with PostgresServer() as server:
        fill(server.url("psycopg"))
        for driver in DRIVERS:
            url = server.url(driver)
            rows += collect(f"PostgreSQL, {driver}", VARIANTS, rounds, lambda v, u=url: _sample(v, u, seconds))  # type: ignore[misc]
    return rows


def _sample(variant: Variant, url: str, seconds: float) -> dict[str, float]:
    return asyncio.run(_clients(variant, url, seconds))


async def _clients(variant: Variant, url: str, seconds: float) -> dict[str, float]:
    async with variant.open(url) as (engine, session):
        held = _Held(engine)
        served: list[float] = []
        began = monotonic()

        async def client() -> None:
            while (at := monotonic()) < began + seconds:
                async with session() as current:
                    await current.scalar(select(Product.name).where(Product.id == 1))
                    if variant.by_hand:
                        await current.rollback()
                    await asyncio.sleep(ELSEWHERE)
                    await current.scalar(select(Product.stock).where(Product.id == 1))
                served.append(monotonic() - at)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        requests = len(served)
        return {
            "rate": requests / (monotonic() - began),
            "slowdown": 1 / (requests / (monotonic() - began)),
            "held": held.seconds / requests * 1e3,
            "share": held.seconds / sum(served) * 100,
        }


class _Held:
    """For how long connections were out of the pool, all together."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.seconds = 0.0
        pool = engine.sync_engine.pool
        # whoever does more than look has a connection held for him from the first read on
        event.listen(pool, "checkout", only_looks(self._out))
        event.listen(pool, "checkin", only_looks(self._back))

    def _out(self, connection: Any, record: Any, proxy: Any) -> None:
        record.info["out"] = monotonic()

    def _back(self, connection: Any, record: Any) -> None:
        self.seconds += monotonic() - record.info.pop("out", monotonic())


MEASUREMENT = Measurement(
    name="holding",
    title="A request that waits for something else",
    text=(
        f"SELECT, {ELSEWHERE * 1000:.0f} ms of something else, SELECT: {CLIENTS} clients at once, a pool of {SIZE}"
        " connections, a real PostgreSQL on loopback. The code of the request is the same for the first two; the third"
        " gives its connection back by hand in between. Client and server share the machine's two cores."
    ),
    columns=(
        Column("rate", "requests/s", 0, spread=True),
        Column("held", "ms with a connection", 1),
        Column("share", "% of the request", 1),
    ),
    compare="slowdown",
    run=run,
    targets=tuple(
        target
        for driver in DRIVERS
        for target in (
            Target(
                f"{driver}: at least 10 × the requests of AsyncSession",
                lambda rows, c=f"PostgreSQL, {driver}": rows.ratio("slowdown", (c, "respool"), (c, "stock")),  # type: ignore[misc]
                0.1,
            ),
            Target(
                f"{driver}: at most 1.1 × as slow as by hand",
                lambda rows, c=f"PostgreSQL, {driver}": rows.ratio("slowdown", (c, "respool"), (c, "by_hand")),  # type: ignore[misc]
                1.1,
            ),
            Target(
                f"{driver}: a connection for at most 5 % of the request",
                lambda rows, c=f"PostgreSQL, {driver}": rows.at(c, "respool").median("share"),  # type: ignore[misc]
                5.0,
                " %",
            ),
        )
    ),
)
