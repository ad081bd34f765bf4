"""How the rows of a session's results are read: no more of them than the caller wants, and none after the scope's end.

A leased read fetches what most reads have, at once, and gives its connection back.  What there is beyond that stays with
the cursor, and the connection with the result, until it is read to its end or closed, or the session has something else to do.

A result that a generator has half read goes on reading through its cursor, from a connection that is in the pool again
or somebody else's. So results ask their scope before each fetch.

To fetch all of a result with the read would be simpler, and was: ``first()`` of a large table then read all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy.engine.cursor import (
    BufferedRowCursorFetchStrategy,
    CursorFetchStrategy,
    CursorResult,
    FullyBufferedCursorFetchStrategy,
)

from respool.scope.scope import ENDED, Scope

__all__ = ["AT_ONCE", "Fetch", "Rest", "fetched"]

#: So many rows are fetched before anybody asks for them, where the driver does not have all of them by itself.
AT_ONCE = 100


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
        self.streams: WeakSet[_Stream] | None = None  #: what is read little by little, and not to its end yet

    def close_streams(self) -> None:
        """Close the cursors that nobody will read to their end. A half-read one would stay open on the server."""
        streams, self.streams = self.streams, None
        for stream in streams or ():
            with suppress(Exception):
                stream.cursor.close()

    def bind(self, result: Any) -> None:
        """Have the result of a statement that was just executed ask the scope."""
        kind = type(result.cursor_strategy)
        if kind is CursorFetchStrategy:
            result.cursor_strategy = self
        elif kind is BufferedRowCursorFetchStrategy:
            result.cursor_strategy = stream = _Stream(self, result.cursor_strategy, result.cursor)
            if self.streams is None:
                self.streams = WeakSet()
            self.streams.add(stream)

    def leave(self, stream: _Stream) -> None:
        """One was read to its end, or closed."""
        if self.streams is not None:
            self.streams.discard(stream)

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        super().yield_per(result, dbapi_cursor, num)
        self.bind(result)


class _Stream(_Asking, BufferedRowCursorFetchStrategy):
    """A result that is read from the server little by little."""

    __slots__ = ("__weakref__", "cursor", "fetch", "scope")

    def __init__(self, fetch: Fetch, stream: BufferedRowCursorFetchStrategy, cursor: Any) -> None:
        self.fetch, self.scope, self.cursor = fetch, fetch.scope, cursor
        for name in BufferedRowCursorFetchStrategy.__slots__:
            setattr(self, name, getattr(stream, name))

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self.fetch.leave(self)
        super().soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self.fetch.leave(self)
        super().hard_close(result, dbapi_cursor)


class _Kept(FullyBufferedCursorFetchStrategy):
    """A result whose rows are in memory already. ``fetchmany()`` means as many as the cursor that they came from says."""

    __slots__ = ("arraysize",)

    arraysize: int

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        return super().fetchmany(result, dbapi_cursor, self.arraysize if size is None else size)


class _KeptForScope(_Asking, _Kept):
    __slots__ = ("scope",)


class Rest(CursorFetchStrategy):
    """A result that has some of its rows in memory, and the others with its cursor.

    Args:
        rows: those that were fetched.
        cursor: where the others come from.
        scope: whose result it is.
    """

    __slots__ = ("__weakref__", "_arraysize", "_cursor", "_rows", "release", "scope")

    def __init__(self, rows: Sequence[Any], cursor: Any, scope: Scope | None) -> None:
        self._rows = deque(rows)
        self._arraysize: int = cursor.arraysize
        self._cursor = cursor
        self.scope = scope
        self.release: Callable[[], None] | None = None  #: gives the connection back that is kept for it

    def keep(self) -> None:
        """Fetch what there still is, and give the connection back."""
        if self._cursor is not None:
            try:
                self._rows.extend(self._cursor.fetchall())
            finally:
                self.let_go()

    def let_go(self) -> None:
        """Give the connection back; nothing more is fetched."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(Exception):
                cursor.close()
        release, self.release = self.release, None
        if release is not None:
            release()

    def _fetch(self, result: Any, wanted: int | None) -> list[Any]:
        scope = self.scope
        if scope is not None and scope.state is ENDED:
            scope.refuse_ended()
        rows, cursor = self._rows, self._cursor
        missing = None if wanted is None else wanted - len(rows)
        if cursor is not None and (missing is None or missing > 0):
            try:
                rows.extend(cursor.fetchall() if missing is None else cursor.fetchmany(missing))
            except BaseException as error:
                self.let_go()
                self.handle_exception(result, cursor, error)
        return [rows.popleft() for _ in range(len(rows) if wanted is None else min(wanted, len(rows)))]

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        """As many as are asked for are fetched in any case."""

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        if not self._rows and self._cursor is not None:
            self._rows.extend(self._fetch(result, AT_ONCE))
        for row in self._fetch(result, 1):
            return row
        result._soft_close(hard=hard_close)
        return None

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        rows = self._fetch(result, self._arraysize if size is None else size)
        if not rows:
            result._soft_close()
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        rows = self._fetch(result, None)
        result._soft_close()
        return rows

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._rows.clear()
        self.let_go()
        super().soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._rows.clear()
        self.let_go()
        super().hard_close(result, dbapi_cursor)


#: How SQLAlchemy, or :class:`Fetch`, reads a cursor that is not read little by little.
_AS_IT_COMES = (CursorFetchStrategy, Fetch)


def fetched(result: Any, scope: Scope | None) -> Rest | None:
    """Have a result's rows in memory, and its cursor closed; if there are many, only the first ones, and it is told."""
    if not isinstance(result, CursorResult) or result._soft_closed:
        return None
    if type(result.cursor_strategy) not in _AS_IT_COMES:
        return None
    connection, cursor = result.connection, result.cursor
    try:
        # SQLAlchemy's asynchronous cursors have all rows in any case
        if connection.dialect.is_async or 0 <= cursor.rowcount <= AT_ONCE:
            rows, all_of_them = cursor.fetchall(), True
        else:
            rows = cursor.fetchmany(AT_ONCE)
            all_of_them = len(rows) < AT_ONCE
    except BaseException as error:
        connection._handle_dbapi_exception(error, None, None, cursor, result.context)
    if not all_of_them:
        rest = result.cursor_strategy = Rest(rows, cursor, scope)
        return rest
    kept: Any = (_Kept if scope is None else _KeptForScope)(None, initial_buffer=rows)
    kept.arraysize = cursor.arraysize
    if scope is not None:
        kept.scope = scope
    result.cursor_strategy = kept
    connection._safe_close_cursor(cursor)
    return None
