"""Making a connection whole again whose query was cancelled, so that a cancellation does not cost a connect.

psycopg and asyncpg cancel the query on the server and leave the connection in step with it; aiosqlite lets the
statement end in its thread; for aiomysql and asyncmy the pool does it, see :mod:`respool.engine.dialects.kill_query`.  What is left
is a transaction to roll back.  Other drivers lose step, and their connections are closed, as SQLAlchemy does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy.util import await_only

from respool.engine.dialects import kill_query, pipelining

__all__ = ["MENDING_SECONDS", "can_mend", "prepare", "roll_back"]

#: How long a connection may take to become whole before it is closed.
MENDING_SECONDS = 5.0

_DRIVERS = frozenset({"psycopg", "asyncpg", "aiosqlite"}) | kill_query.DRIVERS


def can_mend(dialect: Any, error: BaseException | None) -> bool:
    """Whether this was a cancellation, in a driver that survives one."""
    return isinstance(error, asyncio.CancelledError) and dialect.is_async and dialect.driver in _DRIVERS


def prepare(dialect: Any, dbapi_connection: Any) -> None:
    """What a new connection needs, so that it can be mended later. Runs in SQLAlchemy's greenlet."""
    if getattr(dialect, "driver", None) in kill_query.DRIVERS:
        kill_query.run_on(dbapi_connection)


def roll_back(dialect: Any, dbapi_connection: Any, connect: Callable[[], Any]) -> None:
    """Roll back for certain, even when the cancellation came in the midst of BEGIN. Runs in SQLAlchemy's greenlet.

    Args:
        connect: opens another connection to the same server.
    """
    if dialect.driver in kill_query.DRIVERS:
        kill_query.settle(dbapi_connection, connect)
    driver = dbapi_connection.driver_connection
    if dialect.driver.startswith("psycopg"):
        pipelining.leave(driver)
    dbapi_connection.rollback()
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        await_only(driver.fetchrow(";"))  # in step again: only now does it know
        if driver.is_in_transaction():
            await_only(driver.execute("ROLLBACK"))
        # asyncpg counts a cancelled BEGIN as begun, and would make the next one a savepoint
        driver._top_xact = None
