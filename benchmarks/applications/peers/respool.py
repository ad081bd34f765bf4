"""respool with FastAPI and asyncpg: what succeeds is committed before the first byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI

from benchmarks.applications.frameworks import with_dependency
from benchmarks.applications.sessions import AsyncSessionWork
from respool import AsyncDatabase, PoolConfig
from respool.web.fastapi import install, session_of


def make(url: str, size: int, max_waiting: int | None = None) -> Any:
    db = AsyncDatabase(
        url.replace("postgresql:", "postgresql+asyncpg:"),
        commit="on_success",
        pool=PoolConfig(max_size=size, max_waiting=max_waiting),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await db.close()

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    install(app, db)
    with_dependency(app, AsyncSessionWork(commits=False), Depends(session_of(db)))
    return app
