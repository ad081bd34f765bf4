"""One moment of one or more databases as plain values, ready for JSON.

Taking it opens nothing, waits for nothing and talks to no database, so it can be had while the pool is exhausted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeAlias

from sqlalchemy.pool import QueuePool

from respool import __version__
from respool.database.database import AsyncDatabase, Database
from respool.engine import mask
from respool.scope.scope import Scope

__all__ = ["AnyDatabase", "plain", "snapshot"]

AnyDatabase: TypeAlias = Database | AsyncDatabase


def snapshot(*databases: AnyDatabase) -> dict[str, Any]:
    """What these databases are doing now.

    Args:
        databases: any number of them, of either kind.

    Returns:
        ``version`` of respool, ``time`` (UTC, ISO 8601) and ``databases``, where each has its ``name``, ``url``
        (without secrets), ``pool`` (the numbers of ``pool.stats()``), ``connections`` and ``waiters`` (the rows of
        ``pool.snapshot()``) and ``scopes`` (requests and scopes that have a session now: ``label``, ``state``,
        ``phase``, ``age`` in seconds, ``holds_connection``). Only plain values.
    """
    return {
        "version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "databases": [_of(database) for database in databases],
    }


def _of(database: AnyDatabase) -> dict[str, Any]:
    pool = database.pool
    ours = pool.snapshot() if hasattr(pool, "snapshot") else None
    return {
        "name": database.name,
        "url": mask(database.engine.url),
        "pool": _of_another_pool(database.name, pool) if ours is None else plain(ours.stats),
        "connections": [] if ours is None else plain(ours.connections),
        "waiters": [] if ours is None else plain(ours.waiters),
        "scopes": [_of_scope(scope) for scope in database.scopes()],
    }


def _of_scope(scope: Scope) -> dict[str, Any]:
    return {
        "label": scope.label,
        "state": scope.state.value,
        "phase": scope.phase,
        "age": scope.age,
        "holds_connection": scope.life is not None and scope.life.holds_connection,
    }


def _of_another_pool(name: str, pool: Any) -> dict[str, Any]:
    """What a pool of SQLAlchemy's own tells, under our names: the database was given an engine that has one."""
    known: dict[str, Any] = {"name": name, "kind": type(pool).__name__}
    if isinstance(pool, QueuePool):
        idle, acquired = pool.checkedin(), pool.checkedout()
        known |= {"idle": idle, "acquired": acquired, "total": idle + acquired}
    return known


def plain(value: object) -> Any:
    """The same as dictionaries, lists, texts, numbers, ``True``, ``False`` and ``None``; anything else as its text.

    A number that JSON cannot write (infinite, not a number) becomes ``None``.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    return str(value)
