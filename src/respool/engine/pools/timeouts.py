"""``PoolTimeout`` as an engine raises it: also the error that SQLAlchemy's users catch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import exc

from respool.errors import PoolTimeout, RespoolError

__all__ = ["DatabaseAway", "EnginePoolTimeout", "as_sqlalchemy"]


class EnginePoolTimeout(PoolTimeout, exc.TimeoutError):  # type: ignore[misc]  # both have a code: ours wins
    """No connection in time: also SQLAlchemy's ``TimeoutError``."""

    told: ClassVar[list[Callable[[RespoolError], object]]] = []  #: nobody: the pool's own error, which it repeats, was


class DatabaseAway(EnginePoolTimeout, exc.OperationalError):  # type: ignore[misc]
    """No connection in time because none could be opened: also SQLAlchemy's ``OperationalError``, as without a pool."""

    def __init__(self, headline: str, **facts: Any) -> None:
        super().__init__(headline, **facts)
        self.statement = self.params = None
        self.detail: list[str] = []
        self.hide_parameters = self.ismulti = self.connection_invalidated = False


for _class in (EnginePoolTimeout, DatabaseAway):
    _class.__name__ = _class.__qualname__ = "PoolTimeout"


def as_sqlalchemy(error: PoolTimeout, dialect: Any) -> PoolTimeout:
    """The same error for SQLAlchemy's users; its cause, a driver's error, becomes its ``orig``."""
    dbapi_error = getattr(getattr(dialect, "dbapi", None), "Error", ())
    cause = error.__cause__
    away = isinstance(cause, Exception) and isinstance(dbapi_error, type) and isinstance(cause, dbapi_error)
    kind = DatabaseAway if away else EnginePoolTimeout
    again = kind(error.headline, now=error.now, advice=error.advice, **error.facts)
    if isinstance(again, DatabaseAway) and isinstance(cause, Exception):
        again.orig = cause
    return again
