"""advanced-alchemy's FastAPI extension, with ``commit_mode="autocommit"`` as in its documents' example."""

from __future__ import annotations

from typing import Any

from advanced_alchemy.extensions.fastapi import AdvancedAlchemy, AsyncSessionConfig, EngineConfig, SQLAlchemyAsyncConfig
from fastapi import Depends, FastAPI

from benchmarks.applications.frameworks import with_dependency
from benchmarks.applications.sessions import AsyncSessionWork


def make(url: str, size: int) -> Any:
    app = FastAPI(openapi_url=None)
    config = SQLAlchemyAsyncConfig(
        connection_string=url.replace("postgresql:", "postgresql+asyncpg:"),
        session_config=AsyncSessionConfig(expire_on_commit=False),
        engine_config=EngineConfig(pool_size=size, max_overflow=0),
        commit_mode="autocommit",
    )
    alchemy = AdvancedAlchemy(config=config, app=app)
    with_dependency(app, AsyncSessionWork(commits=False), Depends(alchemy.provide_session()))
    return app
