"""For aiomysql and asyncmy: a statement that runs on when its caller is cancelled, and is then killed on the server.

Left alone, both close their connection when a caller is cancelled in the midst of an answer, and MySQL goes on with the
statement and its locks, on a connection that no pool knows any more.  So each statement gets a task of its own, which
no cancellation of a caller's reaches.  Afterwards the pool waits for its end, and hastens it with KILL QUERY from a
connection made for that; what is left is a transaction to roll back.

A number means one connection on one server only.  Whether the killing connection has reached the server that the
statement runs on is asked before; behind a proxy that says otherwise, nothing is killed and the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy.util import await_only

__all__ = ["DRIVERS", "run_on", "settle"]

DRIVERS = frozenset({"aiomysql", "asyncmy"})

#: Seconds for a statement to end by itself: most do sooner than a kill could be on its way.
_GRACE = 0.05

_PLACE = "@@hostname, @@port, @@server_id"


def run_on(dbapi_connection: Any) -> None:
    """Have this new connection's statements outlive their callers. One round trip, in SQLAlchemy's greenlet."""
    driver = dbapi_connection.driver_connection
    number, *place = _ask(dbapi_connection, f"SELECT CONNECTION_ID(), {_PLACE}")
    if number == driver.thread_id():
        kind: Any = type(driver)
        driver.__class__ = _enduring(kind)
        driver.respool_place = tuple(place)
        driver.respool_task = None


def settle(dbapi_connection: Any, connect: Callable[[], Any]) -> None:
    """Wait for the end of what runs on a connection whose caller was cancelled. In SQLAlchemy's greenlet.

    Args:
        connect: opens another connection to the same server.

    Raises:
        ConnectionError: it cannot be hastened, or the driver closed the connection.
    """
    driver = dbapi_connection.driver_connection
    if not hasattr(driver, "respool_task"):
        raise ConnectionError("the driver closed the connection when its caller was cancelled")
    task: asyncio.Task[Any] | None = driver.respool_task
    if task is None:
        return
    await_only(asyncio.wait({task}, timeout=_GRACE))
    if not task.done() and task.get_name() == "query":  # a COMMIT is let come to its end
        _kill(driver, connect())
    await_only(asyncio.wait({task}))


def _kill(driver: Any, other: Any) -> None:
    try:
        if _ask(other, f"SELECT {_PLACE}") != driver.respool_place:
            raise ConnectionError("the statement runs on another server than the one that answers now")
        cursor = other.cursor()
        cursor.execute(f"KILL QUERY {driver.thread_id():d}")
        cursor.close()
    finally:
        other.close()


def _ask(dbapi_connection: Any, question: str) -> tuple[Any, ...]:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(question)
        return tuple(cursor.fetchone())
    finally:
        cursor.close()


@cache
def _enduring(kind: Any) -> type:
    """The driver's class, with what makes a round trip in a task of its own."""
    return type(kind.__name__, (kind,), {name: _in_a_task(kind, name) for name in ("query", "commit", "rollback")})


def _in_a_task(kind: type, name: str) -> Callable[..., Any]:
    method = getattr(kind, name)

    async def run(self: Any, *args: Any, **options: Any) -> Any:
        # whatever factory of tasks the loop has
        self.respool_task = task = asyncio.Task(
            method(self, *args, **options), loop=asyncio.get_running_loop(), name=name
        )
        task.add_done_callback(_look)
        await asyncio.wait({task})
        return task.result()

    return run


def _look(task: asyncio.Task[Any]) -> None:
    """Take note of a failure, so that asyncio does not report it when nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
