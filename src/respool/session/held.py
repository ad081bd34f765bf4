"""The connection that a session's transaction holds: SQLAlchemy's own, which also tells the session what it does.

It is told by overriding, not by an engine's events: once an engine has a single listener, every statement of everybody
pays for all of its events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from respool.engine.checkout import Checkout
from respool.engine.drivers import transaction_state
from respool.engine.hangups import has_hung_up

if TYPE_CHECKING:
    from respool.session.changes import ChangeLog

__all__ = ["discard", "give_back", "hold", "let_go", "log_of"]

_LOG = "_respool_log"

#: What is refused by the server once a transaction has executed anything.
_FIRST_OF_ALL = re.compile(r"\s*SET\s+(?:(?:LOCAL|SESSION)\s+)?TRANSACTION\b", re.IGNORECASE)
#: How a transaction comes to be one that has; it is nobody's statement, and nobody hears of it.
_ANYTHING = {"postgresql": "SELECT 1 AS respool_question", "mysql": "START TRANSACTION", "mariadb": "START TRANSACTION"}


@cache
def _held(kind: Any) -> Any:
    """What a connection's class becomes for as long as a session has it."""

    class Held(kind):  # type: ignore[misc]
        __slots__ = ()

        def _exec_single_context(self, dialect: Any, context: Any, statement: Any, parameters: Any) -> Any:
            if self._respool_log.after_reads:
                _as_after_reads(self, context)
            return _noted(self, super()._exec_single_context(dialect, context, statement, parameters))

        def _exec_insertmany_context(self, dialect: Any, context: Any) -> Any:
            return _noted(self, super()._exec_insertmany_context(dialect, context))

        def _commit_impl(self) -> None:
            if self._respool_log.doubtful:
                _ask(self)
            _look(self)
            self._respool_log.committing = True
            super()._commit_impl()
            if isinstance(checkout := self._dbapi_connection, Checkout):
                checkout.over = True

        def _commit_twophase_impl(self, xid: Any, is_prepared: bool) -> None:
            self._respool_log.committing = True
            super()._commit_twophase_impl(xid, is_prepared)

        def _savepoint_impl(self, name: str | None = None) -> Any:
            _begin_for_certain(self)
            return super()._savepoint_impl(name)

    Held.__name__, Held.__qualname__ = kind.__name__, kind.__qualname__
    return Held


def _look(connection: Any) -> None:
    """A COMMIT that is not sent has not come through, for certain; one that is cut off may have.

    Raises:
        CommitNotSent: the server has hung up.
    """
    dialect, checkout = connection.dialect, connection._dbapi_connection
    if dialect.name == "sqlite" or checkout is None:
        return
    dbapi_connection = checkout.dbapi_connection
    if transaction_state(dbapi_connection) == (None, True):
        return  # the driver sends none
    if has_hung_up(dbapi_connection):
        connection._respool_log.cut_off = True
        lost = dialect.loaded_dbapi.OperationalError("the server had closed the connection before COMMIT was sent")
        connection._handle_dbapi_exception(lost, None, None, None, None)


def _ask(connection: Any) -> None:
    """PostgreSQL takes the COMMIT of a transaction that it has given up for a ROLLBACK, and refuses a question.

    Raises:
        InternalError: it has given it up.
    """
    dialect, checkout = connection.dialect, connection._dbapi_connection
    question, cursor = _ANYTHING["postgresql"], checkout.cursor()
    try:
        cursor.execute(question)
    except dialect.loaded_dbapi.Error as error:
        with suppress(dialect.loaded_dbapi.Error):
            dialect.do_rollback(checkout)  # SQLAlchemy sends nothing more once a COMMIT has failed
        connection._handle_dbapi_exception(error, question, None, cursor, None)
    finally:
        cursor.close()


def _noted(connection: Any, result: Any) -> Any:
    """The result of a statement, when the session knows of it."""
    log = connection._respool_log
    if not log.flushing:  # a flush tells by its objects, and reads what it asks for at once
        log.executed(result.context)
        if log.fetch is not None:
            log.fetch.bind(result)
    return result


def _as_after_reads(connection: Any, context: Any) -> None:
    """The session has read before its transaction began; what is too late after a read is too late here."""
    connection._respool_log.after_reads = False
    statement = _ANYTHING.get(context.dialect.name)
    if statement is not None and _FIRST_OF_ALL.match(context.statement):
        cursor = connection._dbapi_connection.cursor()
        cursor.execute(statement)
        cursor.close()


def _begin_for_certain(connection: Connection) -> None:
    """Python's sqlite3 begins a transaction before a write, not before a SAVEPOINT, whose RELEASE would then commit."""
    checkout = connection.connection
    if getattr(checkout.driver_connection, "in_transaction", True) is False:
        cursor = checkout.cursor()
        cursor.execute("BEGIN")
        cursor.close()


def hold(connection: Any, log: ChangeLog) -> None:
    """Have a connection tell this log what is executed on it, and when a COMMIT is under way."""
    if not hasattr(connection, _LOG):
        connection.__class__ = _held(connection.__class__)
    setattr(connection, _LOG, log)


def let_go(connection: Any, log: ChangeLog) -> None:
    """The session has it no more; one of the user's own goes on without it."""
    if log_of(connection) is log:
        connection.__class__ = type(connection).__base__
        delattr(connection, _LOG)


def log_of(connection: Connection | None) -> ChangeLog | None:
    """The log of the session that has it, if one does."""
    log: ChangeLog | None = getattr(connection, _LOG, None)
    return log


def give_back(connections: Iterable[Connection], error: BaseException) -> None:
    """Closing has failed. What the server has answered, or a listener raised, leaves a connection that can be reset.

    Args:
        connections: those that the session had.
        error: how it failed.
    """
    if not isinstance(error, Exception) or isinstance(error, OSError):  # cut off, or there was no answer
        discard(connections)
        return
    for connection in connections:
        connection._transaction = connection._nested_transaction = None  # their ends have been told
        try:
            connection.close()
        except Exception:
            discard([connection])


def discard(connections: Iterable[Connection]) -> None:
    """Whatever ails a connection, it does not stay with a session."""
    for connection in connections:
        with suppress(Exception):
            connection.invalidate()
        with suppress(Exception):
            connection.close()
