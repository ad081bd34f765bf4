"""A transaction for one read: it ends with the statement, unless somebody was seen to use it for more than that.

Where somebody unknown listens to statements, a read runs in a transaction as SQLAlchemy's own would; what the listener
does there, SET LOCAL or an INSERT, has its effect.  If it did nothing, the transaction has only read, and is given back.
If it did, nobody can tell what depends on that: then the session's transaction has begun, and is held as ever.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NoReturn

from sqlalchemy import Connection
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

from respool.engine.catalogue import asking, catalogue_of
from respool.engine.dialects.signs import transaction_note
from respool.engine.pools.checkout import Checkout, WatchedCheckout
from respool.session.reads.plain import OPTION, is_plain_read
from respool.session.reads.rows import fetched

__all__ = ["Watch"]


class Watch:
    """What is seen of such a transaction.

    Args:
        life: that of the session whose transaction it is.
        connection: that it holds.
    """

    __slots__ = ("_connection", "_cursors", "_life", "_statements", "held")

    def __init__(self, life: Any, connection: Connection) -> None:
        self._life = life
        self._connection: Any = connection
        self._statements = 0
        self.held = False  #: something else was seen than plain reads
        watched: Any = connection
        kind: Any = type(watched)
        watched.__class__ = _watched(kind)
        watched._respool_watch = self
        checkout: Any = watched._dbapi_connection
        self._cursors = 0  #: that were made before
        if type(checkout) is Checkout:
            checkout.__class__ = WatchedCheckout
            self._cursors = checkout.cursors

    def end(self) -> bool:
        """Look no more; whether nothing was seen that would have to be kept."""
        connection = self._connection
        connection.__class__ = type(connection).__base__
        del connection._respool_watch
        checkout: Any = connection._dbapi_connection
        if not isinstance(checkout, WatchedCheckout):  # it could not be watched, or is lost
            return False
        touched = checkout.touched or checkout.cursors - self._cursors != self._statements
        checkout.__class__ = Checkout  # type: ignore[assignment]
        if self.held or touched or not self._has_only_read():
            return False
        if (use := checkout._entry.use) is not None:
            use.leased()
        return True

    def execute(self, context: Any, run: Any) -> Any:
        """Execute a statement on the connection.

        Args:
            context: SQLAlchemy's, of the statement.
            run: executes it, and returns the result.

        Raises:
            ReadOnly: it was said to be a read, and is none.
        """
        self._statements += 1
        options = context.execution_options
        if self._life.reading:
            options = {OPTION: True, **options}
        catalogue = catalogue_of(context.engine)
        plain = is_plain_read(context.compiled, options, catalogue.through(_nobody))
        try:
            result = run()
        except BaseException:
            self.held = self.held or not plain
            raise
        if not plain:  # as far as was known; a question before the statement would have begun the transaction
            ask = asking(self._connection._dbapi_connection.dbapi_connection, within_transaction=True)
            plain = is_plain_read(context.compiled, options, catalogue.through(ask))
        if not plain:
            self.held = True
        by_word = plain and OPTION in options
        if by_word and not (result.returns_rows and self._has_only_read()):
            self._life.refuse_write("a statement that was said to be a read, and is none,")
        fetched(result, self._life.scope)
        if not (result._soft_closed or isinstance(result.cursor_strategy, FullyBufferedCursorFetchStrategy)):
            self.held = True  # its rows are not all here
        return result

    def _has_only_read(self) -> bool:
        """Whether SQLite's driver, which begins a transaction at a write, has begun none; others do at a read, too."""
        sqlite = self._connection.dialect.name == "sqlite"
        return not (sqlite and transaction_note(self._connection._dbapi_connection.dbapi_connection))


def _nobody(sql: str) -> NoReturn:
    raise LookupError("nobody is asked")


@cache
def _watched(kind: Any) -> Any:
    class Watched(kind):  # type: ignore[misc]
        __slots__ = ()

        @property
        def connection(self) -> Any:
            self._respool_watch.held = True  # whoever has asked for it can do anything with it
            return super().connection

        @property
        def info(self) -> Any:
            return self._dbapi_connection.info

        def _exec_single_context(self, dialect: Any, context: Any, statement: Any, parameters: Any) -> Any:
            return self._respool_watch.execute(
                context, lambda: super(Watched, self)._exec_single_context(dialect, context, statement, parameters)
            )

    Watched.__name__, Watched.__qualname__ = kind.__name__, kind.__qualname__
    return Watched
