"""respool as SQLAlchemy's pool: ``poolclass=FairPool`` and ``poolclass=AsyncFairPool``."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.base import Setup
from benchmarks.peers.engines import AsyncEnginePeer, EnginePeer
from benchmarks.peers.respool import settings
from respool.engine import AsyncFairPool, FairPool
from respool.errors import PoolTimeout

__all__ = ["RespoolAsyncEngine", "RespoolEngine"]


class RespoolEngine(EnginePeer):
    name, key, package, ours = "respool FairPool", "respool-engine", "respool", True
    late = PoolTimeout
    poolclass = FairPool

    def options(self, setup: Setup) -> dict[str, Any]:
        return translated(setup)


class RespoolAsyncEngine(AsyncEnginePeer):
    name, key, package, ours = "respool AsyncFairPool", "respool-engine", "respool", True
    late = PoolTimeout
    poolclass = AsyncFairPool

    def options(self, setup: Setup) -> dict[str, Any]:
        return translated(setup)


def translated(setup: Setup) -> dict[str, Any]:
    """As ``create_engine`` wants it: the timeout has another name there."""
    return {"pool_timeout" if name == "timeout" else name: value for name, value in settings(setup).items()}
