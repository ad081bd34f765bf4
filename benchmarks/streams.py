"""Ordinary requests beside five clients that read a long answer slowly, on a pool of five connections."""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.clients import ask, crowd
from respool import AsyncDatabase, PoolConfig
from respool.web.fastapi import install

__all__ = ["streams"]

READERS, PORTIONS, PAUSE = 5, 10_000, 0.05
ONE, PORTION = select(literal(1)), select(func.repeat("x", 1000))

Made = tuple[Any, Callable[[], Awaitable[None]]]


def streams(url: str, quick: bool) -> dict[str, dict[str, float]]:
    """The latency of ordinary requests, without slow readers and with them. Each portion is read from the database."""
    url = url.replace("+psycopg:", "+asyncpg:")
    found = {}
    for name, make in {"respool": of_respool, "SQLAlchemy, pool_timeout=2": of_stock}.items():
        for readers in (0, READERS):
            found[f"{name}, {readers} slow readers"] = asyncio.run(beside(make, url, readers, 100 if quick else 2000))
    return found


async def beside(make: Callable[[str], Made], url: str, readers: int, requests: int) -> dict[str, float]:
    app, close = make(url)
    slow = [asyncio.create_task(ask(app, "/export", pause=PAUSE)) for _ in range(readers)]
    await asyncio.sleep(PAUSE * 4)  # they have their connections, if they keep any
    figures = await crowd(app, clients=10, requests=requests)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    await close()
    return figures


def of_respool(url: str) -> Made:
    db = AsyncDatabase(url, pool=PoolConfig(max_size=5, timeout=2))
    app = FastAPI(openapi_url=None)
    install(app, db)

    @app.get("/")
    async def ordinary() -> str:
        await db.session.execute(ONE)
        return "ok"

    async def body() -> AsyncIterator[bytes]:
        async with db.scope("export") as session:
            for _ in range(PORTIONS):
                yield (await session.scalars(PORTION)).one().encode()

    @app.get("/export")
    async def export() -> StreamingResponse:
        await db.session.execute(ONE)
        return StreamingResponse(body())

    return app, db.close


def of_stock(url: str) -> Made:
    engine = create_async_engine(url, pool_size=5, max_overflow=0, pool_timeout=2)
    make = async_sessionmaker(engine)
    app = FastAPI(openapi_url=None)

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with make() as session:
            yield session

    @app.get("/")
    async def ordinary(session: Annotated[AsyncSession, Depends(get_session)]) -> str:
        await session.execute(ONE)
        return "ok"

    @app.get("/export")
    async def export(session: Annotated[AsyncSession, Depends(get_session)]) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(PORTIONS):
                yield (await session.scalars(PORTION)).one().encode()

        return StreamingResponse(body())

    return app, engine.dispose
