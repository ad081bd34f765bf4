"""Where the scripts are played: a database seen through one driver, with plans and without, and what the driver was sent."""

from __future__ import annotations

import asyncio
import gc
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import sqlalchemy as sa
from sqlalchemy.util import await_only, greenlet_spawn

from respool import AsyncDatabase, Database, PoolConfig
from tests.loading.mappings import Mapping
from tests.loading.recording import record, recording
from tests.loading.scripts import Step, play

__all__ = ["ASYNC", "DRIVERS", "NAMES", "Arena", "Told"]

#: By the name of a driver: whose database it is.
DRIVERS = {
    **dict.fromkeys(("sqlite", "aiosqlite"), "sqlite"),
    **dict.fromkeys(("psycopg", "psycopg2", "psycopg_async", "asyncpg"), "postgresql"),
    **dict.fromkeys(("pymysql", "mysqldb", "aiomysql", "asyncmy"), "mariadb"),
}
ASYNC = frozenset({"aiosqlite", "psycopg_async", "asyncpg", "aiomysql", "asyncmy"})
#: What a driver's module is called, where that is not its name.
NAMES = {"mysqldb": "MySQLdb", "psycopg_async": "psycopg", "sqlite": "sqlite3"}

#: One connection, which nobody checks by the clock.
_ONE = PoolConfig(max_size=1, timeout=5.0, check_after=None)


@dataclass
class Told:
    """What a script came to, played three times: the second time what was learned is there, the third how its parts go."""

    seen: list[Any] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)  #: statements that went by plans the second time
    read: int = 0  #: all that were sent the second time and read


class Arena:
    """One database, on which one mapping after the other is made.

    Args:
        driver: one of ``DRIVERS``.
        server: of the database; none for SQLite, which has a new database in memory each time.
        database: its name there.
    """

    def __init__(self, driver: str, server: Any = None, database: str = "") -> None:
        self.driver = driver
        if server is None:
            self.url = "sqlite+aiosqlite://" if driver == "aiosqlite" else "sqlite://"
        else:
            self.url = server.url(driver, database)
        self._aside = sa.create_engine(server.url(database=database)) if server is not None else None
        self._loop = asyncio.Runner() if driver in ASYNC else None

    def close(self) -> None:
        """Nothing will be played here any more."""
        if self._aside is not None:
            self._aside.dispose()
        if self._loop is not None:
            self._loop.close()

    @contextmanager
    def tables(self, mapping: Mapping) -> Iterator[None]:
        """Those of a mapping are there."""
        if self._aside is None:
            yield
            return
        with self._aside.begin() as connection:
            mapping.base.metadata.create_all(connection)
        try:
            yield
        finally:
            with self._aside.begin() as connection:
                mapping.base.metadata.drop_all(connection)

    def told(
        self, mapping: Mapping, script: Sequence[Step], went: list[str], *, plans: bool, begin: str | None
    ) -> Told:
        """All that is seen of a script.

        Args:
            mapping: with what it is played.
            script: its steps.
            went: where it is noted what goes by plans.
            plans: whether there are any.
            begin: when a transaction begins.
        """
        if self._aside is not None:
            with self._aside.begin() as connection:
                mapping.fill(connection)
        options: Any = {"plans": plans, "begin": begin, "pool": _ONE}
        told = Told()
        rests = mock.patch("respool.engine.pools.fair.REST", math.inf)
        with rests, _collecting_when_told(), recording(self.driver, told.sent.append), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._loop is None:
                self._play(Database(self.url, **options), mapping, script, went, told)
            else:
                self._loop.run(self._play_async(AsyncDatabase(self.url, **options), mapping, script, went, told))
        return told

    def _play(self, database: Database, mapping: Mapping, script: Sequence[Step], went: list[str], told: Told) -> None:
        try:
            with database.engine.connect() as connection:
                self._begin(connection, mapping, told)
            for number in (1, 2, 3):
                with _counted(number, went, told), database.scope("script") as session:
                    told.seen += play(session, mapping, script, number)
                    session.rollback()
        finally:
            database.close()

    async def _play_async(
        self, database: AsyncDatabase, mapping: Mapping, script: Sequence[Step], went: list[str], told: Told
    ) -> None:
        try:
            async with database.engine.connect() as connection:
                await connection.run_sync(self._begin, mapping, told)
            for number in (1, 2, 3):
                with _counted(number, went, told):
                    async with database.scope("script") as session:
                        told.seen += await greenlet_spawn(play, Face(session), mapping, script, number)
                        await session.rollback()
        finally:
            await database.close()

    def _begin(self, connection: sa.Connection, mapping: Mapping, told: Told) -> None:
        if self._aside is None:
            mapping.base.metadata.create_all(connection)
            mapping.fill(connection)
        connection.commit()
        record(self.driver, connection.connection.driver_connection, told.sent.append)


@contextmanager
def _collecting_when_told() -> Iterator[None]:
    """The collector runs where a script says so: what is in an identity map, in a cycle and unused goes when it does."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _counted(number: int, went: list[str], told: Told) -> Iterator[None]:
    planned, sent = len(went), len(told.sent)
    yield
    if number == 2:
        told.planned = went[planned:]
        told.read = sum("SELECT" in statement for statement in told.sent[sent:])


class Face:
    """An async session as the scripts know sessions. What there is to await is awaited outside of their greenlet.

    Args:
        session: the async one.
    """

    _AWAITED = frozenset(
        {
            *("get", "execute", "scalars", "scalar", "flush", "commit", "rollback", "refresh", "merge", "delete"),
            *("close", "reset"),
        }
    )

    def __init__(self, session: Any) -> None:
        self._face, self.sync_session = session, session.sync_session

    def __getattr__(self, name: str) -> Any:
        if name not in self._AWAITED:
            return getattr(self.sync_session, name)
        method: Callable[..., Any] = getattr(self._face, name)
        return lambda *arguments, **named: await_only(method(*arguments, **named))
