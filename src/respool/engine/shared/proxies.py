"""The driver's connection and its cursors as those see them who share the connection: every COMMIT is turned around."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
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
        return SharedCursor(partial(self.raw.cursor, *args, **kwargs), self.outer)

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
    """A driver's cursor, whose statements are executed in its user's transaction. It is made when it is first needed.

    Args:
        make: makes the driver's, where the connection is at home.
        outer: the transaction around.
    """

    _make: Callable[[], Any]
    _outer: OuterTransaction
    _made: Any

    def __init__(self, make: Callable[[], Any], outer: OuterTransaction) -> None:
        vars(self).update(_make=make, _outer=outer, _made=None)

    def _cursor(self) -> Any:
        if self._made is None:
            vars(self)["_made"] = self._make()
        return self._made

    def _there(self) -> Any:
        """The driver's cursor, for those who want to know something of it."""
        return self._made if self._made is not None else self._outer.home.run(self._cursor)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._there(), name)
        if not callable(value) or name.startswith("_"):
            return value
        return lambda *args, **kwargs: self._execute(name, *args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._there(), name, value)

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        if isinstance(statement, str):
            if (control := _CONTROL.match(statement)) is not None:
                self._control(control["word"].upper())
                return self
            self._outer.look(statement)
        return self._execute("execute", statement, *args, **kwargs)

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
        return self._fetch("fetchone")

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        return self._fetch("fetchmany", *args, **kwargs)

    def fetchall(self) -> Any:
        """As the driver's."""
        return self._fetch("fetchall")

    def close(self) -> None:
        """As the driver's; nobody waits for it."""
        made = self._made
        if made is not None:
            if getattr(made, "server_side", True) or getattr(made, "_awaitable_cursor_close", True):
                self._outer.home.later(made.close)
            else:
                made.close()

    async def _async_soft_close(self) -> None:
        """As that of SQLAlchemy's cursors: the rows stay."""
        if (close := getattr(self._made, "_async_soft_close", None)) is not None:
            await self._outer.home.awaited(close)

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fetch(self, name: str, *args: Any, **kwargs: Any) -> Any:
        cursor = self._there()
        function = getattr(cursor, name)
        if getattr(cursor, "server_side", False):
            return self._outer.home.run(function, *args, **kwargs)
        return function(*args, **kwargs)  # the rows are here, or the thread is any

    def _execute(self, name: str, *args: Any, **kwargs: Any) -> Any:
        result = self._outer.home.run(self._execute_at_home, name, args, kwargs)
        return self if result is self._made else result

    def _execute_at_home(self, name: str, args: Any, kwargs: Any) -> Any:
        outer = self._outer
        outer.begin()
        try:
            result = getattr(self._cursor(), name)(*args, **kwargs)
        except BaseException as error:
            outer.failed = True
            if outer.autocommit and isinstance(error, Exception):
                outer.rollback()
            raise
        if outer.autocommit:
            outer.commit()
        return result

    def _control(self, word: str) -> None:
        if word.startswith(("BEGIN", "START")):
            self._outer.begin()
        elif word.startswith("ROLLBACK"):
            self._outer.rollback()
        elif not word.startswith("SET"):  # an isolation level comes too late: the outer transaction has one
            self._outer.commit()
