"""fastapi-async-sqlalchemy: ``db.session`` within its middleware, which commits at its end."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi_async_sqlalchemy import SQLAlchemyMiddleware, db

from benchmarks.applications.frameworks import in_context
from benchmarks.applications.sessions import AsyncSessionWork


def make(url: str, size: int) -> Any:
    async def current() -> Any:
        return db.session

    app = FastAPI(openapi_url=None)
    app.add_middleware(
        SQLAlchemyMiddleware,
        db_url=url.replace("postgresql:", "postgresql+asyncpg:"),
        engine_args={"pool_size": size, "max_overflow": 0},
        commit_on_exit=True,
    )
    in_context(app, AsyncSessionWork(commits=False), current)
    return app
