"""A server that only reads where a primary is expected: its connections are replaced, though they answer every check.

It was the primary when they were opened, or an address led to it for a moment.  Whoever asks for a transaction that only
reads gets the same error, and keeps the connection.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from respool.engine.dialects.signs import driver_of

__all__ = ["watch"]

#: What PostgreSQL reports of a connection without being asked, since version 14.
_STANDBY, _BY_DEFAULT = "in_hot_standby", "default_transaction_read_only"

#: MySQL and MariaDB: an option of the server forbids it; it is in read-only mode.
_MYSQL = frozenset({1290, 1836})


def watch(dialect: Any) -> None:
    """Have the connections replaced on which a write finds out that the server only reads."""
    if dialect.name in ("postgresql", "mysql", "mariadb") and not event.contains(dialect, "handle_error", _look):
        event.listen(dialect, "handle_error", _look)


def _look(context: Any) -> None:
    connection, error = context.connection, context.original_exception
    if connection is None or connection.invalidated or context.is_disconnect:
        return
    if getattr(error, "sqlstate", None) == "25006" or getattr(error, "pgcode", None) == "25006":
        if connection.get_execution_options().get("postgresql_readonly"):
            return
        driver = driver_of(connection.connection.dbapi_connection)
        standby = _reported(driver, _STANDBY)
        if standby == "on" or _reported(driver, _BY_DEFAULT) == "on":
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = standby == "on"  # a default may be the role's own
    elif error.args and error.args[0] in _MYSQL and "read" in str(error):
        context.is_disconnect = True


def _reported(driver: Any, name: str) -> str | None:
    """What the server has reported of a setting; ``None`` if it has not."""
    if callable(asks := getattr(driver, "get_parameter_status", None)):  # psycopg2
        value: Any = asks(name)
    elif (libpq := getattr(driver, "pgconn", None)) is not None:  # psycopg
        value = libpq.parameter_status(name.encode())
    else:  # asyncpg
        value = getattr(driver.get_settings(), name, None)
    return value.decode() if isinstance(value, bytes) else value
