"""SQLAlchemy's own pool for asyncio, its default: ``AsyncAdaptedQueuePool``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool

from benchmarks.peers.base import Setup
from benchmarks.peers.engines import AsyncEnginePeer
from benchmarks.peers.queuepool import stock_options

__all__ = ["AsyncAdapted"]


class AsyncAdapted(AsyncEnginePeer):
    name, key, package = "SQLAlchemy AsyncAdaptedQueuePool", "stock", "SQLAlchemy"
    late = exc.TimeoutError
    poolclass = AsyncAdaptedQueuePool

    def options(self, setup: Setup) -> dict[str, Any]:
        return stock_options(setup)
