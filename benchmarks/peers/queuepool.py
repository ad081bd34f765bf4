"""SQLAlchemy's own pool for threads, its default: ``QueuePool``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc
from sqlalchemy.pool import QueuePool

from benchmarks.peers.base import Setup
from benchmarks.peers.engines import EnginePeer

__all__ = ["Queue", "stock_options"]


class Queue(EnginePeer):
    name, key, package = "SQLAlchemy QueuePool", "stock", "SQLAlchemy"
    late = exc.TimeoutError
    poolclass = QueuePool

    def options(self, setup: Setup) -> dict[str, Any]:
        return stock_options(setup)


def stock_options(setup: Setup) -> dict[str, Any]:
    """``size`` connections at most, of which ``kept`` stay open."""
    kept = setup.size if setup.kept is None else setup.kept
    given = {"pool_size": kept, "max_overflow": setup.size - kept, "pool_timeout": setup.timeout}
    return {name: value for name, value in given.items() if value is not None}
