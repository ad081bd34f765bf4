"""Telling a database that is away for now from one that says no."""

from __future__ import annotations

from typing import Any

__all__ = ["is_outage"]

#: SQLSTATE classes: connection exception, operator intervention (starting up, shutting down), insufficient resources.
_SQLSTATES = ("08", "57", "53")

#: MySQL and MariaDB: cannot reach, gone away, lost, too many connections, shutting down.
_MYSQL = frozenset({1040, 1053, 1077, 1078, 1079, 2002, 2003, 2005, 2006, 2012, 2013})

#: PostgreSQL's refusals that pass by themselves. libpq gives no SQLSTATE for a connect, only this text.
_PASSING = (
    "starting up",
    "shutting down",
    "not yet accepting connections",
    "not accepting connections",
    "recovery mode",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "terminating connection",
)


def is_outage(dialect: Any, error: BaseException) -> bool:
    """Whether a connect that failed so may succeed later, without anybody changing a setting.

    A wrong password, an unknown database or a missing file is not an outage: the caller is told at once.
    """
    name = getattr(dialect, "name", None)
    if name == "sqlite":
        return False
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return sqlstate.startswith(_SQLSTATES)
    if isinstance(error, OSError):
        return True
    kinds = (getattr(getattr(dialect, "dbapi", None), kind, None) for kind in ("OperationalError", "InterfaceError"))
    if not isinstance(error, tuple(kind for kind in kinds if isinstance(kind, type))):
        return False
    if name == "postgresql":
        text = str(error)
        return "FATAL" not in text or any(phrase in text for phrase in _PASSING)
    if name in ("mysql", "mariadb"):
        return bool(error.args) and error.args[0] in _MYSQL
    return False
