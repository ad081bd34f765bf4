"""What each driver shows of a connection without asking the server: that it is closed, its socket, its transaction.

No driver is imported: a connection is asked for what it has, and one that has nothing shows nothing.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "driver_of",
    "has_heard_the_end",
    "has_something_to_say",
    "is_closed",
    "socket_of",
    "transaction_note",
    "transaction_state",
    "unprepared",
]

#: libpq's states of a connection that are worth a word.
_STATES = {1: "in a query", 2: "idle in transaction", 3: "in a failed transaction"}

#: What ended the connection for MySQL's client library: CR_SERVER_GONE_ERROR, CR_SERVER_LOST, CR_SERVER_LOST_EXTENDED.
_LOST = (2006, 2013, 2055)

#: MySQL's flag of a transaction in what the server said last.
_IN_TRANS = 1


def driver_of(dbapi_connection: Any) -> Any:
    """The driver's own connection, which SQLAlchemy wraps for asyncio."""
    return getattr(dbapi_connection, "driver_connection", dbapi_connection)


def transaction_note(dbapi_connection: Any) -> str | None:
    """``"idle in transaction"`` and the like, when the driver can tell without asking the server."""
    return transaction_state(dbapi_connection)[0]


def transaction_state(dbapi_connection: Any) -> tuple[str | None, bool]:
    """The same, and whether it holds at any time: MySQL's drivers do not read on what the server says after rows."""
    driver = driver_of(dbapi_connection)
    try:
        there = getattr(driver, "in_transaction", None)
    except Exception:  # SQLite's, when it is closed
        return None, True
    if isinstance(there, bool):  # sqlite3, aiosqlite
        return ("in transaction" if there else None), True
    libpq = getattr(driver, "pgconn", None) or getattr(driver, "info", None)
    status = getattr(libpq, "transaction_status", None)
    if isinstance(status, int):  # psycopg, psycopg2
        return _STATES.get(status), True
    if callable(asks := getattr(driver, "is_in_transaction", None)):  # asyncpg
        return ("in transaction" if asks() else None), True
    flags = getattr(driver, "server_status", None)  # pymysql, aiomysql, asyncmy
    is_open = isinstance(flags, int) and flags & _IN_TRANS and not is_closed(driver)
    return ("in transaction" if is_open else None), False


@contextmanager
def unprepared(dbapi_connection: Any) -> Iterator[None]:
    """A block whose statements psycopg does not prepare on the server, however often they are executed."""
    driver = driver_of(dbapi_connection)
    threshold = getattr(driver, "prepare_threshold", None)
    if threshold is None:
        yield
        return
    driver.prepare_threshold = None
    try:
        yield
    finally:
        driver.prepare_threshold = threshold


def has_something_to_say(dbapi_connection: Any) -> bool:
    """Whether the driver knows the connection to be closed, or its socket has something to read; no round trip."""
    driver = driver_of(dbapi_connection)
    try:
        return is_closed(driver) or _heard(driver) or _is_readable(socket_of(driver))
    except Exception:  # no socket, no poll on this system, or nothing that one could look at
        return False


def is_closed(driver: Any) -> bool:
    """Whether the driver knows that the connection has ended."""
    if callable(asks := getattr(driver, "is_closed", None)):  # asyncpg
        return asks() is True
    if getattr(driver, "closed", False) in (True, 1, 2):  # psycopg, psycopg2, aiomysql
        return True
    if getattr(driver, "open", True) in (False, 0):  # pymysql, mysqlclient
        return True
    if callable(ended := getattr(driver, "errno", None)) and ended() in _LOST:  # mysqlclient: how its last command did
        return True
    return getattr(driver, "connected", True) is False or getattr(driver, "_stream_broken", False) is True  # asyncmy


def has_heard_the_end(driver: Any) -> bool:
    """Whether the event loop has read that the server hung up."""
    reader = getattr(driver, "_reader", None)  # aiomysql
    return reader is not None and (reader._eof or reader.exception() is not None)


def _heard(driver: Any) -> bool:
    """Whether the event loop has read something already that nobody asked for: an error, or the end."""
    reader = getattr(driver, "_reader", None)  # aiomysql
    return (reader is not None and bool(reader._buffer)) or has_heard_the_end(driver)


def socket_of(driver: Any) -> Any:
    """A socket or its number; for drivers on asyncio's transports the loop reads it, but may not have come to it yet."""
    if callable(number := getattr(driver, "fileno", None)):  # psycopg, psycopg2, mysqlclient
        return number()
    transport = getattr(driver, "_transport", None)  # asyncpg, asyncmy
    if transport is None and (writer := getattr(driver, "_writer", None)) is not None:  # aiomysql
        transport = writer.transport
    return driver._sock if transport is None else transport.get_extra_info("socket")  # pymysql has a plain one


def _is_readable(socket: Any) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
