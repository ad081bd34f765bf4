"""The two sides: SQLAlchemy's own session and pool, and ours; each makes an engine and sessions as a program wants them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from inspect import isawaitable
from typing import Any

from sqlalchemy import Engine, NullPool, QueuePool, StaticPool, create_engine, event, orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import greenlet_spawn

import respool
from respool.engine import AsyncFairPool, FairPool
from respool.engine.dialects import readonly
from respool.session.life import life_of
from tests.differential.meant import (
    AsyncPool,
    Pool,
    begin_before_savepoints,
    end_refused_transactions,
    meant_session,
    roll_back_what_is_lost,
    say_goodbye,
)
from tests.differential.model import Setup
from tests.differential.places import DRIVERS, Place

__all__ = ["Ours", "Stock", "World", "got"]

#: Seconds that a pool waits for a connection; ours opens one within that time, too. SQLite opens at once, without asyncio.
_POOL_TIMEOUT, _SQLITE_TIMEOUT = 3.0, 0.05

#: Seconds that a pool of ours waits at its end for a connection that is out.
_CLOSING = 0.2

_QUEUES = {False: QueuePool, True: AsyncAdaptedQueuePool}

_names = itertools.count()


async def got(value: Any) -> Any:
    """The value, awaited where it has to be."""
    return await value if isawaitable(value) else value


class Stock:
    """SQLAlchemy's own.

    Args:
        session_class: the session's class.
    """

    name = "stock"

    def __init__(self, session_class: type[orm.Session] = orm.Session) -> None:
        self.session_class = self.meant(session_class)

    def meant(self, session_class: type[orm.Session]) -> type[orm.Session]:
        """The class with what ours is documented to do otherwise."""
        return meant_session(session_class)

    def pool(self, setup: Setup, asynchronous: bool, kills: bool) -> dict[str, Any]:
        """The pool's arguments for ``create_engine``. One with ``kills`` looks at its connections, as ours does."""
        if setup.pool in ("null", "static"):
            return {"poolclass": NullPool if setup.pool == "null" else StaticPool}
        return {
            "poolclass": (AsyncPool if asynchronous else Pool) if setup.pool == "ours" else _QUEUES[asynchronous],
            "pool_size": setup.size,
            "max_overflow": 0,
            "pool_timeout": _POOL_TIMEOUT,
            "pool_use_lifo": True,
            "pool_pre_ping": kills and setup.pool == "ours",
        }

    def options(self, setup: Setup) -> dict[str, Any]:
        """The session's arguments."""
        return self.session_options(setup)

    def session_options(self, setup: Setup) -> dict[str, Any]:
        """Those that are SQLAlchemy's own."""
        return {"expire_on_commit": setup.expire_on_commit, "autoflush": setup.autoflush, "autobegin": setup.autobegin}

    def mend(self, engine: Engine, setup: Setup) -> None:
        """Have an engine do what ours is documented to do otherwise."""
        if engine.dialect.name == "sqlite":
            begin_before_savepoints(engine)
            end_refused_transactions(engine.dialect)
        elif setup.pool == "ours":
            readonly.watch(engine.dialect)
            roll_back_what_is_lost(engine.dialect)

    @asynccontextmanager
    async def session(self, world: World) -> AsyncIterator[Any]:
        """A session in a block: its own, or one that ends as a scope does."""
        if world.setup.face == "scope":
            async with self._scope(world) as session:
                yield session
        elif world.setup.face == "connection":
            connection = await got(world.face.connect())
            try:
                async with self._of(world, self._make(world, connection)) as session:
                    yield session
            finally:
                await got(connection.close())
        else:
            async with self._of(world, self._make(world, world.face)) as session:
                yield session

    @asynccontextmanager
    async def _of(self, world: World, made: Any) -> AsyncIterator[Any]:
        if world.asynchronous:
            async with made as session:
                yield session
        else:
            with made as session:
                yield session

    def _make(self, world: World, bind: Any) -> Any:
        options = self.options(world.setup)
        if world.asynchronous:
            return self._async_class(bind, sync_session_class=self.session_class, **options)
        return self.session_class(bind, **options)

    @asynccontextmanager
    async def _scope(self, world: World) -> AsyncIterator[Any]:
        """Success commits, in asyncio after a flush; what fails while it is closed is no error of the program's."""
        session = self._make(world, world.face)
        try:
            yield session
            if world.asynchronous and (session.new or session.dirty or session.deleted):
                await session.flush()
            if world.setup.autobegin or session.in_transaction():  # else there is nothing to commit
                await got(session.commit())
        finally:
            with suppress(Exception):
                await (session.run_sync(say_goodbye) if world.asynchronous else got(say_goodbye(session)))
                await got(session.close())

    _async_class: Any = sa_asyncio.AsyncSession


