"""BEGIN that goes along with a transaction's first statement: the transaction is as it would be without."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.engine.dialects import pipelining

pytestmark = pytest.mark.postgres

METADATA = sa.MetaData()
THINGS = sa.Table("things", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String))


@pytest.fixture(autouse=True)
def _every_server_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelining, "FAR", -1.0)


def status(connection: Any) -> str:
    driver = connection.connection.driver_connection
    return str(driver.info.transaction_status.name)


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
def test_a_transaction_is_begun_and_ended(pg_url: str, level: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, isolation_level=level)
    METADATA.create_all(engine)
    with engine.connect() as connection:
        assert connection.scalar(sa.insert(THINGS).returning(THINGS.c.id), {"name": "a"}) == 1
        assert status(connection) == "INTRANS"
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == level.lower()
        connection.rollback()
        assert status(connection) == "IDLE"
    with engine.begin() as connection:
        connection.execute(sa.insert(THINGS), [{"name": "b"}, {"name": "c"}])
    with engine.connect() as connection:
        assert connection.execute(sa.select(THINGS.c.name).order_by(THINGS.c.name)).scalars().all() == ["b", "c"]
    engine.dispose()


def test_a_first_statement_that_fails_can_be_rolled_back(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool)
    METADATA.create_all(engine)
    with engine.connect() as connection:
        connection.execute(sa.insert(THINGS), {"id": 1, "name": "a"})
        connection.commit()
    with engine.connect() as connection:
        with pytest.raises(IntegrityError):
            connection.execute(sa.insert(THINGS), {"id": 1, "name": "b"})
        assert status(connection) == "INERROR"
        connection.rollback()
        assert connection.scalar(sa.select(THINGS.c.name)) == "a"
    assert engine.pool.stats().connects == 1  # type: ignore[attr-defined]
    engine.dispose()


def outcome(url: str, statement: Any, pool: Any) -> Any:
    """What comes of a first statement, and of the transaction that it is in."""
    engine = sa.create_engine(url, poolclass=pool)
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    seen: list[Any] = []
    with engine.connect() as connection:
        try:
            result = (
                connection.exec_driver_sql(statement) if isinstance(statement, str) else connection.execute(statement)
            )
            seen.append(result.all() if result.returns_rows else result.rowcount)
        except sa.exc.DBAPIError as error:
            seen += [type(error), type(error.orig), str(error.orig)]
        seen.append(status(connection))
        if seen[-1] == "INTRANS":
            seen.append(connection.scalar(sa.select(sa.func.count(THINGS.c.id))))
        connection.invalidate()
    engine.dispose()
    return seen


SEVERAL = "SELECT 1; INSERT INTO things VALUES (1, 'a')"


@pytest.mark.parametrize(
    "statement",
    [
        *(SEVERAL, "SELECT ';'", "SELECT 1 ; ", "-- nothing", "", "COPY things TO STDOUT", "SELECT $1", "SELECT 5 % 3"),
        *(
            sa.text(SEVERAL),
            sa.text("COPY things FROM STDIN"),
            sa.DDL(SEVERAL),
            sa.text("SELECT :a").bindparams(a="1;"),
        ),
        sa.text(SEVERAL).columns(THINGS.c.id),
        sa.select(sa.literal_column("1; INSERT INTO things VALUES (1, 'a')")),
    ],
)
def test_a_first_statement_is_to_the_server_what_it_was(pg_url: str, statement: Any) -> None:
    assert outcome(pg_url, statement, FairPool) == outcome(pg_url, statement, None)


@pytest.mark.parametrize("pool", [FairPool, None])
def test_a_default_may_be_asked_for_first(pg_url: str, pool: Any) -> None:
    """SQLAlchemy does so while it makes its record of the execution, or has none of a statement."""
    engine = sa.create_engine(pg_url, poolclass=pool)
    numbers = sa.Sequence("numbers", start=7)
    column = sa.Column("id", sa.Integer, numbers, primary_key=True)
    numbered = sa.Table("numbered", sa.MetaData(), column, sa.Column("name", sa.String), implicit_returning=False)
    numbered.metadata.drop_all(engine)
    numbered.metadata.create_all(engine)
    for number in (7, 8):
        with engine.begin() as connection:
            made = connection.execute(sa.insert(numbered).values(name="a"))
            assert made.inserted_primary_key == (number,)
            assert status(connection) == "INTRANS"
    with engine.begin() as connection:
        assert connection.scalar(numbers) == 9
        assert status(connection) == "INTRANS"
        assert connection.scalar(sa.select(sa.func.count()).select_from(numbered)) == 2
    engine.dispose()


async def test_the_same_with_asyncio(postgres: Any, pg_url: str) -> None:
    url = sa.make_url(pg_url).set(drivername="postgresql+psycopg_async")
    engine = create_async_engine(url, poolclass=AsyncFairPool)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    async with engine.connect() as connection:
        rows = await connection.execute(sa.insert(THINGS).returning(THINGS.c.id, THINGS.c.name), {"name": "a"})
        assert rows.all() == [(1, "a")]
        await connection.rollback()
        assert (await connection.execute(sa.select(THINGS))).all() == []
        await connection.rollback()
    async with engine.connect() as connection:
        assert (await connection.execute(sa.select(THINGS).where(sa.false()))).all() == []
        with pytest.raises(IntegrityError):
            await connection.execute(sa.text("INSERT INTO things (id, name) VALUES (1, 'x'), (1, 'y')"))
    await engine.dispose()


def test_an_isolated_read_is_replaced_when_its_connection_was_stale(postgres: Any, pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, check_after=None)
    with engine.connect() as connection:
        connection.scalar(sa.select(1))
    postgres.terminate_backends(sa.make_url(pg_url).database)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(1)) == 1
        assert status(connection) == "INTRANS"
    engine.dispose()


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(:s)", "INSERT INTO things SELECT 1 FROM pg_sleep(:s)"])
async def test_a_cancelled_pipeline_is_left(postgres: Any, pg_url: str, statement: str) -> None:
    url = sa.make_url(pg_url).set(drivername="postgresql+psycopg_async")
    engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=1)
    pool: Any = engine.pool
    database = str(url.database)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)

    async def ask() -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement), {"s": 60})

    for _ in range(3):
        task = asyncio.create_task(ask())
        while not postgres.sleeps(database):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            assert driver.pgconn.pipeline_status == 0
            assert driver._pipeline is None
            assert not driver.autocommit
            assert await connection.scalar(sa.select(1)) == 1
            assert status(connection.sync_connection) == "INTRANS"
    assert pool.stats().connects == 1
    await engine.dispose()


async def test_a_pipeline_whose_end_was_cut_off_is_left_when_the_connection_is_made_whole(
    pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(connection: Any, cursor: Any, run: Any) -> None:
        await connection.pipeline().__aenter__()
        raise asyncio.CancelledError

    url = sa.make_url(pg_url).set(drivername="postgresql+psycopg_async")
    engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=1)
    async with engine.connect() as connection:
        with monkeypatch.context() as patched:
            patched.setattr(pipelining, "_execute", cut_off)
            with pytest.raises(asyncio.CancelledError):
                await connection.execute(sa.select(1))
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert driver.pgconn.pipeline_status == 0
        assert driver._pipeline is None
        assert await connection.scalar(sa.select(1)) == 1
    await engine.dispose()
