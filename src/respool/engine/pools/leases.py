"""A connection for the length of one statement: when that is possible, and how it is done.

In autocommit there is nothing to begin, to end or to reset.  A connection stays in autocommit when it is given back,
since the next one who takes it most likely wants it so; a checkout that is not a lease brings it back to what it came
with.  With the drivers whose mode is a flag of the client that costs nothing, with MySQL's it is one round trip, but only
when the mode changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Dialect, Engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool, PoolProxiedConnection, QueuePool
from sqlalchemy.pool.base import ResetStyle

from respool.engine.dialects.arrivals import Arrival, after_reset, arrival_of, autocommits
from respool.engine.dialects.signs import driver_of
from respool.engine.listeners import collections_of, innermost, of_users, unknown
from respool.engine.pools.lending import LendingPool
from respool.pool import CloseReason
from respool.pool.core.entries import Claim

__all__ = [
    "ALONE", "AUTOCOMMIT", "EITHER", "FIT", "NEVER_ALONE", "NONE", "TOGETHER", "TRANSACTION", "Kind", "LeaseRule", "Loan", "Mode",
    "after_failure", "as_it_is", "come_back", "give_back", "leave", "mode_of", "take",
]  # fmt: skip

#: What a plain read that finds no transaction is executed on.
Kind = Literal["autocommit", "transaction", "none"]

#: A connection for this one statement, in autocommit: all is known to be in order.
AUTOCOMMIT: Kind = "autocommit"
#: A transaction, as SQLAlchemy's, that ends with the statement: somebody unknown may depend on there being one.
TRANSACTION: Kind = "transaction"
#: The session's transaction, which begins here and is held, as SQLAlchemy's.
NONE: Kind = "none"

#: What a connection is set to.
Mode = Literal["alone", "together", "either", "never alone"]

#: For one read in autocommit.
ALONE: Mode = "alone"
#: For statements in a transaction.
TOGETHER: Mode = "together"
#: For both: as it came, a read opens no transaction.
EITHER: Mode = "either"
#: For statements in a transaction; it did not come in a state in which a read could be executed alone.
NEVER_ALONE: Mode = "never alone"

#: In which a read alone opens no transaction.
FIT = (ALONE, EITHER)

#: Drivers whose mode is an attribute or a method ``autocommit``; with others the isolation level is set.
_FLAGGED = frozenset({"psycopg2", "asyncpg", "pymysql", "mysqldb", "aiomysql", "asyncmy"})
_PSYCOPG = ("psycopg", "psycopg_async")

#: Somebody unknown who hears of these gets the connection in the middle of a statement.
_AROUND_STATEMENTS = ("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute")
#: ... and of these, where a transaction begins or ends.
_AROUND_TRANSACTIONS = ("begin", "rollback", "commit", "begin_twophase", "prepare_twophase", "rollback_twophase",
                        "commit_twophase")  # fmt: skip
_CONNECTED = "engine_connect"
_AROUND_CHECKOUTS = ("checkout", "checkin", "reset")
_IN_PLACE_OF_THE_DRIVER = ("do_execute", "do_execute_no_params")
_checkouts_heard = collections_of(_AROUND_CHECKOUTS)
_statements_heard = collections_of(_IN_PLACE_OF_THE_DRIVER)

#: Pools that are known to do no more than SQLAlchemy's do.
_KNOWN = (QueuePool, AsyncAdaptedQueuePool)


class LeaseRule:
    """What the plain reads of an engine may run on, as far as that depends on the engine, its dialect and its pool.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect: Any = engine.dialect
        nobody: Any = Connection.__new__(Connection)
        self._dispatch = nobody.dispatch._join(engine.dispatch)  #: as its connections have it
        self._pool: Pool | None = None  #: for which the rest is known
        self._ours = False  #: whether that is one of ours
        self._heard_by_us: list[
            int
        ] = []  #: how many listeners of the dialect's are of our pool: by class, and by itself
        self._at_best: Kind = NONE
        self._heard: tuple[Any, ...] = ()
        self._kind: Kind = NONE  #: while those are who listens
        self.committed = False  #: whether each statement sees what is committed at that moment, whatever is around it

    def kind(self) -> Kind:
        """What a plain read of this moment may run on. The first call may open a connection."""
        return self._at_best if self._unheard() else self._with_listeners(self._engine.pool)

    def is_unheard(self) -> bool:
        """Whether it is a lease in autocommit, on our pool, that nobody hears of: neither statement nor checkout."""
        engine = self._engine
        pool = engine.pool
        return (  # as _unheard(), written out: every planned read asks
            self._at_best is AUTOCOMMIT
            and self._ours
            and pool is self._pool
            and not (engine._has_events or getattr(Connection, "_has_events", False))
            and not any(_checkouts_heard(pool.dispatch))
            and [*map(len, _statements_heard(self._dialect.dispatch))] == self._heard_by_us
        )

    def _unheard(self) -> bool:
        engine = self._engine
        pool = engine.pool
        return (
            pool is self._pool
            and not (engine._has_events or getattr(Connection, "_has_events", False))  # SQLAlchemy 2.0.41 sets it later
            and not any(_checkouts_heard(pool.dispatch))
            and [*map(len, _statements_heard(self._dialect.dispatch))] == self._heard_by_us
        )

    def unfit(self) -> None:
        """A connection of the pool did not come as a lease needs it: the others most likely do not, either."""
        self._at_best = self._kind = NONE

    def strangers(self) -> list[tuple[Any, str]]:
        """The listeners for whose sake reads have to have transactions, as far as it is known; each with its event."""
        return [(innermost(each), name) for each, name in self._everybody() if unknown([each]) and name != _CONNECTED]

    def listeners(self) -> list[tuple[Any, str]]:
        """All listeners of other people's, those too that only look; each with its event."""
        return [(innermost(each), name) for each, name in self._everybody() if of_users([each])]

    def best(self) -> Kind | None:
        """What a plain read runs on that nobody hears of; ``None`` as long as no connection has been looked at."""
        return self._at_best if self._engine.pool is self._pool else None

    def _everybody(self) -> Iterator[tuple[Any, str]]:
        for names, dispatch in (
            ((*_AROUND_STATEMENTS, *_AROUND_TRANSACTIONS, _CONNECTED), self._dispatch),
            (_AROUND_CHECKOUTS, self._engine.pool.dispatch),
            (_IN_PLACE_OF_THE_DRIVER, self._dialect.dispatch),
        ):
            for name in names:
                yield from ((each, name) for each in list(getattr(dispatch, name)))

    def _with_listeners(self, pool: Any) -> Kind:
        heard = (pool, *map(tuple, self._listeners(pool)))
        if heard != self._heard:
            self._kind = self._judge(pool)
            self._heard = heard
        return self._kind

    def _listeners(self, pool: Any) -> list[Any]:
        connection = [*_AROUND_STATEMENTS, *_AROUND_TRANSACTIONS, _CONNECTED]
        return [
            *(getattr(self._dispatch, name) for name in connection),
            *(getattr(pool.dispatch, name) for name in _AROUND_CHECKOUTS),
            *(getattr(self._dialect.dispatch, name) for name in _IN_PLACE_OF_THE_DRIVER),
        ]

    def _judge(self, pool: Any) -> Kind:
        if not _is_known(pool) or getattr(self._dialect, "server_side_cursors", False):
            return NONE
        if self._dispatch.engine_connect:  # SQLAlchemy's own, too: it sets isolation levels
            return NONE
        if any(unknown(getattr(self._dispatch, name)) for name in _AROUND_TRANSACTIONS):
            return NONE
        if any(unknown(getattr(pool.dispatch, name)) for name in _AROUND_CHECKOUTS):
            return NONE
        if any(unknown(getattr(self._dialect.dispatch, name)) for name in _IN_PLACE_OF_THE_DRIVER):
            return NONE
        if pool is not self._pool:
            self._look_at_one(pool)
        if self._at_best is not NONE and any(unknown(getattr(self._dispatch, name)) for name in _AROUND_STATEMENTS):
            return TRANSACTION if isinstance(pool, LendingPool) else NONE
        return self._at_best

    def _look_at_one(self, pool: Any) -> None:
        """Look at a connection; if it is the first, the dialect is initialized by that."""
        try:
            connection: Any = self._engine.raw_connection()
        except self._dialect.loaded_dbapi.Error as error:
            Connection._handle_dbapi_exception_noconnection(error, self._dialect, self._engine)
        try:
            lends = _arrival(pool, connection).lends
            named = _names_its_statements(connection.dbapi_connection)
        finally:
            connection._checkin(transaction_was_reset=True)  # as it was taken: what is open is for who takes it to work
        self._pool, self._ours = pool, isinstance(pool, LendingPool)
        self._heard_by_us = [0, int(self._ours)] * len(_IN_PLACE_OF_THE_DRIVER)
        self.committed = _reads_committed(self._engine)
        # a proxy that gives the server to somebody else between two statements: within a transaction it does not
        self._at_best = NONE if not lends else TRANSACTION if named else AUTOCOMMIT
        if self._at_best is TRANSACTION and not isinstance(pool, LendingPool):
            self._at_best = NONE


