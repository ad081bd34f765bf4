"""Engines over our pools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, create_engine

from respool.config import PoolConfig
from respool.engine import urls
from respool.engine.async_pools import AsyncFairPool
from respool.engine.pools import FairPool
from respool.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["build_async_engine", "build_engine"]


def build_engine(url: str | URL, *, pool: PoolConfig, name: str = "default", **options: Any) -> Engine:
    """An engine with a :class:`FairPool`.

    Args:
        url: with a sync driver.
        pool: the settings.
        name: the pool's, for people.
        options: for ``create_engine``.

    Raises:
        ConfigError: the URL, or a setting together with it, is refused.
    """
    _refuse_pools(options)
    parsed = urls.parse(url, asynchronous=False)
    if urls.is_memory(parsed):
        pool = _one_connection(parsed, pool)
        options["connect_args"] = {"check_same_thread": False, **options.get("connect_args", {})}
    return create_engine(parsed, poolclass=FairPool, pool_config=pool, pool_name=name, **options)


def build_async_engine(url: str | URL, *, pool: PoolConfig, name: str = "default", **options: Any) -> AsyncEngine:
    """An async engine with an :class:`AsyncFairPool`; as :func:`build_engine`.

    Raises:
        ConfigError: as there; also when greenlet, which SQLAlchemy's asyncio side needs, is not installed.
    """
    if find_spec("greenlet") is None:
        raise ConfigError(
            "async databases need greenlet, which is not installed",
            advice=["pip install 'respool[asyncio]'"],
            setting="url",
        )
    from sqlalchemy.ext.asyncio import create_async_engine

    _refuse_pools(options)
    parsed = urls.parse(url, asynchronous=True)
    if urls.is_memory(parsed):
        pool = _one_connection(parsed, pool)
    return create_async_engine(parsed, poolclass=AsyncFairPool, pool_config=pool, pool_name=name, **options)


def _refuse_pools(options: Mapping[str, Any]) -> None:
    for option in ("poolclass", "pool"):
        if option in options:
            raise ConfigError(
                f"{option}= was given, but the engine is made with a pool of ours",
                advice=["leave it out", "or make the engine yourself, with any pool, and give that: Database(engine)"],
                setting=option,
            )


def _one_connection(url: URL, pool: PoolConfig) -> PoolConfig:
    """An in-memory SQLite database is its connection: there is one, and it is never closed for its age."""
    if pool.max_size not in (1, PoolConfig().max_size):
        raise ConfigError(
            f"{urls.mask(url)!r} lives in one connection, and max_size={pool.max_size} asks for more",
            advice=["leave max_size out, or use a file: sqlite:///shop.db"],
            setting="max_size",
        )
    return replace(pool, min_size=min(pool.min_size, 1), max_size=1, max_idle=None, max_lifetime=None)
