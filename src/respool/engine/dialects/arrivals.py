"""What a connection came with: looked at once, when it is new, after everybody who listens to connects has had it.

A driver may have been put into autocommit by the URL, a listener may have left a transaction open or set an isolation
level, and the server may have another one by now than when the engine was made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Dialect
from sqlalchemy.pool import Pool

from respool.engine.dialects.signs import driver_of, transaction_note, transaction_state
from respool.engine.listeners import unknown

__all__ = ["NOTHING", "Arrival", "after_reset", "arrival_of", "autocommits"]


class Arrival(NamedTuple):
    """The state of a new connection."""

    #: Whether a plain read may be executed on it alone, without a transaction around it.
    lends: bool
    #: Whether it is executed alone as the connection came.
    alone: bool


#: Of a pool without an engine, or a connection that is not the driver's: nothing is known, and nobody leases.
NOTHING = Arrival(lends=False, alone=False)


#: What a driver's package is called, where SQLAlchemy calls it otherwise.
_PACKAGES = {
    "psycopg_async": "psycopg",
    "mysqldb": "MySQLdb",
    "mysqlconnector": "mysql",
    "pysqlite": "sqlite3",
    "pysqlcipher": "sqlcipher3",
}


def arrival_of(pool: Pool, dbapi_connection: Any) -> Arrival:
    """Look at a new connection; asks the server for its isolation level.

    Args:
        pool: that the connection belongs to.
        dbapi_connection: as SQLAlchemy has it.
    """
    dialect: Any = pool._dialect
    if not (isinstance(dialect, Dialect) and _is_drivers(dialect, dbapi_connection)):
        return NOTHING
    alone = _is_alone(dialect, dbapi_connection)
    return Arrival(_lends(pool, dialect, dbapi_connection, alone), alone)


def after_reset(arrival: Arrival, pool: Pool, dbapi_connection: Any) -> Arrival:
    """What SQLAlchemy has made of it when it has set the isolation level back: the default, and no autocommit.

    Args:
        arrival: what the connection came with.
        pool, dbapi_connection: as for :func:`arrival_of`.
    """
    return arrival._replace(alone=_is_alone(pool._dialect, dbapi_connection)) if arrival.lends else arrival


def _is_alone(dialect: Any, dbapi_connection: Any) -> bool:
    # SQLite has no mode: its driver begins a transaction at a write, or it does not
    return bool(dialect.name == "sqlite" or autocommits(dialect, dbapi_connection))


def _is_drivers(dialect: Any, dbapi_connection: Any) -> bool:
    """Not one that an event's listener has opened or wrapped: nobody knows what that can do."""
    name: Any = getattr(dialect, "driver", None)  # a dialect of somebody's test may have none
    package = _PACKAGES.get(name, name)
    kinds = type(driver_of(dbapi_connection)).__mro__
    return any(kind.__module__.partition(".")[0] == package for kind in kinds)


def autocommits(dialect: Any, dbapi_connection: Any) -> bool:
    """Whether the driver commits by itself after each statement."""
    if getattr(dialect, "_on_connect_isolation_level", None) == "AUTOCOMMIT":
        return True
    if callable(asks := getattr(dbapi_connection, "get_autocommit", None)):  # MySQL's drivers
        return bool(asks())
    return getattr(dbapi_connection, "autocommit", False) is True


def _lends(pool: Pool, dialect: Any, dbapi_connection: Any, alone: bool) -> bool:
    if _is_in_transaction(pool, dialect, dbapi_connection):
        return False
    if dialect.name == "sqlite":  # autocommit=False, since Python 3.12: a read, too, is inside of a transaction
        return getattr(driver_of(dbapi_connection), "autocommit", True) is not False
    if alone:
        return True
    expected = dialect._on_connect_isolation_level
    if expected is not None and not _somebody_sets_it_up(pool, dialect):
        return True  # it is set for each transaction, whatever the server has
    try:
        level = dialect.get_isolation_level(dbapi_connection)
        dialect.do_rollback(dbapi_connection)
    except NotImplementedError:  # the database has none
        return True
    return bool(level == (expected or getattr(dialect, "default_isolation_level", None)))


def _is_in_transaction(pool: Pool, dialect: Any, dbapi_connection: Any) -> bool:
    """Whether somebody has left one open; where nobody can tell, it may be so."""
    note, certain = transaction_state(dbapi_connection)
    if certain or not _somebody_sets_it_up(pool, dialect):
        return note is not None
    dialect.do_ping(dbapi_connection)  # to which MySQL's server answers with its state, where the driver reads it
    return not hasattr(driver_of(dbapi_connection), "server_status") or transaction_note(dbapi_connection) is not None


def _somebody_sets_it_up(pool: Pool, dialect: Any) -> bool:
    dispatch: Any = pool.dispatch
    return unknown(dispatch.connect) or unknown(dispatch.first_connect) or unknown(dialect.dispatch.do_connect)
