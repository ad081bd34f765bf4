"""``await session.get()`` by a plan: without a greenlet, and as SQLAlchemy's in all that can be told."""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util.concurrency import in_greenlet

from respool import AsyncDatabase, PoolConfig
from respool.engine import only_looks
from respool.errors import ConcurrentUse, PoolTimeout, ScopeEnded
from respool.session.loading import awaited
from tests.loading.shelf import Author, Book, collecting_all_the_time, fill, listened
from tests.support.mariadb import MariaServer
from tests.support.postgres import PostgresServer

ONE = PoolConfig(max_size=1, timeout=5.0, check_after=None)


class Place:
    """A database seen through one driver."""

    def __init__(self, driver: str, plain: str) -> None:
        self.driver, self.plain = driver, plain
        self.url = make_url(plain).set(drivername=driver).render_as_string(hide_password=False)

    def aside(self, sql: str) -> None:
        engine = create_engine(self.plain)
        with engine.begin() as connection:
            connection.execute(text(sql))
        engine.dispose()

    @asynccontextmanager
    async def opened(self, **keywords: Any) -> AsyncIterator[AsyncDatabase]:
        # MariaDB's default isolation keeps reads in transactions, unless it is asked for
        database = AsyncDatabase(self.url, **{"plans": True, "pool": ONE, "begin": "on_write", **keywords})
        try:
            async with database.scope("warm up") as session:
                await session.get(Book, 1)
                await session.get(Author, 1)
            yield database
        finally:
            await database.close()

    async def both(self, program: Callable[[AsyncDatabase], Awaitable[Any]], **keywords: Any) -> Any:
        found = []
        for plans in (False, True):
            fill(self.plain)
            async with self.opened(plans=plans, **keywords) as database:
                found.append(await program(database))
                assert database.pool.stats().acquired == 0
        assert found[0] == found[1]
        return found[1]


