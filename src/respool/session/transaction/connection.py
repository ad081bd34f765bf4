"""The connection that a session's transaction holds: SQLAlchemy's own, which also tells the session what it does.

It is told by overriding, not by an engine's events: once an engine has a single listener, every statement of everybody
pays for all of its events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, TwoPhaseTransaction, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.sql.elements import SavepointClause

from respool.engine.dialects.arrivals import autocommits
from respool.engine.dialects.server_hangups import has_hung_up
from respool.engine.dialects.signs import driver_of, is_closed, transaction_state
from respool.engine.pools.checkout import Checkout
from respool.engine.pools.lending import use_of
from respool.errors import CommitNotSent, CommitOutcomeUnknown

if TYPE_CHECKING:
    from respool.session.transaction.work import Work

__all__ = ["discard", "give_back", "hold", "let_go", "watch", "work_of"]

_WORK = "_respool_work"
#: The mark on an engine that is listened to.
_WATCHED = "_respool_watched"

#: What is refused by the server once a transaction has executed anything.
_FIRST_OF_ALL = re.compile(r"\s*SET\s+(?:(?:LOCAL|SESSION)\s+)?TRANSACTION\b", re.IGNORECASE)
#: How a transaction comes to be one that has; it is nobody's statement, and nobody hears of it.
_ANYTHING = {"postgresql": "SELECT 1 AS respool_question", "mysql": "START TRANSACTION", "mariadb": "START TRANSACTION"}


@cache
def _held(kind: Any) -> Any:
    """What a connection's class becomes for as long as a session has it."""

    class Held(kind):  # type: ignore[misc]
        __slots__ = ()

        @property
        def connection(self) -> Any:
            checkout = super().connection
            if isinstance(checkout, Checkout):
                checkout.touched = True  # whoever has asked for it can do anything with it
            return checkout

        def _exec_single_context(self, dialect: Any, context: Any, statement: Any, parameters: Any) -> Any:
            if self._respool_work.after_reads:
                _as_after_reads(self, context)
            if self._respool_work.saving and isinstance(getattr(context.compiled, "statement", None), SavepointClause):
                _begin_for_certain(self)
            return _noted(self, super()._exec_single_context(dialect, context, statement, parameters))

        def _exec_insertmany_context(self, dialect: Any, context: Any) -> Any:
            return _noted(self, super()._exec_insertmany_context(dialect, context))

        def _commit_impl(self) -> None:
            _commit(self, super()._commit_impl)

        def _commit_twophase_impl(self, xid: Any, is_prepared: bool) -> None:
            self._respool_work.committing = True
            super()._commit_twophase_impl(xid, is_prepared)

        def _savepoint_impl(self, name: str | None = None) -> Any:
            work = self._respool_work
            work.saving = self.dialect.name == "sqlite"
            try:
                return super()._savepoint_impl(name)
            finally:
                work.saving = False

        def close(self) -> None:
            if self._respool_work.doubtful:
                _have_it_reset(self)
            super().close()

    Held.__name__, Held.__qualname__ = kind.__name__, kind.__qualname__
    return Held


def _commit(connection: Any, send: Callable[[], None]) -> None:
    work = connection._respool_work
    if work.doubtful and not connection.invalidated:
        _ask(connection)
    _look(connection)
    work.committing = True
    use = use_of(connection._dbapi_connection)
    if use is None:
        send()
    else:
        use.commit(send, work)
    if isinstance(checkout := connection._dbapi_connection, Checkout):
        checkout.over = True


def _look(connection: Any) -> None:
    """A COMMIT that is not sent has not come through, for certain; one that is cut off may have.

    Raises:
        CommitNotSent: the server has hung up.
    """
    dialect, checkout = connection.dialect, connection._dbapi_connection
    if dialect.name == "sqlite" or checkout is None:
        return
    dbapi_connection = checkout.dbapi_connection
    if transaction_state(dbapi_connection) == (None, True) and not _ends_in_one(dialect, dbapi_connection):
        return  # the driver sends none
    if has_hung_up(dbapi_connection):
        connection._respool_work.cut_off = True
        lost = dialect.loaded_dbapi.OperationalError("the server had closed the connection before COMMIT was sent")
        connection._handle_dbapi_exception(lost, None, None, None, None)


def _ends_in_one(dialect: Any, dbapi_connection: Any) -> bool:
    """Whether the driver knows that the connection has ended, which had a transaction then: of one it tells no more."""
    if getattr(dbapi_connection, "_transaction", True) is None:  # SQLAlchemy's for asyncpg: none has begun
        return False
    with suppress(Exception):  # it tells of nothing any more
        return is_closed(driver_of(dbapi_connection)) and not autocommits(dialect, dbapi_connection)
    return False


def _ask(connection: Any) -> None:
    """PostgreSQL takes the COMMIT of a transaction that it has given up for a ROLLBACK, and refuses a question.

    Raises:
        InternalError: it has given it up.
    """
    dialect, checkout = connection.dialect, connection._dbapi_connection
    if transaction_state(checkout.dbapi_connection) == (None, True):
        return  # there is none: the driver is in autocommit
    question, cursor = _ANYTHING["postgresql"], checkout.cursor()
    try:
        cursor.execute(question)
    except dialect.loaded_dbapi.Error as error:
        with suppress(dialect.loaded_dbapi.Error):
            dialect.do_rollback(checkout)  # SQLAlchemy sends nothing more once a COMMIT has failed
        connection._handle_dbapi_exception(error, question, None, cursor, None)
    finally:
        cursor.close()


