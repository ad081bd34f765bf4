"""fastapi-sqla: its ``AsyncSession`` dependency, and its middleware, which commits successes. It is set up by variables."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import fastapi_sqla
from fastapi import Depends, FastAPI

from benchmarks.applications.frameworks import with_dependency
from benchmarks.applications.sessions import AsyncSessionWork


def make(url: str, size: int) -> Any:
    os.environ |= {
        "sqlalchemy_url": url.replace("postgresql:", "postgresql+asyncpg:"),
        "sqlalchemy_pool_size": str(size),
        "sqlalchemy_max_overflow": "0",
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await fastapi_sqla.startup()
        yield

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    fastapi_sqla.setup_middlewares(app)
    with_dependency(app, AsyncSessionWork(commits=False), Depends(fastapi_sqla.AsyncSessionDependency()))
    return app
