"""Cursors that tell when somebody asks them for their connection: it is the driver's own, and could be used for anything."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["watched_cursor"]

#: Who is told, by cursor.
_told: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def watched_cursor(checkout: Any, *args: Any, **kwargs: Any) -> Any:
    """A new cursor, which sets ``checkout.touched`` when it is asked for its connection.

    With a driver whose cursors cannot be made to tell it is set at once.

    Args:
        checkout: whose connection makes it.
        args, kwargs: as for the driver's ``cursor()``.
    """
    cursor = checkout.dbapi_connection.cursor(*args, **kwargs)
    kind: Any = type(cursor)
    if kind.__module__.startswith("sqlite3"):  # its connection tells by itself that it has written
        return cursor
    if not hasattr(cursor, "connection"):  # SQLAlchemy's asynchronous cursors have none
        return cursor
    if kind.__module__.startswith("psycopg2") and not kwargs:
        cursor = checkout.dbapi_connection.cursor(*args, cursor_factory=_watched(kind))
    elif hasattr(kind, "connection"):
        try:
            cursor.__class__ = _watched(kind)
        except TypeError:
            checkout.touched = True
            return cursor
    else:
        checkout.touched = True
        return cursor
    _told[cursor] = checkout
    return cursor


@cache
def _watched(kind: Any) -> Any:
    class Watched(kind):  # type: ignore[misc]
        __slots__ = ()

        @property
        def connection(self) -> Any:
            checkout = _told.get(self)
            asks = sys._getframe(1).f_globals.get("__name__", "")
            if checkout is not None and not asks.startswith(("psycopg", "sqlalchemy")):  # the driver and the dialect
                checkout.touched = True
            return super().connection

    Watched.__name__, Watched.__qualname__ = kind.__name__, kind.__qualname__
    return Watched