def _is_known(pool: Pool) -> bool:
    known = isinstance(pool, LendingPool) or type(pool) in _KNOWN
    return known and pool._reset_on_return is ResetStyle.reset_rollback


def _names_its_statements(dbapi_connection: Any) -> bool:
    """SQLAlchemy's recipe for asyncpg behind PgBouncer: names that are made anew for each prepared statement."""
    names = getattr(dbapi_connection, "_prepared_statement_name_func", None)
    return names is not None and names is not getattr(dbapi_connection, "_default_name_func", None)


def _reads_committed(engine: Engine) -> bool:
    dialect: Any = engine.dialect
    if dialect.name == "sqlite":
        return True
    level = engine.get_execution_options().get("isolation_level") or dialect._on_connect_isolation_level
    level = level or dialect.default_isolation_level
    return dialect.name in ("postgresql", "mysql", "mariadb") and level in ("READ COMMITTED", "AUTOCOMMIT")


def _arrival(pool: Pool, connection: Any) -> Arrival:
    """What the connection of a checkout came with; of a pool that is not ours, as it was when it was first seen."""
    record = connection._connection_record
    seen: Any = getattr(record, "respool_seen", None)
    if isinstance(pool, LendingPool):
        arrival: Arrival = record.respool_arrival
        return arrival
    if seen is None or seen[0] is not connection.dbapi_connection:
        seen = record.respool_seen = (connection.dbapi_connection, arrival_of(pool, connection.dbapi_connection))
    return after_reset(seen[1], pool, connection.dbapi_connection)


