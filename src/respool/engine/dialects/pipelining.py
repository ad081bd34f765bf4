"""psycopg sends BEGIN together with a transaction's first statement, where waiting for an answer to it alone takes long.

That saves a round trip, and costs some work: it is done on connections whose server is far away, as told by the time
of a ping when they are opened.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy.util import await_only, greenlet_spawn

from respool.engine.dialects.signs import unprepared

__all__ = ["FAR", "execute", "goes_along", "is_far", "leave"]

#: Seconds of a round trip above which it is worth saving: several times what saving it costs.
FAR = 0.0003

#: So many have to be slow: a single one may be late for another reason.
_PINGS = 2

_DRIVERS = ("psycopg", "psycopg_async")


#: What is used of psycopg beside its documented names: by itself it waits for the answer to its BEGIN, in a pipeline too.
_INSIDE = ("_exec_command", "_get_tx_start_command")


@cache
def _supported() -> bool:
    """Whether the installed libpq can do it (version 14 and newer), and psycopg is the one that we know."""
    from psycopg import AsyncConnection, Connection, Pipeline

    known = all(hasattr(kind, name) for kind in (Connection, AsyncConnection) for name in _INSIDE)
    return known and bool(Pipeline.is_supported())


def is_far(dialect: Any, dbapi_connection: Any) -> bool:
    """Whether saving a round trip on a new connection is worth it; asked of drivers that can save one."""
    if getattr(dialect, "driver", None) not in _DRIVERS or not _supported() or not _is_psycopgs(dbapi_connection):
        return False
    try:
        with unprepared(dbapi_connection):
            return all(_ping(dialect, dbapi_connection) > FAR for _ in range(_PINGS))
    except Exception:  # whoever uses the connection will see it, and can tell what it means
        return False


def _is_psycopgs(dbapi_connection: Any) -> bool:
    """Not one that an event's listener has opened or wrapped: nobody knows what that can do."""
    from psycopg import AsyncConnection, Connection

    return isinstance(getattr(dbapi_connection, "driver_connection", dbapi_connection), Connection | AsyncConnection)


def _ping(dialect: Any, dbapi_connection: Any) -> float:
    asked = time.perf_counter()
    dialect.do_ping(dbapi_connection)
    return time.perf_counter() - asked


def goes_along(context: Any, checkout: Any, statement: str, parameters: Any = ()) -> bool:
    """Whether the first statement of a checkout begins a transaction, and BEGIN should go along with it.

    Args:
        context: SQLAlchemy's; incomplete where a default is asked for: it is made while that is executed.
        checkout: that the statement is executed on.
        statement: its text.
        parameters: its values.
    """
    return bool(
        checkout._connection_record.respool_far
        and not context._is_server_side
        and not checkout.dbapi_connection.autocommit
        and _is_the_same_in_a_pipeline(context, statement, parameters)
    )


def _is_the_same_in_a_pipeline(context: Any, statement: str, parameters: Any) -> bool:
    """Whether the server is asked in the same way: there, as with parameters, it takes one command and no COPY.

    Without parameters psycopg has another way, in which text may be several commands. What SQLAlchemy has built is one.
    """
    if parameters:
        return True
    compiled = context.compiled
    return compiled is not None and not (context.isddl or compiled.isplaintext or ";" in statement)


def execute(dbapi_connection: Any, cursor: Any, run: Callable[[Any], object]) -> None:
    """Execute a statement on a cursor, after BEGIN; raises as the driver does.

    Args:
        dbapi_connection: as it comes from the pool.
        cursor: the one that was made for the statement.
        run: executes it on the cursor.
    """
    connection = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    connection._autocommit = True  # the transaction is begun here
    try:
        if connection is not dbapi_connection:
            await_only(_execute(connection, cursor, run))
        else:
            with connection.pipeline():
                connection.wait(connection._exec_command(connection._get_tx_start_command()))
                run(cursor)
    finally:
        connection._autocommit = False


def leave(connection: Any) -> None:
    """Bring a connection of psycopg out of a pipeline whose end was cut off.

    Raises:
        OperationalError: answers are still to come that nobody waits for; it cannot be used again.
    """
    if connection.pgconn.pipeline_status:
        connection.pgconn.exit_pipeline_mode()
    connection._pipeline = None


async def _execute(connection: Any, cursor: Any, run: Callable[[Any], object]) -> None:
    """The same for asyncio, where SQLAlchemy's cursor looks for rows before they can be there."""
    async with connection.pipeline():
        await connection.wait(connection._exec_command(connection._get_tx_start_command()))
        await greenlet_spawn(run, cursor)
    if cursor._cursor.description is not None:
        cursor._rows = deque(await cursor._cursor.fetchall())
