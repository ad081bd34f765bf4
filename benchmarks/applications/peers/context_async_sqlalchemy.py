"""context-async-sqlalchemy: ``await db_session(connection)`` within its middleware, which commits successes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from context_async_sqlalchemy import DBConnect, db_session
from context_async_sqlalchemy.fastapi_utils import add_fastapi_http_db_session_middleware
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.applications.frameworks import in_context
from benchmarks.applications.sessions import AsyncSessionWork


def make(url: str, size: int) -> Any:
    def engine(host: str) -> AsyncEngine:
        return create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=size, max_overflow=0)

    def sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)

    connection = DBConnect(engine, sessions, host="127.0.0.1")

    async def current() -> Any:
        return await db_session(connection)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await connection.close()

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    add_fastapi_http_db_session_middleware(app)
    in_context(app, AsyncSessionWork(commits=False), current)
    return app
