"""Whether a proxy stands before a PostgreSQL, in which mode, and whether prepared statements survive it.

Nothing of this is told by name, so it is tried.  A proxy gives its clients keys of its own for cancelling, so the process
number that the driver was told at its connect is not that of the server's process.  And two clients that have the same server
process, while both are connected, share it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, exc
from sqlalchemy.util import await_only, greenlet_spawn

from respool.cli.doctor.connecting import driver_connection, rows
from respool.cli.doctor.facts import Proxy

__all__ = ["find_proxy", "keeps_prepared"]

_PID = "SELECT pg_backend_pid()"
#: How many clients are tried for one that shares a server connection with the first.
_CLIENTS = 3
#: Seconds after which a statement is taken to wait for a server connection.
_WAIT = 1.0


def find_proxy(url: URL, engine: Engine, connection: Connection) -> Proxy | None:
    """What stands between, or ``None``.

    Args:
        url: where.
        engine: without transactions around statements, and without connections that are kept.
        connection: one of it.
    """
    signs: list[str] = []
    mode = None
    if not (asked := rows(connection, _PID)):
        return None  # no PostgreSQL, but something that speaks like one
    told, real = _told_pid(connection), asked[0][0]
    if told is not None and told % 2**32 != real:
        mode, signs = "session", ["the process that the driver was told of at its connect is not the server's"]
    if (shared := _shares(engine, connection, proxied=bool(signs))) is not None:
        mode, signs = shared[0], [*signs, shared[1]]
    console = _console(url, engine)
    if not signs and console is None:
        return None
    proxy = Proxy("a proxy", mode, signs)
    if console is not None:
        _read_console(proxy, url, console)
    return proxy


def _told_pid(connection: Connection) -> int | None:
    driver = driver_connection(connection)
    if hasattr(driver, "get_server_pid"):  # asyncpg
        return int(driver.get_server_pid())
    info = getattr(driver, "info", None)  # psycopg, psycopg2
    return getattr(info, "backend_pid", None)


def _shares(engine: Engine, first: Connection, *, proxied: bool) -> tuple[str, str] | None:
    """Whether others get the server process of one that is still connected: the mode, and the sign of it."""
    with ExitStack() as held:
        before = first.exec_driver_sql(_PID).scalar_one()
        for _ in range(_CLIENTS):
            other = held.enter_context(engine.connect())
            try:
                other.exec_driver_sql("BEGIN")
            except exc.DBAPIError as error:
                if "statement pooling" in str(error) or (proxied and error.connection_invalidated):
                    return "statement", "it refuses BEGIN"
                return None
            held.callback(_end, other)
            if other.exec_driver_sql(_PID).scalar_one() == before:
                return "transaction", "two clients had the same process of the server"
            now = first.exec_driver_sql(_PID).scalar_one()
            if now != before:
                return "transaction", "the process of the server changed from one statement to the next"
    return None


def _end(connection: Connection) -> None:
    """End its transaction; once more does nothing."""
    try:
        connection.exec_driver_sql("ROLLBACK")
    except exc.DBAPIError:
        connection.invalidate()


# -- PgBouncer's own console --------------------------------------------------------------------------------------------


def _console(url: URL, engine: Engine) -> dict[str, list[dict[str, Any]]] | None:
    """What PgBouncer's console tells this user: nothing where he may not read it; ``None`` where there is none."""
    dialect = engine.dialect
    if dialect.driver not in ("psycopg", "psycopg_async", "psycopg2"):
        return None  # it speaks the simple protocol only
    arguments, keywords = dialect.create_connect_args(url.set(database="pgbouncer"))
    keywords.pop("prepare_threshold", None)
    try:
        connection = dialect.connect(*arguments, connect_timeout=5, **keywords)
    except dialect.loaded_dbapi.Error as error:
        return {} if "not allowed" in str(error) else None
    try:
        dialect.set_isolation_level(connection, "AUTOCOMMIT")
        told = {name: _shown(connection, name) for name in ("VERSION", "CONFIG", "DATABASES")}
    except (dialect.loaded_dbapi.Error, exc.DBAPIError):
        return None  # a database that has this name
    finally:
        connection.close()
    return told if "PgBouncer" in str(told["VERSION"]) else None


