"""Engines over our pools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, exc

from respool.config import PoolConfig, suggest
from respool.engine import urls
from respool.engine.pools.aio import AsyncFairPool
from respool.engine.pools.fair import FairPool
from respool.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["ENGINE_OPTIONS", "build_async_engine", "build_engine", "require_greenlet"]

T = TypeVar("T")

#: What ``create_engine`` takes, without what decides about the pool's settings; a dialect may take more.
ENGINE_OPTIONS = (
    *("connect_args", "creator", "echo", "echo_pool", "enable_from_linting", "execution_options", "hide_parameters"),
    *("insertmanyvalues_page_size", "isolation_level", "json_deserializer", "json_serializer", "label_length"),
    *("logging_name", "max_identifier_length", "paramstyle", "plugins", "pool_logging_name", "pool_reset_on_return"),
    *("pool_use_lifo", "query_cache_size", "use_insertmanyvalues"),
)


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
    return _made(create_engine, parsed, poolclass=FairPool, pool_config=pool, pool_name=name, **options)


def build_async_engine(url: str | URL, *, pool: PoolConfig, name: str = "default", **options: Any) -> AsyncEngine:
    """An async engine with an :class:`AsyncFairPool`; as :func:`build_engine`.

    Raises:
        ConfigError: as there; also when greenlet, which SQLAlchemy's asyncio side needs, is not installed.
    """
    require_greenlet("AsyncDatabase")
    from sqlalchemy.ext.asyncio import create_async_engine

    _refuse_pools(options)
    parsed = urls.parse(url, asynchronous=True)
    if urls.is_memory(parsed):
        pool = _one_connection(parsed, pool)
    return _made(create_async_engine, parsed, poolclass=AsyncFairPool, pool_config=pool, pool_name=name, **options)


def require_greenlet(what: str) -> None:
    """Refuse to go on without greenlet, which SQLAlchemy does not install by itself.

    Args:
        what: what needs it.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("greenlet") is None:
        raise MissingExtra(
            f"{what} needs greenlet, which is not installed",
            advice=[
                'pip install "respool[asyncio]"',
                "extras of async drivers and frameworks bring it too; psycopg's do not: respool[postgresql,asyncio]",
            ],
            setting="url",
            name="greenlet",
            extra="asyncio",
        )


def _made(create: Callable[..., T], url: URL, **options: Any) -> T:
    try:
        return create(url, **options)
    except TypeError as error:
        refused = re.findall(r"'(\w+)'", str(error).partition(" sent to ")[0])
        if not refused:
            raise
        raise ConfigError(
            f"unknown argument {refused[0]!r} in engine_options{suggest(refused[0], ENGINE_OPTIONS)}",
            advice=[
                f"arguments of create_engine: {', '.join(ENGINE_OPTIONS)}",
                "what is for the driver goes into connect_args: engine_options={'connect_args': {…}}",
            ],
            setting=refused[0],
        ) from error
    except exc.ArgumentError as error:
        said = str(error).replace(url.render_as_string(hide_password=False), urls.mask(url)).partition("\n")[0]
        advice = [f"what SQLAlchemy says: {said}"]
        if url.get_backend_name() == "sqlite" and url.host:
            file = f"{url.host}/{url.database}" if url.database else url.host
            advice.insert(0, f"a file has three slashes before it: {url.drivername}:///{file}; four for a path from /")
        raise ConfigError(f"{urls.mask(url)!r} is not accepted", advice=advice, setting="url") from None


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
