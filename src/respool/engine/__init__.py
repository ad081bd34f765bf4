"""SQLAlchemy's side of the pool: pool classes for its engines."""

from respool.engine.create import ENGINE_OPTIONS, build_async_engine, build_engine, require_greenlet
from respool.engine.listeners import only_looks
from respool.engine.pools.aio import AsyncFairPool
from respool.engine.pools.fair import FairPool
from respool.engine.urls import completed, mask

__all__ = [
    "ENGINE_OPTIONS",
    "AsyncFairPool",
    "FairPool",
    "build_async_engine",
    "build_engine",
    "completed",
    "mask",
    "only_looks",
    "require_greenlet",
]