def _shown(connection: Any, name: str) -> list[dict[str, Any]]:
    cursor = connection.cursor()
    try:
        cursor.execute(f"SHOW {name}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        cursor.close()


def _read_console(proxy: Proxy, url: URL, console: dict[str, list[dict[str, Any]]]) -> None:
    proxy.product = "PgBouncer"
    proxy.signs.append("it has PgBouncer's console" + ("" if console else ", which this user may not read"))
    if not console:
        return
    (version,) = console["VERSION"]
    proxy.product = str(next(iter(version.values())))
    config = {row["key"]: str(row["value"]) for row in console["CONFIG"]}
    database = next((row for row in console["DATABASES"] if row["name"] == url.database), {})
    proxy.mode = database.get("pool_mode") or config.get("pool_mode") or proxy.mode
    proxy.clients = _number(config.get("max_client_conn"))
    sizes = [_number(database.get("pool_size")) or _number(config.get("default_pool_size"))]
    sizes += [_number(config.get(name)) for name in ("max_db_connections", "max_user_connections")]
    proxy.servers = min((size for size in sizes if size), default=None)
    if proxy.mode == "transaction":
        proxy.keeps_prepared = bool(_number(config.get("max_prepared_statements")))
    for name in ("client_idle_timeout", "idle_transaction_timeout", "query_wait_timeout", "query_timeout"):
        if seconds := float(config.get(name) or 0):
            proxy.times[name] = seconds


def _number(value: Any) -> int | None:
    return int(value) if str(value or "").isdecimal() else None


# -- prepared statements ------------------------------------------------------------------------------------------------


def keeps_prepared(engine: Engine) -> bool | None:
    """Whether what the driver prepares on one server connection works on the next; ``None`` where that was not to be seen.

    Args:
        engine: with the driver's prepared statements on.
    """
    statement = "SELECT pg_backend_pid() AS prepared_by_respool_doctor"
    try:
        with engine.connect() as first, ExitStack() as held:
            before = _execute_prepared(first, statement)
            for _ in range(_CLIENTS):
                other = held.enter_context(engine.connect())
                other.exec_driver_sql("BEGIN")
                held.callback(_end, other)
                now = _unless_it_waits(engine, lambda: _execute_prepared(first, statement), partial(_end, other))
                if now != before:
                    return None if now is None else True
    except Exception as error:
        if _is_of_prepared(error):
            return False
        raise
    return None


def _unless_it_waits(engine: Engine, function: Callable[[], Any], let_go: Callable[[], object]) -> Any:
    """What a function returns; ``None`` if it has to wait for the only server connection, which is let go of then."""
    if engine.dialect.is_async:
        task = asyncio.ensure_future(greenlet_spawn(function))
        await_only(asyncio.wait({task}, timeout=_WAIT))
        waited = not task.done()
        if waited:
            let_go()
        value = await_only(task)
        return None if waited else value
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(function)
        waited = not wait({future}, timeout=_WAIT).done
        if waited:
            let_go()
        value = future.result()
        return None if waited else value


def _is_of_prepared(error: BaseException) -> bool:
    """Whether an error is that of a prepared statement that is not there, or is there already."""
    text = str(error)
    return "prepared statement" in text and ("does not exist" in text or "already exists" in text)


def _execute_prepared(connection: Connection, statement: str) -> Any:
    """Execute as the driver does when it prepares: psycopg after some executions, asyncpg each time."""
    driver = driver_connection(connection)
    if type(driver).__module__.partition(".")[0] != "psycopg":
        return connection.exec_driver_sql(statement).scalar_one()
    cursor = _awaited(driver.execute(statement, prepare=True))
    return _awaited(cursor.fetchone())[0]


def _awaited(value: Any) -> Any:
    return await_only(value) if inspect.isawaitable(value) else value
