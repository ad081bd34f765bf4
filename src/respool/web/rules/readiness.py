"""Tells at the start when pool, threads and database server do not fit together, with the numbers."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from respool.config import UNLIMITED
from respool.database.base import DatabaseBase
from respool.database.database import AsyncDatabase, Database
from respool.web.rules.holders_first import holders_first

__all__ = ["Readiness", "compare_with_server"]

logger = logging.getLogger("respool.web")

#: How many connections a server takes from applications, by dialect.
_SERVER_LIMITS = {
    "postgresql": text(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    ),
    "mysql": text("SELECT @@max_connections"),
    "mariadb": text("SELECT @@max_connections"),
}


class Readiness:
    """Whether the threads of the running loop are prepared for sync sessions; they are before the first request.

    Args:
        databases: those of the application.
    """

    __slots__ = ("_databases", "_loop")

    def __init__(self, databases: Sequence[DatabaseBase[Any]]) -> None:
        self._databases = databases
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def require(self) -> None:
        """Prepare them, unless no session needs it."""
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop() is not loop:
            self._loop = weakref.ref(loop)
            if databases := [database for database in self._databases if isinstance(database, Database)]:
                threads = holders_first(databases)
                for database in databases:
                    _compare_with_threads(database, threads)


def _compare_with_threads(database: Database, threads: int) -> None:
    size = _limit(database)
    if size is not None and threads < size:
        logger.warning(
            "database %r: max_size=%d, but sync handlers run in %d threads, so %d connections can hardly ever be used: "
            "lower max_size, or let the framework have more threads",
            database.name,
            size,
            threads,
            size - threads,
        )


async def compare_with_server(database: DatabaseBase[Any]) -> None:
    """Ask the database server how many connections it takes, and tell if all processes together may want more.

    Args:
        database: one that has connections already.
    """
    size = _limit(database)
    question = _SERVER_LIMITS.get(database.engine.dialect.name)
    if size is None or question is None:
        return
    if isinstance(database, AsyncDatabase):
        async with database.engine.connect() as connection:
            allowed = await connection.scalar(question)
    else:
        allowed = await asyncio.to_thread(_ask, database, question)
    processes = int(os.environ.get("WEB_CONCURRENCY") or 1)
    if allowed is not None and processes * size > allowed:
        logger.warning(
            "database %r: max_size=%d in %d processes (WEB_CONCURRENCY) makes %d connections, but the server takes %d: "
            "lower max_size, or raise the server's max_connections",
            database.name,
            size,
            processes,
            processes * size,
            allowed,
        )


def _ask(database: DatabaseBase[Any], question: Any) -> Any:
    with database.engine.connect() as connection:
        return connection.scalar(question)


def _limit(database: DatabaseBase[Any]) -> int | None:
    """The pool's limit, if it has one and is ours."""
    config = getattr(database.pool, "config", None)
    return config.max_size if config is not None and config.max_size < UNLIMITED else None
