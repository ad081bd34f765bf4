"""A connection that died while it rested is found before, or at, the first statement, and replaced unnoticed.

Before: a socket with something to read on a connection that nobody uses is looked at (the server said goodbye).
At the first statement: a plain read is run again on another connection; nothing had been done on this one, and the
transaction that began with it died with it.  A statement after that is never run again, and neither is a write.

What a read is here is told by its first word: whatever the statement was, the server has undone it.  That it needs no
transaction is another question, and proved in ``session/reads/plain.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, event

from respool.engine.dialects import pipelining
from respool.engine.dialects.arrivals import NOTHING
from respool.engine.dialects.signs import has_something_to_say, transaction_note, unprepared
from respool.engine.pools.checkout import Checkout, WatchedCheckout
from respool.engine.pools.lending import LendingPool, Use, noted, use_of
from respool.pool import CloseReason
from respool.pool.core.connector import CheckAborted

__all__ = ["is_dead", "ping", "watch"]

_SELECT = re.compile(r"\s*SELECT\b", re.IGNORECASE)
_LOCKS_OR_WRITES = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+|KEY\s+)?(?:UPDATE|SHARE)\b|\bINTO\b", re.IGNORECASE)
#: Options that were set on the connection itself, and would be missing on another one.
_ON_THE_CONNECTION = ("isolation_level", "postgresql_readonly", "postgresql_deferrable")


def watch(dialect: Any) -> None:
    """Have the first statement of each checkout run again when its connection turns out to be dead."""
    for name, (listener, _) in _EXECUTED.items():
        if not event.contains(dialect, name, listener):
            event.listen(dialect, name, listener)


def _do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    if not noted:  # nobody takes notes of any pool
        return _execute(cursor, statement, parameters, context)
    entry = None if context is None else getattr(context.root_connection._dbapi_connection, "_entry", None)
    if entry is None or (use := entry.use) is None:  # as _use_of(), written out
        return _execute(cursor, statement, parameters, context)
    if use.alone:
        use.begin(statement)
    elif not use.is_executing:
        return _executed(use, cursor, statement, parameters, context)
    return _execute(cursor, statement, parameters, context)


def _executed(use: Use, cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """As :func:`_noted`, written out: this is how nearly all statements come."""
    use.begin(statement)
    try:
        if not _execute(cursor, statement, parameters, context):
            others = _after(context, "do_execute", _do_execute)
            if not (others and any(other(cursor, statement, parameters, context) for other in others)):
                context.dialect.do_execute(cursor, statement, parameters, context)
    finally:
        use.end()
    return True


def _do_execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
    if (use := _use_of(context, statement)) is not None:
        return _noted(use, "do_execute_no_params", context, cursor, statement, context)
    return _execute_no_params(cursor, statement, context)


def _do_executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    if (use := _use_of(context, statement)) is not None:
        return _noted(use, "do_executemany", context, cursor, statement, parameters, context)
    return _executemany(cursor, statement, parameters, context)


def _use_of(context: Any, statement: str) -> Use | None:
    """Who is to be told when the statement begins and ends; one within another is a part of it, one alone has no end."""
    use = None if context is None else use_of(context.root_connection._dbapi_connection)
    if use is not None and use.alone:
        use.begin(statement)
        return None
    return None if use is None or use.is_executing else use


def _noted(use: Use, name: str, context: Any, *what: Any) -> bool:
    """Execute a statement with the clock around it: here, and so by nobody after us."""
    ours, run = _EXECUTED[name]
    use.begin(what[1])
    try:
        if not (run(*what) or any(other(*what) for other in _after(context, name, ours))):
            getattr(context.dialect, name)(*what)
    finally:
        use.end()
    return True


def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    checkout = _unused(context, statement)
    if checkout is None or (context.is_crud and not checkout._connection_record.respool_far):
        return None  # most writes: never run again, and no BEGIN that should go along
    others = _after(context, "do_execute", _do_execute)
    if checkout.alone and not others:
        return _read(checkout, context, statement, parameters, cursor)

    def run(cursor: Any) -> None:
        if not others or not any(other(cursor, statement, parameters, context) for other in others):
            context.dialect.do_execute(cursor, statement, parameters, context)

    along = not others and pipelining.goes_along(context, checkout, statement, parameters)
    return _first(checkout, context, statement, cursor, run, along=along)


def _read(checkout: Checkout, context: Any, statement: str, parameters: Any, cursor: Any) -> bool:
    """Execute a leased connection's one plain read: what the general case comes to, at once."""
    try:
        context.dialect.do_execute(cursor, statement, parameters, context)
    except context.dialect.loaded_dbapi.Error as error:
        if not _replaced(checkout, context, cursor, error):
            raise
        checkout.used = False
        _execute(context.cursor, statement, parameters, context)
    return True


def _execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
    checkout = _unused(context, statement)
    if checkout is None:
        return None
    others = _after(context, "do_execute_no_params", _do_execute_no_params)

    def run(cursor: Any) -> None:
        if not any(other(cursor, statement, context) for other in others):
            context.dialect.do_execute_no_params(cursor, statement, context)

    along = not others and pipelining.goes_along(context, checkout, statement)
    return _first(checkout, context, statement, cursor, run, along=along)


def _executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    _unused(context, statement)
    return False  # never run again