def _have_it_reset(connection: Any) -> None:
    """SQLAlchemy resets no connection whose COMMIT was refused, but each whose COMMIT was a silent rollback."""
    transaction = connection._transaction
    if transaction is not None and not transaction.is_active:
        connection._transaction = None


def _noted(connection: Any, result: Any) -> Any:
    """The result of a statement, when the session knows of it."""
    work = connection._respool_work
    if not work.flushing:  # a flush tells by its objects, and reads what it asks for at once
        work.log.executed(result.context)
        if work.fetch is not None:
            work.fetch.bind(result)
    return result


def _as_after_reads(connection: Any, context: Any) -> None:
    """The session has read before its transaction began; what is too late after a read is too late here."""
    connection._respool_work.after_reads = False
    statement = _ANYTHING.get(context.dialect.name)
    if statement is not None and _FIRST_OF_ALL.match(context.statement):
        cursor = connection._dbapi_connection.cursor()
        cursor.execute(statement)
        cursor.close()


def _begin_for_certain(connection: Connection) -> None:
    """Python's sqlite3 begins a transaction before a write, not before a SAVEPOINT, whose RELEASE would then commit.

    In autocommit it is meant to.  It begins once those who hear of the savepoint have had their say.
    """
    checkout: Any = connection.connection
    driver = checkout.driver_connection
    if getattr(driver, "in_transaction", True) is False and not _commits_by_itself(driver):
        cursor = checkout.cursor()
        cursor.execute("BEGIN")
        cursor.close()


def _commits_by_itself(driver: Any) -> bool:
    return (
        driver.isolation_level is None or getattr(driver, "autocommit", False) is True
    )  # the latter since Python 3.12


def hold(connection: Any, work: Work) -> None:
    """Have a connection tell this what is executed on it, and when a COMMIT is under way."""
    if not hasattr(connection, _WORK):
        connection.__class__ = _held(connection.__class__)
    setattr(connection, _WORK, work)


def let_go(connection: Any, work: Work) -> None:
    """The session has it no more; one of the user's own goes on without it."""
    if work_of(connection) is work:
        connection.__class__ = type(connection).__base__
        delattr(connection, _WORK)


def work_of(connection: Connection | None) -> Work | None:
    """The work of the session that has it, if one does."""
    work: Work | None = getattr(connection, _WORK, None)
    return work


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


# -- how a statement and a COMMIT fail -----------------------------------------------------------------------------------


def watch(target: Engine) -> None:
    """Listen to an engine, once: how a COMMIT fails."""
    if not hasattr(target, _WATCHED) and isinstance(target, Engine):  # else it stands for one in somebody's test
        setattr(target, _WATCHED, True)
        event.listen(target, "handle_error", _failed)


def _failed(context: ExceptionContext) -> BaseException | None:
    """A connection that broke during its COMMIT: nobody can tell from here whether the changes are saved."""
    refused = _refused(context)
    work = work_of(context.connection)
    if work is None:
        return refused
    if context.statement is None and _preparing(context.connection):
        # psycopg takes a PREPARE that failed for done, and can neither roll back nor be reset any more
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
    if work.cut_off:
        work.cut_off, context.is_disconnect = False, True
        return _not_sent(work.log.title)
    if not work.committing:
        work.broken = work.broken or context.dialect.name == "postgresql"
        return refused
    work.committing = False
    if refused is not None:
        return _not_sent(work.log.title)
    if context.connection is not None and not context.is_disconnect:
        _leave_refused_transaction(context.connection)
    if not context.is_disconnect or not isinstance(context.original_exception, Exception):
        return None
    work.unknown = True
    return CommitOutcomeUnknown(
        f"the connection of {work.log.title} broke during COMMIT: saved or not, nobody can tell",
        now=[f"{type(context.original_exception).__name__} from the driver"],
        advice=[
            "look in the database whether the changes are there before doing them again",
            "make the operation repeatable: a key that the client sends, a unique constraint on it",
        ],
        scope=work.log.title,
    )


def _refused(context: ExceptionContext) -> DBAPIError | None:
    """A lost connection in asyncpg's words, once it has read that: only its own state is not as it should be."""
    said, connection = str(context.original_exception), context.connection
    if "cannot switch to state" not in said or connection is None or connection.invalidated:
        return None
    if not (context.is_disconnect or has_hung_up(connection.connection.dbapi_connection)):
        return None
    context.is_disconnect = True
    lost = context.dialect.loaded_dbapi.OperationalError(f"the server has closed the connection (asyncpg: {said})")
    return OperationalError(context.statement, context.parameters, lost, connection_invalidated=True)


def _not_sent(title: str) -> CommitNotSent:
    return CommitNotSent(
        f"{title}: the server had closed the connection before COMMIT was sent: nothing is saved",
        advice=[
            "do it once more, from its start: @transactional(retry=3) does that by itself",
            "find out who closes connections that are in use: a restart, an administrator, a limit for idle transactions",
        ],
        scope=title,
    )


def _preparing(connection: Connection | None) -> bool:
    transaction = connection.get_transaction() if connection is not None else None
    return isinstance(transaction, TwoPhaseTransaction) and not transaction._is_prepared


def _leave_refused_transaction(connection: Connection) -> None:
    """SQLite stays in a transaction whose COMMIT it refused, SQLAlchemy takes it for over: it would go on in the pool."""
    checkout = connection.connection
    if getattr(checkout.driver_connection, "in_transaction", False) is True:
        connection.dialect.do_rollback(checkout)
