"""What a connection came with: looked at once, when it is new, after everybody who listens to connects has had it.

A driver may have been put into autocommit by the URL, a listener may have left a transaction open or set an isolation
level that only the connection knows of.  A lease changes a connection's mode, and brings it back to what is said here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Dialect
from sqlalchemy.pool import Pool

from respool.engine.drivers import driver_of, transaction_note
from respool.engine.listeners import unknown

__all__ = ["Arrival", "arrival_of"]


class Arrival(NamedTuple):
    """The state of a new connection."""

    #: Whether the driver commits by itself after each statement.
    autocommit: bool
    #: psycopg's ``prepare_threshold``: after how many executions it prepares a statement on the server.
    prepare_threshold: int | None
    #: Whether a plain read may be executed on it alone, without a transaction around it.
    lends: bool


#: Of a pool without an engine, or a connection that is not the driver's: nothing is known, and nobody leases.
_NOTHING = Arrival(autocommit=False, prepare_threshold=None, lends=False)


#: What a driver's package is called, where SQLAlchemy calls it otherwise.
_PACKAGES = {
    "psycopg_async": "psycopg",
    "mysqldb": "MySQLdb",
    "mysqlconnector": "mysql",
    "pysqlite": "sqlite3",
    "pysqlcipher": "sqlcipher3",
}


def arrival_of(pool: Pool, dbapi_connection: Any) -> Arrival:
    """Look at a new connection; asks the server only if somebody unknown listens to connects.

    Args:
        pool: that the connection belongs to.
        dbapi_connection: as SQLAlchemy has it.
    """
    dialect: Any = pool._dialect
    if not (isinstance(dialect, Dialect) and _is_drivers(dialect, dbapi_connection)):
        return _NOTHING
    autocommit = _autocommits(dialect, dbapi_connection)
    threshold = getattr(driver_of(dbapi_connection), "prepare_threshold", None)
    return Arrival(autocommit, threshold, _lends(pool, dialect, dbapi_connection, autocommit))


def _is_drivers(dialect: Any, dbapi_connection: Any) -> bool:
    """Not one that an event's listener has opened or wrapped: nobody knows what that can do."""
    package = _PACKAGES.get(dialect.driver, dialect.driver)
    kinds = type(driver_of(dbapi_connection)).__mro__
    return any(kind.__module__.partition(".")[0] == package for kind in kinds)


def _autocommits(dialect: Any, dbapi_connection: Any) -> bool:
    if dialect.name == "sqlite":  # no server, no mode: its driver begins a transaction at a write, or it does not
        return False
    if callable(asks := getattr(dbapi_connection, "get_autocommit", None)):  # MySQL's drivers
        return bool(asks())
    return getattr(dbapi_connection, "autocommit", False) is True


def _lends(pool: Pool, dialect: Any, dbapi_connection: Any, autocommit: bool) -> bool:
    if transaction_note(dbapi_connection):
        return False
    if dialect.name == "sqlite":  # autocommit=False, since Python 3.12: a read, too, is inside of a transaction
        return getattr(driver_of(dbapi_connection), "autocommit", True) is not False
    if autocommit or not _somebody_sets_it_up(pool, dialect):
        return True
    expected = dialect._on_connect_isolation_level or getattr(dialect, "default_isolation_level", None)
    try:
        level = dialect.get_isolation_level(dbapi_connection)
        dialect.do_rollback(dbapi_connection)
    except NotImplementedError:  # the database has none
        return True
    return bool(level == expected)


def _somebody_sets_it_up(pool: Pool, dialect: Any) -> bool:
    dispatch: Any = pool.dispatch
    return unknown(dispatch.connect) or unknown(dispatch.first_connect) or unknown(dialect.dispatch.do_connect)