#: By event: who listens, and what that comes to.
_EXECUTED: dict[str, tuple[Callable[..., bool | None], Callable[..., bool | None]]] = {
    "do_execute": (_do_execute, _execute),
    "do_execute_no_params": (_do_execute_no_params, _execute_no_params),
    "do_executemany": (_do_executemany, _executemany),
}


def _unused(context: Any, statement: str) -> Checkout | None:
    """The checkout whose first statement this is, of all that anybody sends; it is used from now on."""
    checkout = context.root_connection._dbapi_connection if context is not None else None
    if type(checkout) is WatchedCheckout:
        checkout.look(context, statement)
    elif type(checkout) is not Checkout:
        return None
    if checkout.used:
        return None
    checkout.used = True
    if not checkout.alone and (checkout.touched or checkout.cursors > 1 or transaction_note(checkout.dbapi_connection)):
        return None  # by the driver's own means somebody has done what another connection would know nothing of
    return checkout


def _after(context: Any, event_name: str, ours: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Who listens after us: users hear of what is executed, and may execute it in their own way, as ever."""
    listeners = getattr(context.dialect.dispatch, event_name)
    if len(listeners) == 1:
        return []
    listeners = list(listeners)
    return listeners[listeners.index(ours) + 1 :]


def _first(
    checkout: Checkout,
    context: Any,
    statement: str,
    cursor: Any,
    run: Callable[[Any], object],
    *,
    along: bool,
) -> bool | None:
    """Run a checkout's first statement; ``None`` leaves it to SQLAlchemy."""
    # what SQLAlchemy runs on the way to a statement, a default or a sequence, comes with the context of that one
    again = getattr(context, "statement", None) == statement and _may_run_again(context, checkout)
    if not (along or again):
        return None
    while True:
        try:
            if along:
                pipelining.execute(checkout.dbapi_connection, cursor, run)
            else:
                run(cursor)
        except context.dialect.loaded_dbapi.Error as error:
            if not again or not _replaced(checkout, context, cursor, error):
                raise
            cursor = context.cursor
        else:
            return True


def _replaced(checkout: Checkout, context: Any, cursor: Any, error: Exception) -> bool:
    """Put another connection, and a cursor of it, in place of one that died at rest; ``False`` if it did not."""
    if checkout.is_fresh or not context.dialect.is_disconnect(error, checkout, cursor):
        return False
    try:
        checkout._pool.replace(checkout, error)
    except BaseException:
        context.root_connection.invalidate(error)
        raise
    context.cursor = context.create_cursor()
    return True


def _saves_at_once(dialect: Any, dbapi_connection: Any) -> bool:
    """Whether there is no transaction that would have died with the connection: a function may have done its work."""
    always = getattr(dialect, "_on_connect_isolation_level", None)
    return always == "AUTOCOMMIT" or getattr(dbapi_connection, "autocommit", False) is True


def _may_run_again(context: Any, checkout: Checkout) -> bool:
    """Whether this is a plain read, in a transaction, with nothing set on the connection beforehand."""
    if checkout._pool.as_queue_pool or context.is_crud or context.isddl or context.executemany:
        return False
    if checkout.alone:  # taken for a read that is proved plain
        return True
    if _saves_at_once(context.dialect, checkout.dbapi_connection):
        return False
    if context._is_server_side or any(name in context.execution_options for name in _ON_THE_CONNECTION):
        return False
    sql = context.statement
    return _SELECT.match(sql) is not None and _LOCKS_OR_WRITES.search(sql) is None


# -- before it is handed out ------------------------------------------------------------------------------------------


def is_dead(pool: LendingPool, record: Any) -> bool:
    """Whether the server closed a connection while it rested. One round trip, and only if there is a sign."""
    if not has_something_to_say(record.dbapi_connection):
        return False
    try:
        ping(pool, record)
    except Exception:
        return True
    except BaseException:
        record.respool_monitor.give(record.respool_entry, CloseReason.BROKEN)
        raise
    return False


def ping(pool: LendingPool, record: Any) -> None:
    """Ask the database whether it is there.

    Raises:
        ConnectionError: the record's connection is dead.
        CheckAborted: the ping failed in another way; its cause is what the caller should see.
    """
    dialect = pool._dialect
    if not isinstance(dialect, Dialect):
        return  # a pool without an engine: nobody knows how to ask
    pool.logger.debug("Pool pre-ping on connection %s", record.dbapi_connection)
    try:
        connection = record.dbapi_connection
        plain = pool.as_queue_pool or record.respool_arrival is NOTHING
        alive = dialect._do_ping_w_event(connection) if plain else _ping(dialect, connection)
    except Exception as error:
        raise CheckAborted from error
    if not alive:
        raise ConnectionError("the connection does not answer")


def _ping(dialect: Dialect, dbapi_connection: Any) -> bool:
    if not transaction_note(dbapi_connection):
        with unprepared(dbapi_connection):
            return dialect._do_ping_w_event(dbapi_connection)
    # a listener has left a transaction open, in which the mode cannot be changed that SQLAlchemy pings in
    try:
        cursor = dbapi_connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
    except dialect.loaded_dbapi.Error as error:
        if dialect.is_disconnect(error, dbapi_connection, None):
            return False
        raise
    return True