@pytest.fixture(
    params=[
        "sqlite+aiosqlite",
        pytest.param("postgresql+asyncpg", marks=pytest.mark.postgres),
        pytest.param("postgresql+psycopg_async", marks=pytest.mark.postgres),
        pytest.param("mysql+aiomysql", marks=pytest.mark.mariadb),
        pytest.param("mysql+asyncmy", marks=pytest.mark.mariadb),
    ]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "sqlite+aiosqlite":
        yield Place(request.param, fill(f"sqlite:///{request.getfixturevalue('sqlite_file')}"))
    elif request.param.startswith("postgresql"):
        yield Place(request.param, fill(request.getfixturevalue("pg_url")))
    else:
        with maria(request.getfixturevalue("mariadb")) as url:
            yield Place(request.param, fill(url))


@contextmanager
def maria(server: MariaServer) -> Iterator[str]:
    """The URL of a database of a test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    yield server.url(database=name)
    server.drop_database(name)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were executed without a greenlet."""
    went: list[str] = []
    for driver, run in list(awaited.RUNS.items()):

        async def watched(adapted: Any, dialect: Any, sql: str, values: Any, run: Any = run) -> Any:
            assert not in_greenlet()
            went.append(sql)
            return await run(adapted, dialect, sql, values)

        monkeypatch.setitem(awaited.RUNS, driver, watched)
    return went


async def read(database: AsyncDatabase, key: int = 1) -> Any:
    async with database.scope("read") as session:
        book = await session.get(Book, key)
        return book and book.title


#: Whether somebody waits for a lock in this database.
WAITS_IN_POSTGRESQL = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
WAITS_IN_MARIADB = text(
    "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE 'Waiting for table%'"
)


async def cancel_a_read(database: AsyncDatabase, connection: Any, waits: Any, alone: list[str]) -> None:
    """A read that waits for what the connection has locked is cancelled there, in its fetch."""
    went = len(alone)
    task = asyncio.create_task(read(database, 2))
    while not connection.scalar(waits):
        await asyncio.sleep(0)
    assert len(alone) == went + 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_takes_no_greenlet(place: Place, alone: list[str]) -> None:
    async with place.opened() as database:
        assert [await read(database, key) for key in (1, 2, 99)] == ["book 1", "book 2", None]
        assert len(alone) == 3
        async with database.scope("read") as session:
            book = await session.get(Book, 1)
            assert await session.get(Book, 1) is book
            assert inspect(book).async_session is session
            assert (session.holds_connection, session.in_transaction()) == (False, False)
            assert (await book.awaitable_attrs.author if hasattr(book, "awaitable_attrs") else None) is None
        assert len(alone) == 4


async def test_what_was_changed_is_flushed_and_read_in_its_transaction(place: Place) -> None:
    async def program(database: AsyncDatabase) -> Any:
        async with database.scope("write") as session:
            found = await session.get(Book, 1)
            found.title = "mine"
            other = await session.get(Book, 2)
            seen = other.title, session.in_transaction(), len(session.dirty)
            await session.rollback()
            return seen, (await session.get(Book, 1)).title

    assert await place.both(program) == (("book 2", True, 0), "book 1")


async def test_who_only_looks_is_told(place: Place) -> None:
    async def program(database: AsyncDatabase) -> Any:
        seen: list[Any] = []

        @only_looks
        def before(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            seen.append((statement, parameters, context.compiled is not None))

        event.listen(database.engine.sync_engine, "before_cursor_execute", before)
        return await read(database), seen

    _, seen = await place.both(program)
    assert len(seen) == 1


async def test_an_error_is_told_as_ever(place: Place) -> None:
    async def program(database: AsyncDatabase) -> Any:
        await read(database)
        place.aside("ALTER TABLE books RENAME COLUMN title TO name")
        try:
            await read(database, 2)
        except Exception as error:
            told = (type(error), str(error), getattr(error, "statement", None), getattr(error, "params", None))
            told += (type(error.__cause__), type(getattr(error, "orig", None)))
        place.aside("ALTER TABLE books RENAME COLUMN name TO title")
        return told, await read(database, 3)

    told, after = await place.both(program)
    assert after == "book 3"
    assert told[2].startswith("SELECT")


async def test_a_column_that_becomes_another_type(place: Place) -> None:
    """What was prepared on the server does not hold any more; which statements the driver has prepared is its business."""
    if place.driver.startswith("sqlite"):
        pytest.skip("its columns do not change their types")
    change = "MODIFY pages" if place.driver.startswith("mysql") else "ALTER pages TYPE"

    async def program(database: AsyncDatabase) -> Any:
        seen: list[Any] = []

        async def look(key: int, *, begins: bool) -> None:
            async with database.scope("read") as session:
                try:
                    if begins:
                        await session.connection()
                    book = await session.get(Book, key)
                    seen.append(book.pages)
                    seen.append((await session.scalars(select(Book).where(Book.id == key + 1))).one().pages)
                except DBAPIError as error:
                    seen.append((type(error), str(error)))
                await session.rollback()

        for key in range(1, 8):  # psycopg prepares what was executed five times
            await look(key, begins=bool(key % 2))
        place.aside(f"ALTER TABLE books {change} varchar(20)")
        for key in range(1, 5):
            await look(key, begins=bool(key % 2))
        place.aside("ALTER TABLE books ADD COLUMN more integer")
        for key in range(1, 3):
            await look(key, begins=bool(key % 2))
        return seen

    assert (await place.both(program))[-2:] == ["2", "3"]


async def test_a_connection_that_died_at_rest(
    postgres: PostgresServer, pg_url: str, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respool.engine.pools.fair.REST", math.inf)  # else it is found before
    for driver in ("postgresql+psycopg_async", "postgresql+asyncpg"):
        place = Place(driver, fill(pg_url))
        async with place.opened() as database:
            await read(database)
            went = len(alone)
            postgres.terminate_backends(pg_url.rpartition("/")[2])
            assert await read(database, 2) == "book 2"
            assert len(alone) == went + 1
            assert database.pool.stats().acquired == 0


async def test_a_connection_of_mariadb_that_died_at_rest(
    mariadb: MariaServer, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respool.engine.pools.fair.REST", math.inf)  # else it is found before
    with maria(mariadb) as url:
        for driver in ("mysql+aiomysql", "mysql+asyncmy"):
            place = Place(driver, fill(url))
            async with place.opened() as database:
                await read(database)
                went = len(alone)
                mariadb.terminate_backends(url.rpartition("/")[2])
                assert await read(database, 2) == "book 2"
                assert len(alone) == went + 1
                assert database.pool.stats().acquired == 0


@pytest.mark.parametrize("plans", [False, True])
async def test_a_read_that_is_cancelled_while_its_dead_connection_is_replaced(
    place: Place, plans: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.driver.startswith("sqlite"):
        pytest.skip("it has no server")
    server = request.getfixturevalue("mariadb" if place.driver.startswith("mysql") else "postgres")
    monkeypatch.setattr("respool.engine.pools.fair.REST", math.inf)  # else it is found before
    async with place.opened(plans=plans) as database:
        for steps in (0, 2, 3, 4, 5, 6, 8, 11, 15, 20, 30):  # of the loop
            await read(database)
            server.terminate_backends(place.url.rpartition("/")[2])
            task = asyncio.create_task(read(database, 2))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await task == "book 2"
            assert await read(database, 3) == "book 3"
            stats = database.pool.stats()
            assert (stats.acquired, stats.total) == (0, 1)


@pytest.mark.parametrize("driver", ["mysql+aiomysql", "mysql+asyncmy"])
async def test_so_does_one_of_mariadb(mariadb: MariaServer, driver: str, alone: list[str]) -> None:
    with maria(mariadb) as url:
        place = Place(driver, fill(url))
        engine = create_engine(url)
        async with place.opened() as database:
            await read(database)
            with engine.connect() as connection:
                connection.execute(text("LOCK TABLES books WRITE"))
                await cancel_a_read(database, connection, WAITS_IN_MARIADB, alone)
                connection.execute(text("UNLOCK TABLES"))
            assert await read(database, 3) == "book 3"
            assert database.pool.stats().acquired == 0
        engine.dispose()


async def test_an_exhausted_pool(place: Place) -> None:
    async def program(database: AsyncDatabase) -> Any:
        await read(database)
        pool: Any = database.engine.sync_engine.pool
        async with database.engine.connect():
            waiting = asyncio.create_task(read(database)), asyncio.create_task(read(database, 3))
            while database.pool.stats().waiting < 2:
                await asyncio.sleep(0)
            waiting[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting[0]
            pool._longest_wait = 0.0
            try:
                await read(database)
            except Exception as error:
                told = type(error), type(error.__cause__)
        return told, await waiting[1]

    told, after = await place.both(program)
    assert issubclass(told[0], PoolTimeout)
    assert after == "book 3"


@pytest.mark.postgres
@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg_async"])
async def test_a_statement_that_takes_too_long(pg_url: str, driver: str) -> None:
    place = Place(driver, fill(pg_url))
    limits: dict[str, Any] = {
        "postgresql+asyncpg": {"server_settings": {"statement_timeout": "200"}},
        "postgresql+psycopg_async": {"options": "-c statement_timeout=200"},
    }

    async def program(database: AsyncDatabase) -> Any:
        await read(database)
        engine = create_engine(pg_url)
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE books IN ACCESS EXCLUSIVE MODE"))
            try:
                await read(database, 2)
            except DBAPIError as error:
                told = type(error), str(error), error.connection_invalidated
        engine.dispose()
        return told, await read(database, 2), database.pool.stats().total

    told, after, total = await place.both(program, engine_options={"connect_args": limits[driver]})
    assert "timeout" in told[1]
    assert (after, total) == ("book 2", 1)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg_async"])
async def test_a_cancelled_read_costs_no_connection(pg_url: str, driver: str, alone: list[str]) -> None:
    place = Place(driver, fill(pg_url))
    engine = create_engine(pg_url)
    async with place.opened() as database:
        await read(database)
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE books IN ACCESS EXCLUSIVE MODE"))
            await cancel_a_read(database, connection, WAITS_IN_POSTGRESQL, alone)
        assert await read(database, 3) == "book 3"
        stats = database.pool.stats()
        assert (stats.acquired, stats.total) == (0, 1)
    engine.dispose()


async def select_one(database: AsyncDatabase, key: int) -> Any:
    async with database.scope("select") as session:
        return (await session.scalars(select(Book).where(Book.id == key))).one().title


@pytest.mark.parametrize("read_", [read, select_one])
@pytest.mark.parametrize("again", [None, 0, 2], ids=["once", "at once again", "again while it is told"])
async def test_a_read_that_is_cancelled_at_any_moment(place: Place, alone: list[str], read_: Any, again: Any) -> None:
    """Whatever the driver does then, psycopg closes its connection: who waits is told of the cancellation."""
    async with place.opened() as database:
        for _ in range(2):
            await read_(database, 1)
        for steps in (0, 1, 2, 3, 4, 5, 6, 8, 11, 15, 20, 30, 50, 100):  # of the loop
            task = asyncio.create_task(read_(database, 2))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            if again is not None:
                for _ in range(again):
                    await asyncio.sleep(0)
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await task == "book 2"
            assert await read_(database, 3) == "book 3"
            stats = database.pool.stats()
            assert (stats.acquired, stats.total) == (0, 1)
    assert len(alone) > 20


async def test_two_tasks_on_one_session(place: Place) -> None:
    async with place.opened(pool=PoolConfig(max_size=2, check_after=None)) as database:
        async with database.scope("read") as session:
            found = await asyncio.gather(*(session.get(Book, key) for key in (1, 2)), return_exceptions=True)
            assert sorted(type(each).__name__ for each in found) == ["Book", "ConcurrentUse"]
            assert isinstance(next(each for each in found if not isinstance(each, Book)), ConcurrentUse)
        assert database.pool.stats().acquired == 0


async def test_the_scope_ends_while_somebody_is_inside(place: Place, alone: list[str]) -> None:
    async with place.opened() as database:
        block = database.scope("read")
        session = await block.__aenter__()
        task = asyncio.create_task(session.get(Book, 1))
        while not alone:
            await asyncio.sleep(0)
        with pytest.raises(ConcurrentUse):
            await block.__aexit__(None, None, None)
        with pytest.raises(ScopeEnded):
            await task
        assert database.pool.stats().acquired == 0
        with pytest.raises(ScopeEnded):
            await session.get(Book, 2)


def test_another_loop_is_refused(sqlite_file: str) -> None:
    place = Place("sqlite+aiosqlite", fill(f"sqlite:///{sqlite_file}"))
    kept: list[Any] = []

    async def first() -> None:
        database = AsyncDatabase(place.url, plans=True)
        kept.append(database)
        async with database.scope("warm up") as session:
            await session.get(Book, 1)
        kept.append(database.scope("kept"))
        kept.append(await kept[1].__aenter__())
        await kept[2].get(Book, 1)

    async def second() -> str:
        kept[2].scope.enter()
        try:
            await kept[2].get(Book, 2)
        except Exception as error:
            return type(error).__name__
        finally:
            kept[2].scope.leave()
        return "nothing"

    asyncio.run(first())
    assert asyncio.run(second()) == "WrongScope"
    kept[0].engine.sync_engine.dispose(close=False)


async def test_statements_take_no_greenlet_either(place: Place, alone: list[str]) -> None:
    async with place.opened() as database:
        for _ in range(2):
            async with database.scope("read") as session:
                assert (await session.scalars(select(Book).where(Book.id == 2))).one().title == "book 2"
                assert (await session.execute(select(Book).order_by(Book.id))).scalars().first().title == "book 1"
                assert (await session.scalar(select(Book).where(Book.id == 3))).title == "book 3"
        assert len(alone) == 4


async def test_what_is_read_is_the_same(place: Place) -> None:
    async def program(database: AsyncDatabase) -> Any:
        seen = []
        for _ in range(3):
            async with database.scope("read") as session:
                result = await session.scalars(select(Book).where(Book.id > 7).order_by(Book.id))
                seen.append(len(session.identity_map))
                seen.append([book.title for book in result.unique()])
                rows = await session.execute(select(Book).where(Book.id.in_([1, 2])).order_by(Book.id))
                seen.append([row.Book.title for row in rows.partitions(1).__next__()])
                seen.append([book.id async for book in await session.stream_scalars(select(Book).where(Book.id < 3))])
                await session.rollback()
        return seen

    await place.both(program)


async def test_an_option_that_there_is_not_is_refused(place: Place) -> None:
    async with place.opened() as database, database.scope("read") as session:
        for call in (session.execute, session.scalars, session.scalar):
            for _ in range(2):
                await call(select(Book).where(Book.id == 1))
            with pytest.raises(TypeError):
                await call(select(Book).where(Book.id == 1), nonsense=None)
        with pytest.raises(TypeError):
            await session.get(Book, 1, nonsense=None)


@pytest.mark.parametrize("name", ["before_execute", "checkout", "do_orm_execute", "loaded_as_persistent", "load"])
async def test_a_listener_after_many_reads(place: Place, alone: list[str], name: str) -> None:
    async with place.opened() as database:
        for _ in range(100):
            await read(database)
        assert len(alone) == 100
        engine = database.engine.sync_engine
        with listened(engine, name) as heard:
            assert await read(database, 2) == "book 2"
        assert heard == [name]


async def test_a_collection_in_the_middle_of_a_batch(place: Place, alone: list[str]) -> None:
    with collecting_all_the_time():
        async with place.opened() as database, database.scope("read") as session:
            for _ in range(4):
                books = (await session.scalars(select(Book).order_by(Book.id))).all()
                assert [book.id for book in books] == [*range(1, 11)]
                assert len(session.identity_map) == 10
                assert all(inspect(book).async_session is session for book in books)
                del books
    assert len(alone) == 3
