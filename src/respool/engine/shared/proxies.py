"""The driver's connection and its cursors as those see them who share the connection: every COMMIT is turned around."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Self

from respool.engine.shared.transaction import OuterTransaction

__all__ = ["SharedConnection"]

#: What begins or ends a transaction by a word of one's own, behind comments.
_CONTROL = re.compile(
    r"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
    r"(?P<word>BEGIN|START\s+TRANSACTION|COMMIT(?!\s+PREPARED)|END|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO|\s+PREPARED)"
    r"|SET\s+(?:SESSION\s+CHARACTERISTICS\s+AS\s+)?TRANSACTION\s+ISOLATION)\b",
    re.IGNORECASE | re.DOTALL,
)


class SharedConnection:
    """A driver's connection, whose transactions are savepoints.

    Args:
        outer: the transaction in which they are.
    """

    def __init__(self, outer: OuterTransaction) -> None:
        vars(self).update(outer=outer, raw=outer.connection)

    outer: OuterTransaction
    raw: Any  #: the driver's connection itself

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.raw, name)
        if not callable(value) or name.startswith("_"):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:  # whatever the driver has beside cursors, such as execute()
            self.outer.begin()
            return self.outer.home.run(value, *args, **kwargs)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.raw, name, value)

    def __repr__(self) -> str:
        return f"<shared {self.raw!r}>"

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        self.outer.require()
        return SharedCursor(self.outer.home.run(self.raw.cursor, *args, **kwargs), self.outer)

    def commit(self) -> None:
        """As the driver's, for those who look at this connection."""
        self.outer.commit()

    def rollback(self) -> None:
        """As the driver's, for those who look at this connection."""
        self.outer.rollback()

    def close(self) -> None:
        """Nothing: it is somebody else's."""

    terminate = close

    def executescript(self, script: str) -> Any:
        """As sqlite3's, which would commit before it."""
        return self.cursor().executescript(script)


class SharedCursor:
    """A driver's cursor, whose statements are executed in its user's transaction."""

    _cursor: Any
    _outer: OuterTransaction

    def __init__(self, cursor: Any, outer: OuterTransaction) -> None:
        waits = getattr(cursor, "server_side", True) or getattr(cursor, "_awaitable_cursor_close", True)
        vars(self).update(_cursor=cursor, _outer=outer, _run=outer.home.run if waits else _here)

    _run: Callable[..., Any]  #: how a method is called that executes nothing

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cursor, name)
        if not callable(value) or name.startswith("_"):
            return value
        return lambda *args, **kwargs: self._execute(value, *args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        if isinstance(statement, str):
            if (control := _CONTROL.match(statement)) is not None:
                self._control(control["word"].upper())
                return self
            self._outer.look(statement)
        return self._execute(self._cursor.execute, statement, *args, **kwargs)

    def executescript(self, script: str) -> Any:
        """As sqlite3's, statement by statement."""
        statement = ""
        for part in script.split(";"):
            statement += part + ";"
            if sqlite3.complete_statement(statement):
                self.execute(statement)
                statement = ""
        if statement.strip("; \n\t"):
            self.execute(statement)
        return self

    def fetchone(self) -> Any:
        """As the driver's."""
        return self._fetch(self._cursor.fetchone)

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        return self._fetch(self._cursor.fetchmany, *args, **kwargs)

    def fetchall(self) -> Any:
        """As the driver's."""
        return self._fetch(self._cursor.fetchall)

    def close(self) -> Any:
        """As the driver's."""
        return self._run(self._cursor.close)

    async def _async_soft_close(self) -> None:
        """As that of SQLAlchemy's cursors: the rows stay."""
        if (close := getattr(self._cursor, "_async_soft_close", None)) is not None:
            await self._outer.home.awaited(close)

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fetch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(self._cursor, "server_side", False):
            return self._outer.home.run(function, *args, **kwargs)
        return function(*args, **kwargs)  # the rows are here, or the thread is any

    def _execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        outer = self._outer
        outer.begin()
        try:
            result = outer.home.run(function, *args, **kwargs)
        except Exception:
            if outer.autocommit:
                outer.rollback()
            raise
        if outer.autocommit:
            outer.commit()
        return self if result is self._cursor else result

    def _control(self, word: str) -> None:
        if word.startswith(("BEGIN", "START")):
            self._outer.begin()
        elif word.startswith("ROLLBACK"):
            self._outer.rollback()
        elif not word.startswith("SET"):  # an isolation level comes too late: the outer transaction has one
            self._outer.commit()


def _here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
