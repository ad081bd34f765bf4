"""SQLAlchemy's events, and what each means to a session: its phase, its changes, its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, TwoPhaseTransaction, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import InstanceState, SessionTransaction

from respool.engine.hangups import has_hung_up
from respool.errors import CommitNotSent, CommitOutcomeUnknown
from respool.session import fetching, held
from respool.session.hooks import Outcome
from respool.session.life import life_of
from respool.session.phase import COMMITTED, ROLLED_BACK

if TYPE_CHECKING:
    from respool.session.session import Session

__all__ = ["engine", "sessions"]

#: The mark on an engine that is listened to.
_WATCHED = "_respool_watched"


def sessions(cls: type[Session]) -> None:
    """Listen to all sessions of a class."""
    for listener in _SESSION_LISTENERS:
        event.listen(cls, listener.__name__.removeprefix("_"), listener, propagate=True, raw=True)


def engine(target: Engine) -> None:
    """Listen to an engine, once: how a COMMIT fails."""
    if not hasattr(target, _WATCHED) and isinstance(target, Engine):  # else it stands for one in somebody's test
        setattr(target, _WATCHED, True)
        event.listen(target, "handle_error", _failed)


# -- sessions -----------------------------------------------------------------------------------------------------


def _after_transaction_create(session: Session, transaction: SessionTransaction) -> None:
    life = life_of(session)
    if transaction.nested:
        life.log.savepoint(transaction)
        life.hooks.savepoint(transaction)
    elif transaction.parent is None:
        life.settle_rest()  # a result may have the only connection
        life.at_work(session)
        if life.observers.all:
            life.news.begin(life)


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.parent is None:
        engine(connection.engine)
        life = life_of(session)
        log = life.log
        life.connections += (connection,)
        log.committing = False
        log.after_reads = connection.engine in life.read_from
        if log.fetch is None and life.scope is not None:
            log.fetch = fetching.Fetch(life.scope)
        if isinstance(connection, Connection):
            held.hold(connection, log)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    life = life_of(session)
    if transaction.parent is None:
        log, units, scope = life.log, life.units, life.scope
        for connection in life.connections:
            if not connection.closed:  # it is the user's own, and goes on without us
                held.let_go(connection, log)
        life.connections = ()
        life.read_from = ()
        life.settle_rest()
        if life.observers.all:
            life.news.ended(life, session, transaction)
        if log.unknown:
            life.outcome, log.unknown = Outcome.UNKNOWN, False
        outcome = life.transaction_over()
        if units is not None and outcome is not Outcome.OPEN:
            units.ended(None)
        if outcome is Outcome.COMMITTED:  # after others SQLAlchemy, and we, have something to clear away first
            if scope is not None:
                scope.cannot_be_repeated("something was committed")
            life.run_hooks()
    else:
        if life.observers.all:
            life.news.ended(life, session, transaction)
        if transaction.nested and life.units is not None:
            life.units.ended(transaction)


def _before_commit(session: Session) -> None:
    life = life_of(session)
    if life.units is not None:
        life.units.before_commit(session)
    if life.observers.all:
        life.news.before_commit(life, session)


def _after_commit(session: Session) -> None:
    life = life_of(session)
    if life.observers.all:
        life.news.after_commit(life, session)
    if not session.in_nested_transaction():
        life.forget_deleted(session)
        life.log.clear()
        life.outcome = Outcome.COMMITTED
        life.phase = COMMITTED


def _after_rollback(session: Session) -> None:
    life = life_of(session)
    if life.observers.all:
        life.news.rolling_back(life, session)


def _after_soft_rollback(session: Session, previous_transaction: SessionTransaction) -> None:
    life = life_of(session)
    if previous_transaction.nested:
        life.log.back_to(previous_transaction)
        life.hooks.back_to(previous_transaction)
    elif previous_transaction.parent is None:
        life.log.clear()
        life.phase = ROLLED_BACK
        if life.observers.all:
            life.news.rolled_back(life, session)
        life.run_hooks()


def _pending_to_persistent(session: Session, state: InstanceState[Any]) -> None:
    life_of(session).log.inserted(state)


def _persistent_to_deleted(session: Session, state: InstanceState[Any]) -> None:
    life_of(session).log.deleted(state)


def _after_flush(session: Session, flush_context: Any) -> None:
    life_of(session).log.updated(state for state in session._dirty_states if state not in session._deleted)


_SESSION_LISTENERS = (
    _after_transaction_create,
    _after_begin,
    _after_transaction_end,
    _before_commit,
    _after_commit,
    _after_rollback,
    _after_soft_rollback,
    _pending_to_persistent,
    _persistent_to_deleted,
    _after_flush,
)


# -- engines ------------------------------------------------------------------------------------------------------


def _failed(context: ExceptionContext) -> BaseException | None:
    """A connection that broke during its COMMIT: nobody can tell from here whether the changes are saved."""
    refused = _refused(context)
    log = held.log_of(context.connection)
    if log is None:
        return refused
    if context.statement is None and _preparing(context.connection):
        # psycopg takes a PREPARE that failed for done, and can neither roll back nor be reset any more
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
    if log.cut_off:
        log.cut_off, context.is_disconnect = False, True
        return _not_sent(log.title)
    if not log.committing:
        log.broken = log.broken or context.dialect.name == "postgresql"
        return refused
    log.committing = False
    if refused is not None:
        return _not_sent(log.title)
    if context.connection is not None and not context.is_disconnect:
        _leave_refused_transaction(context.connection)
    if not context.is_disconnect or not isinstance(context.original_exception, Exception):
        return None
    log.unknown = True
    return CommitOutcomeUnknown(
        f"the connection of {log.title} broke during COMMIT: saved or not, nobody can tell",
        now=[f"{type(context.original_exception).__name__} from the driver"],
        advice=[
            "look in the database whether the changes are there before doing them again",
            "make the operation repeatable: a key that the client sends, a unique constraint on it",
        ],
        scope=log.title,
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
