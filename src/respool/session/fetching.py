"""Rows that are still to be read when the scope ends: they are not read any more.

A result that a generator has half read goes on reading through its cursor, from a connection that is in the pool again
or somebody else's. So results ask their scope before each fetch.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy.engine.cursor import (
    BufferedRowCursorFetchStrategy,
    CursorFetchStrategy,
    FullyBufferedCursorFetchStrategy,
)

from respool.session.scope import ENDED, Scope

__all__ = ["Fetch", "kept"]


class _Asking:
    """Asks the scope before each fetch."""

    __slots__ = ()

    scope: Scope

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        if self.scope.state is ENDED:
            self.scope.refuse_ended()
        return super().fetchone(result, dbapi_cursor, hard_close)  # type: ignore[misc]

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        if self.scope.state is ENDED:
            self.scope.refuse_ended()
        return super().fetchmany(result, dbapi_cursor, size)  # type: ignore[misc]

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        if self.scope.state is ENDED:
            self.scope.refuse_ended()
        return super().fetchall(result, dbapi_cursor)  # type: ignore[misc]


class Fetch(_Asking, CursorFetchStrategy):
    """SQLAlchemy's usual way of reading a cursor, for all results of one scope.

    Args:
        scope: whose results they are.
    """

    __slots__ = ("scope", "streams")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.streams: dict[int, Any] = {}  #: the cursors that are read little by little, and not to their end yet

    def close_streams(self) -> None:
        """Close the cursors that nobody will read to their end. A half-read one would stay open on the server."""
        streams, self.streams = self.streams, {}
        for cursor in streams.values():
            with suppress(Exception):
                cursor.close()

    def bind(self, result: Any) -> None:
        """Have the result of a statement that was just executed ask the scope."""
        kind = type(result.cursor_strategy)
        if kind is CursorFetchStrategy:
            result.cursor_strategy = self
        elif kind is BufferedRowCursorFetchStrategy:
            result.cursor_strategy = _Stream(self, result.cursor_strategy)
            self.streams[id(result.cursor)] = result.cursor

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        super().yield_per(result, dbapi_cursor, num)
        self.bind(result)


class _Stream(_Asking, BufferedRowCursorFetchStrategy):
    """A result that is read from the server little by little."""

    __slots__ = ("fetch", "scope")

    def __init__(self, fetch: Fetch, stream: BufferedRowCursorFetchStrategy) -> None:
        self.fetch, self.scope = fetch, fetch.scope
        for name in BufferedRowCursorFetchStrategy.__slots__:
            setattr(self, name, getattr(stream, name))

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self.fetch.streams.pop(id(dbapi_cursor), None)
        super().soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self.fetch.streams.pop(id(dbapi_cursor), None)
        super().hard_close(result, dbapi_cursor)


class _Kept(_Asking, FullyBufferedCursorFetchStrategy):
    """A result whose rows are in memory already."""

    __slots__ = ("scope",)


def kept(rows: Any, scope: Scope | None) -> FullyBufferedCursorFetchStrategy:
    """What a result reads from when its rows were fetched before it."""
    if scope is None:
        return FullyBufferedCursorFetchStrategy(None, initial_buffer=rows)
    strategy = _Kept(None, initial_buffer=rows)
    strategy.scope = scope
    return strategy
