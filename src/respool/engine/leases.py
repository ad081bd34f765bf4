"""A connection for the length of one statement: in autocommit, so that there is nothing to begin, to end or to reset.

A connection stays in autocommit when it is given back, since the next one who takes it most likely wants it so; a
checkout that is not a lease brings it back into the state in which SQLAlchemy expects it.  With the drivers whose mode
is a flag of the client that costs nothing, with MySQL's it is one round trip, but only when the mode changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Dialect
from sqlalchemy.pool import Pool, PoolProxiedConnection

if TYPE_CHECKING:
    from respool.engine.checkout import Checkout

__all__ = ["LendingPool", "give_back", "reads_stand_alone", "settle", "take"]

#: Drivers whose mode is an attribute or a method ``autocommit``; with others the isolation level is set.
_FLAGGED = frozenset({"psycopg2", "asyncpg", "pymysql", "mysqldb", "aiomysql", "asyncmy"})
_PSYCOPG = ("psycopg", "psycopg_async")


class LendingPool(Pool):
    """A pool that lends connections for one statement; ours does."""

    def lease(self) -> PoolProxiedConnection:
        """One that is in autocommit."""
        raise NotImplementedError


def reads_stand_alone(dialect: Any, dbapi_connection: Any = None) -> bool:
    """Whether a plain read opens no transaction by itself, whatever the mode: SQLite's driver begins at a write."""
    if dialect.name == "sqlite":
        return getattr(dbapi_connection, "autocommit", True) is not False
    return getattr(dialect, "_on_connect_isolation_level", None) == "AUTOCOMMIT"


def take(pool: Pool, dialect: Dialect) -> PoolProxiedConnection:
    """A connection of any pool, in autocommit.

    Raises:
        PoolTimeout: and whatever else the pool raises at a checkout.
    """
    if isinstance(pool, LendingPool):
        return pool.lease()
    connection = pool.connect()
    if not reads_stand_alone(dialect):
        try:
            _switch(dialect, connection.dbapi_connection, True)
        except BaseException as error:
            connection.invalidate(error)
            raise
    return connection


def give_back(connection: Any, pool: Pool, dialect: Dialect) -> None:
    """Give it back; one of a pool that is not ours is brought back into the mode in which it was taken."""
    if not isinstance(pool, LendingPool) and connection.dbapi_connection is not None:
        try:
            if not reads_stand_alone(dialect):
                _switch(dialect, connection.dbapi_connection, False)
        except BaseException as error:
            connection.invalidate(error)
            raise
    connection.close()


def settle(checkout: Checkout) -> None:
    """Bring a checkout's connection into the mode that the checkout is for; a stale one is replaced meanwhile.

    Raises:
        Exception: the driver's error; the connection has been given back then.
    """
    pool, record = checkout._pool, checkout._connection_record
    if record.respool_autocommit is checkout.alone:
        return
    try:
        _switch(pool._dialect, checkout.dbapi_connection, checkout.alone)
    except Exception as error:
        if checkout.is_fresh or not pool.is_disconnect(error, checkout):
            checkout.invalidate(error)
            raise
        pool.replace(checkout, error)
    except BaseException as error:
        checkout.invalidate(error)
        raise
    else:
        record.respool_autocommit = checkout.alone


def _switch(dialect: Any, dbapi_connection: Any, on: bool) -> None:
    if dialect.driver in _PSYCOPG:
        # what the public setter does, once it has made sure that no transaction is open; with asyncio it would wait
        getattr(dbapi_connection, "driver_connection", dbapi_connection)._autocommit = on
    elif dialect.driver in _FLAGGED:
        flag = dbapi_connection.autocommit
        if callable(flag):
            flag(on)
        else:
            dbapi_connection.autocommit = on
    elif on:
        dialect.set_isolation_level(dbapi_connection, "AUTOCOMMIT")
    else:
        dialect.reset_isolation_level(dbapi_connection)
