"""What a driver's connection is told to execute, seen by the driver itself: listeners of SQLAlchemy's would change the way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.util import await_only

__all__ = ["record", "recording"]

Note = Callable[[str], Any]


def record(driver: str, connection: Any, note: Note) -> None:
    """Have it noted, from now on.

    Args:
        driver: its name.
        connection: the driver's.
        note: is called with each statement and its parameters, as text.
    """
    if driver == "sqlite":
        connection.set_trace_callback(note)
    elif driver == "aiosqlite":
        await_only(connection.set_trace_callback(note))
    elif driver == "asyncpg":
        connection.add_query_logger(lambda query: note(f"{query.query} {query.args!r}"))
    elif driver.startswith("psycopg"):
        kind = connection.cursor_factory
        if kind is None:  # psycopg2
            from psycopg2.extensions import cursor as kind
        connection.cursor_factory = _recording(kind, note)
    else:
        connection.query = _noting(connection.query, note)


@contextmanager
def recording(driver: str, note: Note) -> Iterator[None]:
    """Have noted in this block what a driver's connection cannot be told to tell by itself."""
    if driver != "asyncpg":
        yield
        return
    plain = PreparedStatement.fetch

    async def fetch(self: Any, *values: Any, **named: Any) -> Any:
        note(f"{self.get_query()} {values!r}")
        return await plain(self, *values, **named)

    with mock.patch.object(PreparedStatement, "fetch", fetch):
        yield


def _recording(kind: Any, note: Note) -> Any:
    def execute(self: Any, query: Any, parameters: Any = None, **named: Any) -> Any:
        note(f"{query} {parameters!r}")
        return kind.execute(self, query, parameters, **named)

    return type("Recording", (kind,), {"execute": execute})


def _noting(query: Callable[..., Any], note: Note) -> Callable[..., Any]:
    @functools.wraps(query)
    def noting(sql: Any, *more: Any, **named: Any) -> Any:
        note(sql if isinstance(sql, str) else bytes(sql).decode(errors="replace"))
        return query(sql, *more, **named)

    return noting
