"""Connections that the server closed: found before anything is done on them, and replaced unnoticed."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.engine.dialects.signs import has_something_to_say
from tests.support.postgres import PostgresServer

ONE = sa.select(sa.literal(1))


def name_of(url: str) -> str:
    return str(sa.make_url(url).database)


@pytest.fixture
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing shows before the first statement that the connection is dead."""
    monkeypatch.setattr("respool.engine.pools.staleness.has_something_to_say", lambda connection: False)
    monkeypatch.setattr("respool.engine.pools.connectors.hung_up", lambda records: [])


def killed(engine: sa.Engine, postgres: PostgresServer, size: int) -> FairPool:
    """The engine's pool, with this many idle connections that the server has closed."""
    for connection in [engine.connect() for _ in range(size)]:
        connection.close()
    assert postgres.terminate_backends(name_of(str(engine.url))) >= size
    pool = engine.pool
    assert isinstance(pool, FairPool)
    return pool


def test_promise_10_killed_idle_connections_fail_nobody(pg_url: str, postgres: PostgresServer) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=5)
    killed(engine, postgres, 5)
    for _ in range(10):
        with engine.begin() as connection:
            assert connection.scalar(ONE) == 1
    engine.dispose()


def test_promise_10_a_first_write_finds_a_live_connection(
    pg_url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respool.engine.pools.fair.REST", 0.0)
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=3, check_after=None)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
    killed(engine, postgres, 3)
    for _ in range(3):
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO t VALUES (1)"))
    engine.dispose()


def test_promise_10_a_first_read_is_run_again(pg_url: str, postgres: PostgresServer, unwarned: None) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=5, check_after=None)
    pool = killed(engine, postgres, 3)
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
        assert connection.scalar(sa.text("SELECT 2")) == 2
    assert pool.stats().acquired == 0
    engine.dispose()


def test_promise_10_one_dead_connection_costs_one(pg_url: str, postgres: PostgresServer, unwarned: None) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=5, check_after=None)
    held = [engine.connect() for _ in range(5)]
    pid = held[-1].scalar(sa.text("SELECT pg_backend_pid()"))
    held[0].execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    for connection in held:
        connection.close()
    assert isinstance(engine.pool, FairPool)
    for _ in range(10):
        with engine.connect() as connection:
            assert connection.scalar(ONE) == 1
    assert engine.pool.stats().connects == 5
    engine.dispose()


@pytest.mark.parametrize("statement", ["INSERT INTO t VALUES (1)", "SELECT 1 FROM t FOR UPDATE", "UPDATE t SET x = 1"])
def test_a_first_write_is_not_run_again(pg_url: str, postgres: PostgresServer, unwarned: None, statement: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1, check_after=None)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
    killed(engine, postgres, 1)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as lost:
        connection.execute(sa.text(statement))
    assert lost.value.connection_invalidated
    engine.dispose()


def test_a_later_read_is_not_run_again(pg_url: str, postgres: PostgresServer, unwarned: None) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1)
    with engine.connect() as connection:
        connection.execute(ONE)
        postgres.terminate_backends(name_of(pg_url))
        with pytest.raises(sa.exc.DBAPIError) as lost:
            connection.execute(ONE)
    assert lost.value.connection_invalidated
    engine.dispose()


def test_a_read_with_options_set_on_its_connection_is_not_run_again(
    pg_url: str, postgres: PostgresServer, unwarned: None
) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1, check_after=None)
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        postgres.terminate_backends(name_of(pg_url))
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(ONE)
    engine.dispose()


def test_a_rollback_on_a_lost_connection_bothers_nobody(pg_url: str, postgres: PostgresServer) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1)
    with engine.connect() as connection:
        connection.execute(ONE)
        postgres.terminate_backends(name_of(pg_url))
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_10_the_same_for_asyncio(pg_url: str, postgres: PostgresServer, driver: str) -> None:
    engine = create_async_engine(postgres.url(driver, name_of(pg_url)), poolclass=AsyncFairPool, max_size=3)
    for connection in [await engine.connect() for _ in range(3)]:
        await connection.close()
    postgres.terminate_backends(name_of(pg_url))
    for _ in range(6):
        async with engine.begin() as connection:
            assert await connection.scalar(ONE) == 1
    async with engine.connect() as connection:
        await connection.execute(ONE)
        postgres.terminate_backends(name_of(pg_url))
    assert isinstance(engine.pool, AsyncFairPool)
    async with engine.connect() as connection:
        assert await connection.scalar(ONE) == 1
    assert engine.pool.stats().acquired == 0
    await engine.dispose()


def test_what_cannot_be_asked_is_not_dead() -> None:
    assert not has_something_to_say(object())


def test_promise_07_an_interrupted_look_leaks_nothing(sqlite_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pool: object, record: object) -> None:
        raise KeyboardInterrupt

    engine = sa.create_engine(f"sqlite:///{sqlite_file}", poolclass=FairPool, max_size=1)
    engine.connect().close()
    monkeypatch.setattr("respool.engine.pools.fair.REST", -1.0)
    monkeypatch.setattr("respool.engine.pools.staleness.has_something_to_say", lambda connection: True)
    monkeypatch.setattr("respool.engine.pools.staleness.ping", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.connect()
    assert isinstance(engine.pool, FairPool)
    assert engine.pool.stats().total == 0
    engine.dispose()
