"""What the peers with ``Depends`` share: an engine, sessions, and a dependency that yields one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

Yields = Callable[[], AsyncIterator[AsyncSession]]


def stock(url: str, size: int) -> tuple[FastAPI, async_sessionmaker[AsyncSession]]:
    """An application, and what makes its sessions."""
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=size, max_overflow=0)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    return FastAPI(openapi_url=None, lifespan=lifespan), async_sessionmaker(engine, expire_on_commit=False)


def committing(make_session: Any) -> Yields:
    """A dependency: committed after the ``yield``, rolled back after an exception."""

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with make_session.begin() as session:
            yield session

    return get_session


def closing(make_session: Any) -> Yields:
    """A dependency that does no more than close it."""

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with make_session() as session:
            yield session

    return get_session