# -- one lease --------------------------------------------------------------------------------------------------------


def mode_of(arrival: Arrival) -> Mode:
    """The mode that a new connection is in."""
    if not arrival.lends:
        return NEVER_ALONE
    return EITHER if arrival.alone else TOGETHER


def take(pool: Pool, dialect: Dialect) -> PoolProxiedConnection | None:
    """A connection of any pool, in autocommit; ``None`` if connections do not come as they would have to.

    Raises:
        PoolTimeout: and whatever else the pool raises at a checkout.
    """
    if isinstance(pool, LendingPool):
        return pool.lease()
    connection = pool.connect()
    record: Any = connection._connection_record
    record.respool_before = None
    try:
        mode = mode_of(_arrival(pool, connection))
        if mode is TOGETHER:
            record.finalize_callback.append(partial(_come_back_by_itself, record, dialect))
            record.respool_before = before = as_it_is(dialect, connection.dbapi_connection)
            leave(dialect, connection.dbapi_connection, before)
    except BaseException as error:
        connection.invalidate(error)
        raise
    if mode is not NEVER_ALONE:
        return connection
    connection.close()
    return None


def give_back(connection: Any, pool: Pool, dialect: Dialect) -> None:
    """Give it back; one of a pool that is not ours is brought back into the mode in which it came."""
    if not isinstance(pool, LendingPool) and connection.dbapi_connection is not None:
        record = connection._connection_record
        try:
            if record.respool_before is not None:
                come_back(dialect, connection.dbapi_connection, record.respool_before)
                record.respool_before = None
        except BaseException as error:
            connection.invalidate(error)
            raise
    connection.close()


def _come_back_by_itself(record: Any, dialect: Dialect, dbapi_connection: Any) -> None:
    """Nobody has given it back: a result that is not read to its end is dropped, an exception came out of nowhere."""
    before, record.respool_before = record.respool_before, None
    if before is not None:
        try:
            come_back(dialect, dbapi_connection, before)
        except Exception as error:
            record.invalidate(error)


def after_failure(connection: Any, dialect: Dialect) -> None:
    """Bring a lease's connection to rest after its read has failed. Where that fails too it is discarded.

    asyncpg checks arguments after it has had the statement parsed, and refuses them without another word to the server,
    which then waits for the rest with the statement's locks held.
    """
    if dialect.driver == "asyncpg" and connection.dbapi_connection is not None:
        try:
            dialect.do_ping(connection.dbapi_connection)
        except Exception as error:
            connection.invalidate(error)


