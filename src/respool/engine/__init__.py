"""SQLAlchemy's side of the pool: pool classes for its engines."""

from respool.engine.async_pools import AsyncFairPool
from respool.engine.create import build_async_engine, build_engine
from respool.engine.listeners import only_looks
from respool.engine.pools import FairPool
from respool.engine.urls import mask

__all__ = ["AsyncFairPool", "FairPool", "build_async_engine", "build_engine", "mask", "only_looks"]
