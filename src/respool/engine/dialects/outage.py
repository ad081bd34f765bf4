"""Telling a database that is away for now from one that says no."""

from __future__ import annotations

import re
from typing import Any

from respool.pool.core import connector

__all__ = ["is_outage"]

#: SQLSTATE classes: connection exception, operator intervention (starting up, shutting down), insufficient resources.
_SQLSTATES = ("08", "57", "53")

#: MySQL and MariaDB: cannot reach, gone away, lost, too many connections (of the server, of a user), shutting down.
_MYSQL = frozenset({1040, 1053, 1077, 1078, 1079, 1203, 1226, 2002, 2003, 2005, 2006, 2012, 2013})

#: Refusals that pass by themselves, of PostgreSQL and what stands before it. libpq gives no SQLSTATE for a connect.
_PASSING = re.compile(
    "starting up|shutting down|shut down|not yet accepting connections|not accepting connections|recovery mode"
    "|too many clients|too many connections|remaining connection slots|terminating connection"
    "|no more connections allowed|query_wait_timeout|server_login_retry|login has been failing|max clients reached"
    "|cannot connect to server|server closed the connection|closed unexpectedly|EOF detected"
    "|match the target attribute requirement|timeout expired"
)

#: What stays as it is until somebody changes a setting: the server's word, and what a driver says about its arguments.
_FINAL = re.compile(
    "FATAL|certificate|private key|no password|password (authentication|required)|requires? (a |SSL|TLS)"
    "|does not support (SSL|TLS|GSS)|(SSL|TLS|GSSAPI?) (was|is) required|rejected SSL upgrade|SSL error|sslmode"
    "|channel binding|authentication method|no pg_hba.conf entry|invalid|unrecognized|unsupported|definition of service"
    "|No such file|Permission denied|could not (open|read|load)",
    re.IGNORECASE,
)


def is_outage(dialect: Any, error: BaseException) -> bool:
    """Whether a connect that failed so may succeed later, without anybody changing a setting.

    A wrong password, a certificate that is not accepted, an unknown database or option or a missing file is no outage:
    the caller is told at once.
    """
    name = getattr(dialect, "name", None)
    text = str(error)
    if type(error).__name__ == "TargetServerAttributeNotMatched":  # asyncpg's, in the midst of a switchover
        return True
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return sqlstate.startswith(_SQLSTATES)
    if isinstance(error, OSError):
        return connector.is_outage(error) and "rejected SSL upgrade" not in text
    kinds = (getattr(getattr(dialect, "dbapi", None), kind, None) for kind in ("OperationalError", "InterfaceError"))
    if not isinstance(error, tuple(kind for kind in kinds if isinstance(kind, type))):
        return False
    if name == "postgresql":
        return _PASSING.search(text) is not None or _FINAL.search(_without_sockets(text)) is None
    if name in ("mysql", "mariadb"):
        first = getattr(error, "original_exception", None)  # pymysql's: what it calls "can't connect"
        if isinstance(first, OSError) and not connector.is_outage(first):
            return False
        return bool(error.args) and error.args[0] in _MYSQL and "certificate" not in text.lower()
    return False


def _without_sockets(text: str) -> str:
    """Libpq's text without what it says of a Unix socket that is not there: the server is away."""
    return re.sub(r'connection to server on socket "[^"]*" failed: [^\n]*', "", text)