class Loan(Claim):
    """A connection for one read, in autocommit, without SQLAlchemy's proxy: of our pool, where nobody hears of checkouts.

    It gives back by itself what nobody has given back, since an exception may come out of nowhere.

    Args:
        pool: whose.
    """

    __slots__ = ("connection", "pool", "record")

    def __init__(self, pool: Any) -> None:  # all that a claim has, written out: it is made for every read
        self.pool = pool
        self.record: Any = None
        self.connection: Any = None  #: the driver's, as SQLAlchemy has it
        self._monitor = self._entry = self._who = self._waiter = None

    def take(self, statement: str) -> bool:
        """Take one; ``False`` if it does not come as a read alone needs it.

        Args:
            statement: which read; for who takes notes.

        Raises:
            PoolTimeout: and whatever else the pool raises at a checkout.
        """
        meter = self.pool.meter
        asked = None if meter is None else meter.asked()
        try:
            record = self.record = self.pool._do_get(self)
        except BaseException:
            if self._monitor is not None:
                self._monitor.abandon(self)
            if meter is not None:
                meter.gave_up(asked)
            raise
        self.connection = record.dbapi_connection
        use = None if meter is None else meter.took(asked, self._entry, alone=True)
        if not (record.respool_mode in FIT or self.settle()):
            return False
        if use is not None:
            use.begin(statement)
        return True

    def settle(self) -> bool:
        """Bring it into autocommit; ``False`` if that cannot be: it has been given back, or is discarded."""
        record = self.record
        if record.respool_mode is TOGETHER:
            try:
                dialect = self.pool._dialect
                before = record.respool_before = as_it_is(dialect, record.dbapi_connection)
                leave(dialect, record.dbapi_connection, before)
            except BaseException as error:
                record.invalidate(error)
                self.give_back()
                if not isinstance(error, Exception):
                    raise
                return False
            record.respool_mode = ALONE
            return True
        self.give_back()
        return False

    def give_back(self) -> None:
        """Give it back, as it is."""
        self.pool._do_return_conn(self.record)
        self._entry = None

    def let_go(self) -> None:
        """Somebody else gives it back."""
        self._entry = self.record = self.connection = None

    def __del__(self) -> None:
        try:
            if self._entry is not None or self._waiter is not None:
                self._monitor.abandon(self, CloseReason.BROKEN)
        except BaseException:  # it was cut off: Python tries only once
            if self._entry is not None or self._waiter is not None:
                self._monitor.abandon(self, CloseReason.BROKEN)
            raise


class Before(NamedTuple):
    """What a connection goes back to after a lease: what it was set to, by whomever."""

    autocommit: bool
    prepare_threshold: int | None  #: psycopg's: after how many executions it prepares a statement on the server


def as_it_is(dialect: Any, dbapi_connection: Any) -> Before:
    """What a connection is to go back to."""
    threshold = getattr(driver_of(dbapi_connection), "prepare_threshold", None)
    return Before(autocommits(dialect, dbapi_connection), threshold)


def leave(dialect: Any, dbapi_connection: Any, before: Before) -> None:
    """Put a connection into autocommit, for a read alone."""
    if dialect.driver in _PSYCOPG:
        # no ROLLBACK follows, which is what makes the driver forget the statements that it has prepared: a migration
        # would break them, and behind a proxy the server that has them is another one next time
        driver_of(dbapi_connection).prepare_threshold = None
    if not before.autocommit:
        _switch(dialect, dbapi_connection, True)


def come_back(dialect: Any, dbapi_connection: Any, before: Before) -> None:
    """Bring it back."""
    if dialect.driver in _PSYCOPG:
        driver_of(dbapi_connection).prepare_threshold = before.prepare_threshold
    if not before.autocommit:
        _switch(dialect, dbapi_connection, False)


def _switch(dialect: Any, dbapi_connection: Any, on: bool) -> None:
    if dialect.driver in _PSYCOPG:
        # what the public setter does, once it has made sure that no transaction is open; with asyncio it would wait
        driver_of(dbapi_connection)._autocommit = on
    elif dialect.driver in _FLAGGED:
        method = getattr(type(dbapi_connection), "autocommit", None)  # somebody may have hidden it by a value
        if callable(method):
            method(dbapi_connection, on)
        else:
            dbapi_connection.autocommit = on
    elif on:
        dialect.set_isolation_level(dbapi_connection, "AUTOCOMMIT")
    else:
        dialect.reset_isolation_level(dbapi_connection)
