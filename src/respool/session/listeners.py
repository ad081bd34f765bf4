"""SQLAlchemy's events, and what each means to a session: its phase, its changes, its connections."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event, orm
from sqlalchemy.orm import InstanceState, SessionTransaction

from respool.scope.session_phase import COMMITTED, ROLLED_BACK
from respool.session.life import life_of
from respool.session.reads import rows
from respool.session.transaction.connection import hold, let_go, watch
from respool.session.transaction.hooks import NO_HOOKS, Outcome

__all__ = ["sessions"]


def sessions(cls: type[orm.Session]) -> None:
    """Listen to all sessions of a class."""
    for listener in _SESSION_LISTENERS:
        event.listen(cls, listener.__name__.removeprefix("_"), listener, propagate=True, raw=True)


# -- sessions -----------------------------------------------------------------------------------------------------


def _after_transaction_create(session: orm.Session, transaction: SessionTransaction) -> None:
    life = life_of(session)
    if transaction.nested:
        life.log.savepoint(transaction)
        life.hooks.savepoint(transaction)
    elif transaction._parent is None:
        if life.rest is not None:
            life.settle_rest()  # a result may have the only connection
        life.at_work(session)
        if life.observers.all:
            life.news.begin(life)


def _after_begin(session: orm.Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction._parent is None:
        watch(connection.engine)
        life = life_of(session)
        work = life.work
        life.connections += (connection,)
        if not transaction._connections[connection][-1]:  # SQLAlchemy does not close it, either
            life.borrowed |= {connection}
        work.committing = False
        work.after_reads = connection.engine in life.read_from
        if work.fetch is None and life.scope is not None:
            work.fetch = rows.Fetch(life.scope)
        if isinstance(connection, Connection):
            hold(connection, work)
            if life.readers and getattr(life.readers.get(connection.engine), "_reentrant_error", False):
                connection._reentrant_error = True  # who hears of an error hears of none of their own


def _after_transaction_end(session: orm.Session, transaction: SessionTransaction) -> None:
    life = life_of(session)
    if transaction._parent is None:
        work, units, scope = life.work, life.units, life.scope
        for connection in life.connections:
            if work.fetch is not None and connection.dialect.name != "sqlite":
                work.fetch.streams = None  # to close them now would be a word on a connection of somebody else's
            if not connection.closed:  # it is the user's own, and goes on without us
                let_go(connection, work)
        life.connections, life.borrowed = (), frozenset()
        life.read_from = ()
        if life.rest is not None:
            life.settle_rest()
        if life.observers.all:
            life.news.ended(life, session, transaction)
        if work.unknown:
            life.outcome, work.unknown = Outcome.UNKNOWN, False
        outcome = life.transaction_over()
        if units is not None and outcome is not Outcome.OPEN:
            units.ended(None)
        if outcome is Outcome.COMMITTED:  # after others SQLAlchemy, and we, have something to clear away first
            if scope is not None:
                scope.cannot_be_repeated("something was committed")
            if life.hooks is not NO_HOOKS:
                life.run_hooks()
    else:
        if life.observers.all:
            life.news.ended(life, session, transaction)
        if transaction.nested and life.units is not None:
            life.units.ended(transaction)


def _before_commit(session: orm.Session) -> None:
    life = life_of(session)
    if life.units is not None:
        life.units.before_commit(session)
    if life.observers.all:
        life.news.before_commit(life, session)


def _after_commit(session: orm.Session) -> None:
    life = life_of(session)
    if life.observers.all:
        life.news.after_commit(life, session)
    if session._nested_transaction is None:
        life.forget_deleted(session)
        life.work.clear()
        life.outcome = Outcome.COMMITTED
        life.phase = COMMITTED


def _after_rollback(session: orm.Session) -> None:
    life = life_of(session)
    if life.observers.all:
        life.news.rolling_back(life, session)


def _after_soft_rollback(session: orm.Session, previous_transaction: SessionTransaction) -> None:
    life = life_of(session)
    if previous_transaction.nested:
        life.log.back_to(previous_transaction)
        life.hooks.back_to(previous_transaction)
    elif previous_transaction._parent is None:
        life.work.clear()
        life.phase = ROLLED_BACK
        if life.observers.all:
            life.news.rolled_back(life, session)
        life.run_hooks()


def _pending_to_persistent(session: orm.Session, state: InstanceState[Any]) -> None:
    life_of(session).work.log.inserted(state)


def _persistent_to_deleted(session: orm.Session, state: InstanceState[Any]) -> None:
    life_of(session).work.log.deleted(state)


def _after_flush(session: orm.Session, flush_context: Any) -> None:
    if session.identity_map._modified:
        changed = [state for state in session._dirty_states if state not in session._deleted]
        life_of(session).work.log.updated(changed)


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
