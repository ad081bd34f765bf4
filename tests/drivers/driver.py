"""One set of cases for every driver: what differs from driver to driver stands here.

A case is sync code.  For an asyncio driver it runs in SQLAlchemy's greenlet on the engine's sync side, so that the same
lines go through the async pool and driver; what runs at the same time is then tasks instead of threads.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from respool.engine import AsyncFairPool, FairPool
from tests.support.tasks import run_to_its_end

__all__ = ["DRIVERS", "PATIENCE", "Driver", "Running", "Server", "Shop", "pool_of"]

PATIENCE = 30.0
ONE = sa.select(sa.literal(1))


@dataclass(frozen=True)
class Driver:
    """One of SQLAlchemy's drivers.

    Args:
        name: SQLAlchemy's name of it.
        backend: the database, as the fixture is called.
        module: what has to be installed.
        notes: whether it can tell that a transaction is open.
    """

    name: str
    backend: str
    module: str
    asynchronous: bool = False
    notes: bool = True

    @property
    def id(self) -> str:
        return f"{self.name}-async" if self.name == "psycopg" and self.asynchronous else self.name

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


DRIVERS = [
    Driver("psycopg", "postgres", "psycopg"),
    Driver("psycopg", "postgres", "psycopg", asynchronous=True),
    Driver("psycopg2", "postgres", "psycopg2"),
    Driver("asyncpg", "postgres", "asyncpg", asynchronous=True),
    Driver("pymysql", "mariadb", "pymysql"),
    Driver("mysqldb", "mariadb", "MySQLdb", notes=False),
    Driver("aiomysql", "mariadb", "aiomysql", asynchronous=True),
    Driver("asyncmy", "mariadb", "asyncmy", asynchronous=True),
    Driver("pysqlite", "sqlite", "sqlite3"),
    Driver("aiosqlite", "sqlite", "aiosqlite", asynchronous=True),
]

#: Which connection of the server's this is; how to keep it busy; how many connections a database has.
_NUMBER = {"postgres": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()"}
_SLEEP = {"postgres": "SELECT pg_sleep({})", "mariadb": "SELECT SLEEP({})"}
_SQLITE_SLEEP = (
    "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {} * 3e6) SELECT max(x) FROM c"
)


class Server(Protocol):
    """What the cases do to a server, PostgreSQL or MariaDB."""

    port: int

    def url(self, driver: str, database: str) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def terminate_backends(self, database: str) -> int: ...
    def count_backends(self, database: str) -> int: ...


class Shop:
    """An empty database of a case's own, seen through one driver.

    Args:
        database: its name; for SQLite the path of its file.
        server: ``None`` for SQLite.
    """

    def __init__(self, driver: Driver, database: str, server: Server | None) -> None:
        self.driver = driver
        self.database = database
        self._server = server
        self._engines: list[sa.Engine] = []
        self.complaints: list[dict[str, Any]] = []  #: what asyncio had to report

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    @property
    def url(self) -> sa.URL:
        name = "aiosqlite" if self.driver.asynchronous else "pysqlite"
        plain = f"sqlite+{name}:///{self.database}"
        return sa.make_url(self._server.url(self.driver.name, self.database) if self._server else plain)

    def engine(self, url: sa.URL | None = None, **settings: Any) -> sa.Engine:
        """An engine with our pool; the end of the case disposes of it."""
        if self.driver.asynchronous:
            engine = create_async_engine(url or self.url, poolclass=AsyncFairPool, **settings).sync_engine
        else:
            engine = sa.create_engine(url or self.url, poolclass=FairPool, **settings)
        self._engines.append(engine)
        return engine

    # -- what is said to the database

    def number(self, connection: sa.Connection) -> Any:
        """Which of the server's connections this is; in SQLite, which of ours."""
        question = _NUMBER.get(self.driver.backend)
        return connection.scalar(sa.text(question)) if question else id(connection.connection.driver_connection)

    def sleep(self, seconds: float) -> sa.TextClause:
        """A statement that takes a while; in SQLite about that long on some machine."""
        return sa.text(_SLEEP.get(self.driver.backend, _SQLITE_SLEEP).format(seconds))

    def make_table(self, engine: sa.Engine) -> None:
        """``t``, with a row in it."""
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
            connection.execute(sa.text("INSERT INTO t VALUES (1)"))

    def fill(self, engine: sa.Engine, size: int) -> None:
        """Leave this many idle connections."""
        for connection in [engine.connect() for _ in range(size)]:
            connection.close()

    def terminate(self) -> int:
        """Have the server hang up on all connections of this database."""
        return int(self.aside(self.server.terminate_backends, self.database))

    # -- running

    def run(self, case: Callable[[], object]) -> None:
        """Run a case to its end; afterwards nothing is held, and the server has no connection of it."""
        if self.driver.asynchronous:
            run_to_its_end(self._in_a_loop(case))
        else:
            self._to_its_end(case)

    async def _in_a_loop(self, case: Callable[[], object]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.complaints.append(context))
        await greenlet_spawn(self._to_its_end, case)

    def _to_its_end(self, case: Callable[[], object]) -> None:
        try:
            case()
        finally:
            failed = sys.exc_info()[0] is not None
            for engine in self._engines:
                if not failed:
                    self.until(lambda engine=engine: pool_of(engine).stats().acquired == 0)
                engine.dispose()
        if self._server is not None:
            self.until(lambda: self.aside(self.server.count_backends, self.database) == 0)
        assert not self.complaints

    def aside(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call what blocks, without holding up an event loop."""
        return await_only(asyncio.to_thread(function, *args)) if self.driver.asynchronous else function(*args)

    def pause(self, seconds: float = 0.001) -> None:
        if self.driver.asynchronous:
            await_only(asyncio.sleep(seconds))
        else:
            time.sleep(seconds)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that comes by itself."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it does not come"
            self.pause()

    def start(self, function: Callable[..., Any], *args: Any) -> Running:
        """Run this at the same time."""
        if self.driver.asynchronous:
            task = asyncio.get_running_loop().create_task(greenlet_spawn(function, *args))
            return Running(task, lambda: _await(task))
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return Running(future, lambda: future.result(PATIENCE))


def _await(task: asyncio.Task[Any]) -> Any:
    async def wait() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await task

    waiting: Coroutine[Any, Any, Any] = wait()
    return await_only(waiting)


@dataclass
class Running:
    """What runs beside the case."""

    handle: Any
    result: Callable[[], Any]

    @property
    def done(self) -> bool:
        return bool(self.handle.done())

    def cancel(self) -> None:
        """Tasks only."""
        self.handle.cancel()


def pool_of(engine: sa.Engine) -> FairPool:
    assert isinstance(engine.pool, FairPool)
    return engine.pool
