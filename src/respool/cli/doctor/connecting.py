"""Connections for the doctor's own questions, sync or async alike; and why there is none, told apart."""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, exc
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from respool.cli.doctor.kinds import KINDS, Kind
from respool.engine.create import require_greenlet
from respool.engine.urls import is_memory, parse

__all__ = ["ask", "driver_connection", "failure_of", "is_drivers", "measure", "missing_file", "parse_url", "rows"]

T = TypeVar("T")

#: The name of the argument that bounds a connect, by driver.
_TIMEOUTS = {
    **dict.fromkeys(("psycopg", "psycopg_async", "psycopg2", "pymysql", "mysqldb", "aiomysql", "asyncmy"), "connect_timeout"),
    "asyncpg": "timeout",
}  # fmt: skip
#: What keeps the doctor's own statements from being prepared: a proxy may be on the way.
_UNPREPARED: dict[str, dict[str, Any]] = {
    "psycopg": {"prepare_threshold": None},
    "psycopg_async": {"prepare_threshold": None},
    "asyncpg": {"statement_cache_size": 0, "prepared_statement_cache_size": 0},
}
_TRIPS, _CONNECTS = 7, 5


def parse_url(text: str) -> URL:
    """The URL, whichever kind of driver it has. ``ConfigError`` where it is none."""
    try:
        asynchronous = make_url(text).get_dialect().is_async
    except (exc.SQLAlchemyError, ImportError, ValueError):
        asynchronous = False
    return parse(text, asynchronous=asynchronous)


def ask(url: URL, question: Callable[[Engine], T], *, timeout: float, prepares: bool = False) -> T:
    """Call a function with an engine that keeps no connection and has no transactions around statements.

    With an async driver it is called where that driver's calls are awaited.

    Args:
        url: where.
        question: what is asked.
        timeout: seconds that a connect may take.
        prepares: leave the driver's prepared statements on.
    """
    driver = url.get_dialect().driver
    arguments: dict[str, Any] = {} if prepares else dict(_UNPREPARED.get(driver, {}))
    name = _TIMEOUTS.get(driver)
    if name is not None and name not in url.query:
        arguments[name] = max(1, round(timeout))
    options: dict[str, Any] = {"poolclass": NullPool, "connect_args": arguments, "isolation_level": "AUTOCOMMIT"}
    if driver in ("psycopg", "psycopg_async", "psycopg2"):
        options["use_native_hstore"] = False  # to find that type takes a transaction, which not every proxy allows
    if not url.get_dialect().is_async:
        engine = create_engine(url, **options)
        try:
            return question(engine)
        finally:
            engine.dispose()
    return _ask_async(url, question, options)


def _ask_async(url: URL, question: Callable[[Engine], T], options: dict[str, Any]) -> T:
    require_greenlet("respool doctor with an async driver")
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.util import greenlet_spawn

    async def asked() -> T:
        engine = create_async_engine(url, **options)
        try:
            return await greenlet_spawn(question, engine.sync_engine)
        finally:
            await engine.dispose()

    return asyncio.run(asked())


def rows(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement; none where the server refuses it, as one that is older or only similar may."""
    try:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return []


def driver_connection(connection: Any) -> Any:
    """The driver's own object of a connection of SQLAlchemy's."""
    return getattr(connection, "connection", connection).driver_connection


def measure(engine: Engine, connection: Connection) -> tuple[float, float]:
    """Seconds of a round trip and of a connect: medians."""
    trips = [_timed(lambda: connection.exec_driver_sql("SELECT 1").all()) for _ in range(_TRIPS)]
    connects = []
    for _ in range(_CONNECTS):
        opened: list[Any] = []
        connects.append(_timed(lambda: opened.append(engine.raw_connection())))  # noqa: B023  # called at once
        opened[0].close()
    return statistics.median(trips), statistics.median(connects)


def _timed(function: Callable[[], object]) -> float:
    began = perf_counter()
    function()
    return perf_counter() - began


# -- why there is no connection ------------------------------------------------------------------------------------------

#: In this order: a message may have words of several.
_WORDS = {
    "host-unknown": "could not translate host|resolve host|Name or service not known|nodename nor servname"
    "|getaddrinfo failed|Temporary failure in name resolution|No address associated|Unknown .*server host",
    "server-full": "too many clients|too many connections|remaining connection slots|no more connections allowed"
    "|max_user_connections|max clients reached",
    "login-refused": r"no pg_hba\.conf entry|not allowed to connect|password authentication failed|no password supplied"
    "|role .* does not exist|no such user|Access denied for user .*using password|not permitted to log in"
    "|authentication failed|password is required|auth failed",
    "database-unknown": "database .* does not exist|Unknown database|no such database|Access denied .* to database"
    "|permission denied for database|not currently accepting connections",
    "not-ready": "starting up|shutting down|recovery mode|not yet accepting|login has been failing"
    "|server_login_retry|shutdown in progress",
    "tls": "certificate|SSL|TLS",
    "nobody-listens": "refused|No such file or directory|Connect call failed|Can't connect to local",
    "no-answer": "timeout expired|timed out|TimeoutError|No route to host|unreachable|query_wait_timeout",
}
_CODES = {
    "28P01": "login-refused",
    "28000": "login-refused",
    "3D000": "database-unknown",
    "42501": "database-unknown",
    "53300": "server-full",
    "57P03": "not-ready",
    1040: "server-full",
    1203: "server-full",
    1226: "server-full",
    1044: "database-unknown",
    1049: "database-unknown",
    1045: "login-refused",
    1130: "login-refused",
    1698: "login-refused",
    1053: "not-ready",
}


def failure_of(error: BaseException) -> Kind:
    """Why connecting failed, told apart by the driver's code, or else by its words.

    Args:
        error: SQLAlchemy's, or the driver's own.
    """
    original = getattr(error, "orig", None) or error
    seen: list[BaseException] = []
    while isinstance(original, BaseException) and original not in seen:
        seen.append(original)
        first = original.args[0] if original.args else None
        for code in (getattr(original, "sqlstate", None), getattr(original, "pgcode", None), first):
            if isinstance(code, str | int) and code in _CODES:
                return KINDS[_CODES[code]]
        if isinstance(original, socket.gaierror):
            return KINDS["host-unknown"]
        if isinstance(original, TimeoutError):
            return KINDS["no-answer"]
        if isinstance(original, ConnectionRefusedError):
            return KINDS["nobody-listens"]
        original = getattr(original, "original_exception", None) or original.__cause__ or original.__context__
    text = " ".join(str(each) for each in seen)
    for name, words in _WORDS.items():
        if re.search(words, text, re.IGNORECASE):
            return KINDS[name]
    return KINDS["refused"]


def is_drivers(url: URL, error: BaseException) -> bool:
    """Whether an error is of the driver or of the network: SQLAlchemy lets some of a connect through as they are."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, exc.DBAPIError | OSError | TimeoutError) or url.get_driver_name() in modules


def missing_file(url: URL) -> str | None:
    """The SQLite file of a URL that is not there: connecting would make it, which is not for a doctor to do."""
    if url.get_backend_name() != "sqlite" or is_memory(url):
        return None
    path = str(url.database).removeprefix("file:").partition("?")[0]
    return None if Path(path).exists() else path
