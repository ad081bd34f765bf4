"""How a plan is executed: on a connection that is lent for it, or through SQLAlchemy's connection.

The first way is for a read that nobody hears of: the driver's connection, without SQLAlchemy's around it.  Everything else
goes through the connection that the session would have had the statement executed on, a :class:`Reader` or that of its
transaction, so listeners, tracing and the three kinds of lease are as ever.  Only what leads there is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import orm

from respool.engine.listeners import collections_of
from respool.engine.pools import leases
from respool.engine.pools.checkout import Checkout
from respool.engine.pools.leases import Loan
from respool.engine.pools.lending import use_of
from respool.scope.scope import ENDED
from respool.scope.session_phase import WORKING
from respool.session.life import Life
from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.plan import Asked, Plan
from respool.session.operations import require_usable
from respool.session.reader import reader_of
from respool.session.reads.begin import hears_of_reads, is_unheard

__all__ = ["LOADS", "Failure", "is_quiet", "loads_heard", "may_be_lent", "rows_of"]

#: The events of a mapped class by which somebody hears that objects are loaded.
LOADS = ("load", "refresh")
loads_heard = collections_of(LOADS)


def is_quiet(session: orm.Session, plan: Plan) -> bool:
    """Whether nobody hears of what the session loads: who listens is told by SQLAlchemy, with what it has to tell."""
    return not (any(loads_heard(plan.rows.dispatch)) or hears_of_reads(session))


def rows_of(session: Any, life: Life, plans: Plans, plan: Plan, asked: Asked) -> Sequence[Any] | None:
    """The rows of a plan, as the driver gives them.

    Args:
        session: whose read it is, and who is inside of it.
        life: its life.
        plans: those of the engine.
        plan: what is executed.
        asked: with what.

    Returns:
        ``None`` if it has to go SQLAlchemy's way after all: nothing has been done.
    """
    if session._new or session._deleted or session.identity_map._modified:
        session._autoflush()
        if not is_quiet(session, plan):  # what hears of a flush may do anything
            return None
        require_usable(life)
    elif life.asynchronous or life.over or life.scope is None or life.scope.state is ENDED:
        require_usable(life)  # else the guard has asked for that
    if may_be_lent(session, life, plans, plan):
        call = plan.call_with(asked)
        if call is None:
            return None
        rows = _lent(session, life, plans, plan, call, asked)
        if rows is not None:
            return rows
    return _connected(session, plans, plan, asked)


def may_be_lent(session: Any, life: Life, plans: Plans, plan: Plan) -> bool:
    """Whether it may be executed on a connection that is lent for it: nobody hears of that."""
    return (
        plans.direct
        and getattr(plans.engine.pool, "lends_bare", False)
        and (plan.alone or plan.may_stand_alone())
        and session._transaction is None
        and session._trans_context_manager is None
        and not (life.holds or life.reading)
        and life.rest is None
        and life.begin.may_lease
        and session.autobegin
        and (plans.rule.committed or life.begin.at_any_level)
        and is_unheard(session)
        and plans.rule.is_unheard()
        and not plans.engine.logger.isEnabledFor(logging.INFO)
        and not plans.engine.pool.logger.isEnabledFor(logging.DEBUG)
    )


# -- through SQLAlchemy's connection ------------------------------------------------------------------------------------


def _connected(session: Any, plans: Plans, plan: Plan, asked: Asked) -> Sequence[Any] | None:
    engine = plans.engine
    connection = session._connection_for_bind(engine)
    if connection._has_events or engine._has_events:
        dispatch = connection.dispatch
        if dispatch.before_execute or dispatch.after_execute:
            return None
    if connection._execution_options != engine._execution_options:
        return None
    result = plan.execute(connection, asked)
    return list(result.cursor_strategy.fetchall(result, result.cursor))


# -- on a connection that is lent ---------------------------------------------------------------------------------------


def _lent(
    session: Any, life: Life, plans: Plans, plan: Plan, call: tuple[str, Any], asked: Asked
) -> Sequence[Any] | None:
    if life.phase is not WORKING:
        if life.observers.all:
            life.at_work(session)
        else:
            life.phase = WORKING
    loan = Loan(plans.engine.pool)
    if not loan.take(call[0]):
        return None
    if not life.read_from:
        life.read_from = (plans.engine,)
    elif plans.engine not in life.read_from:
        life.has_read(plans.engine)
    cursor, sent = None, False
    try:
        cursor = loan.connection.cursor()
        if plans.driver == "asyncpg":  # what its execution context does before
            cursor._invalidate_schema_cache_asof = plans.dialect._invalidate_schema_cache_asof
        cursor.execute(*call)
        sent = True
        rows: Sequence[Any] = cursor.fetchall()
        cursor.close()
    except BaseException as error:
        failure = Failure(session, life, plans, plan, asked)
        if not failure.replaced(loan, error, sent):
            failure.report(cursor, call, error, sent)
        return None
    loan.give_back()
    return rows


class Failure:
    """A read on a connection that was lent has failed: SQLAlchemy tells of it, as if it had been its own."""

    def __init__(self, session: Any, life: Life, plans: Plans, plan: Plan, asked: Asked) -> None:
        self.engine: Any = plans.engine
        self.plan, self.asked = plan, asked
        readers = life.readers or {}
        self.reader: Any = readers.get(self.engine) or reader_of(self.engine, session)
        self.checkout: Any = None

    def replaced(self, loan: Loan, error: BaseException, sent: bool) -> bool:
        """Whether the connection had died at rest, and is replaced: the read may be done once more."""
        checkout = self.checkout = Checkout.of_loan(loan)
        dialect = self.engine.dialect
        if sent or checkout.is_fresh or not isinstance(error, dialect.loaded_dbapi.Error):
            return False
        if not dialect.is_disconnect(error, checkout, None):
            return False
        if (use := use_of(checkout)) is not None:
            use.undone()
        self.engine.pool.replace(checkout, error)
        leases.give_back(checkout, self.engine.pool, dialect)
        return True

    def report(self, cursor: Any, call: tuple[str, Any], error: BaseException, sent: bool) -> None:
        """Raise what SQLAlchemy raises; the connection is given back, or discarded, as it sees fit."""
        reader, dialect, pool = self.reader, self.engine.dialect, self.engine.pool
        reader._dbapi_connection = self.checkout
        try:
            context = self.plan.context(reader, cursor, self.asked)
            sql, parameters = (None, None) if sent else call
            reader._handle_dbapi_exception(error, sql, parameters, cursor, context)
        except BaseException:
            if reader._dbapi_connection is not None:
                leases.after_failure(reader._dbapi_connection, dialect)
            raise
        finally:
            connection, reader._dbapi_connection = reader._dbapi_connection, None
            if connection is not None:
                leases.give_back(connection, pool, dialect)