class Ours(Stock):
    """respool's."""

    name = "respool"
    _async_class = respool.AsyncSession

    def __init__(self, session_class: type[orm.Session] = respool.Session) -> None:
        super().__init__(session_class)

    def pool(self, setup: Setup, asynchronous: bool, kills: bool) -> dict[str, Any]:
        if setup.pool != "ours":
            return super().pool(setup, asynchronous, kills)
        return {
            "poolclass": AsyncFairPool if asynchronous else FairPool,
            "max_size": setup.size,
            "pool_timeout": _POOL_TIMEOUT,
            "check_after": 0.0 if kills else 60.0,  # how quick this machine is makes no difference
        }

    def meant(self, session_class: type[orm.Session]) -> type[orm.Session]:
        return session_class

    def mend(self, engine: Engine, setup: Setup) -> None:
        pass

    def options(self, setup: Setup) -> dict[str, Any]:
        return {**super().options(setup), "begin": setup.begin}

    def _make(self, world: World, bind: Any) -> Any:
        made = super()._make(world, bind)
        life_of(getattr(made, "sync_session", made)).planned = True  # as those of a database
        return made

    @asynccontextmanager
    async def _scope(self, world: World) -> AsyncIterator[Any]:
        keywords: dict[str, Any] = {
            "name": f"program {next(_names)}",
            "begin": world.setup.begin,
            "commit": "on_success",
            "session_options": self.session_options(world.setup),
        }
        if world.asynchronous:
            database = respool.AsyncDatabase(world.face, **keywords)
            world.at_close.append(partial(database.close, _CLOSING))
            async with database.scope("program") as session:
                yield session
        else:
            plain = respool.Database(world.engine, session_class=self.session_class, **keywords)
            world.at_close.append(partial(plain.close, _CLOSING))
            with plain.scope("program") as session:
                yield session


class World:
    """One program's engine on one side.

    Args:
        side: who makes it.
        place: whose database it is.
        setup: what the program wants.
        kills: whether the program hangs up on connections.
    """

    def __init__(self, side: Stock, place: Place, setup: Setup, kills: bool = False) -> None:
        self.side = side
        self.place = place
        self.setup = setup
        self.asynchronous = DRIVERS[place.driver][1]
        self.kills = kills
        self.at_close: list[Callable[[], Any]] = []
        self._second: Engine | None = None
        self._all: list[Any] = []
        self.face = self._make_engine(place.url, self._level("engine"))
        self.engine: Engine = getattr(self.face, "sync_engine", self.face)

    @property
    def second(self) -> Engine:
        """Another engine for the same database, with a pool of its own."""
        if self._second is None:
            made = self._make_engine(self.place.second_url, self.setup.second)
            self._second = getattr(made, "sync_engine", made)
        return self._second

    @property
    def second_engines(self) -> list[Engine]:
        """The other engine, if there is one."""
        return [] if self._second is None else [self._second]

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call something that speaks with the database in SQLAlchemy's sync way."""
        return await greenlet_spawn(fn, *args) if self.asynchronous else fn(*args)

    async def close(self) -> None:
        """Close all connections."""
        for close in self.at_close:
            await self._end(close)
        for engine in self._all:
            await self._end(engine.dispose)

    async def _end(self, close: Callable[[], Any]) -> None:
        try:
            if self.asynchronous:
                await close()
            else:
                close()
        except Exception:  # of a connection that was killed
            pass

    def _make_engine(self, url: str, level: str | None) -> Any:
        setup = self.setup
        options = self.side.pool(setup, self.asynchronous, self.kills)
        options["pool_reset_on_return"] = setup.reset
        if "pool_timeout" in options and self.place.driver == "sqlite":
            options["pool_timeout"] = _SQLITE_TIMEOUT
        if level is not None:
            options["isolation_level"] = level
        if setup.stream:
            options["execution_options"] = {"stream_results": True}
        make: Any = sa_asyncio.create_async_engine if self.asynchronous else create_engine
        made = make(url, connect_args=self._connect_args(), **options)
        self._all.append(made)
        self.side.mend(getattr(made, "sync_engine", made), setup)
        self._listen(getattr(made, "sync_engine", made))
        if (level := self._level("options")) is not None:
            made = made.execution_options(isolation_level=level)
        return made

    def _level(self, way: str) -> str | None:
        """The isolation level that is set this way."""
        isolation = self.setup.isolation
        return isolation[1] if isolation is not None and isolation[0] == way else None

    def _connect_args(self) -> dict[str, Any]:
        setup, driver = self.setup, self.place.driver
        args: dict[str, Any] = {}
        settings = {"app.tenant": "2"} if setup.tenant else {}
        if (level := self._level("server")) is not None:
            settings["default_transaction_isolation"] = level.lower()
        if self.place.database == "sqlite":
            args["timeout"] = 0.01
            if setup.autocommit or setup.recipe:
                args["isolation_level"] = None
        elif driver == "asyncpg":
            if settings:
                args["server_settings"] = settings
            if setup.prepare == 0:
                args["prepared_statement_cache_size"] = 0
                args["prepared_statement_name_func"] = lambda: f"mine_{uuid.uuid4()}"
            elif setup.prepare is None:
                args["statement_cache_size"] = 0
        elif driver == "mariadb":
            args["autocommit"] = setup.autocommit
            if setup.tenant:
                args["init_command"] = "SET @tenant = 2"
        else:
            args["sslmode"] = "disable"
            if settings:
                args["options"] = " ".join(
                    f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items()
                )
            if driver != "psycopg2":
                args["prepare_threshold"] = setup.prepare
                if setup.autocommit:
                    args["autocommit"] = True
        return args

    def _listen(self, engine: Engine) -> None:
        """What only a listener can set."""
        if self.setup.autocommit and self.place.driver in ("psycopg2", "asyncpg"):
            event.listen(engine, "connect", _to_autocommit)
        if self.setup.recipe and self.place.database == "sqlite":
            event.listen(engine, "begin", _send_begin)


def _to_autocommit(dbapi_connection: Any, record: object) -> None:
    dbapi_connection.autocommit = True


def _send_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")
