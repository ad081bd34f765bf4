"""A connection that was lost, or is no good any more, while somebody held it: it does not go back as good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from respool.engine import AsyncFairPool, FairPool

pytestmark = pytest.mark.postgres

PID = sa.text("SELECT pg_backend_pid()")
DRIVERS = ["psycopg", "psycopg2"]


def url_of(pg_url: str, driver: str) -> sa.URL:
    return sa.make_url(pg_url).set(drivername=f"postgresql+{driver}")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("commit", [False, True])
def test_promise_10_a_connection_lost_in_raw_hands_does_not_go_back(
    postgres: Any, pg_url: str, driver: str, commit: bool
) -> None:
    engine = sa.create_engine(url_of(pg_url, driver), poolclass=FairPool, max_size=1, check_after=None)
    pool: Any = engine.pool
    raw: Any = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("SELECT 1")
    cursor.close()
    if commit:
        raw.commit()
    postgres.terminate_backends(sa.make_url(pg_url).database)
    with pytest.raises(engine.dialect.loaded_dbapi.Error):
        raw.cursor().execute("SELECT 1")
    raw.close()
    assert pool.stats().idle == 0
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (id int)"))
    assert pool.stats().connects == 2
    engine.dispose()


async def test_promise_10_nor_in_asyncio(postgres: Any, pg_url: str) -> None:
    engine = create_async_engine(url_of(pg_url, "asyncpg"), poolclass=AsyncFairPool, max_size=1, check_after=None)
    pool: Any = engine.pool
    raw = await engine.raw_connection()
    driver: Any = raw.driver_connection
    await driver.fetchval("SELECT 1")
    await asyncio.to_thread(postgres.terminate_backends, sa.make_url(pg_url).database)
    with pytest.raises(Exception, match=r"terminat|closed|switch to state"):
        await driver.fetchval("SELECT 1")
    await greenlet_spawn(raw.close)
    assert pool.stats().idle == 0
    await engine.dispose()


@pytest.mark.parametrize("driver", DRIVERS)
def test_promise_10_a_server_that_only_reads_costs_its_connection(pg_url: str, driver: str) -> None:
    database = sa.make_url(pg_url).database
    admin = sa.create_engine(pg_url, isolation_level="AUTOCOMMIT")
    engine = sa.create_engine(url_of(pg_url, driver), poolclass=FairPool, max_size=1, check_after=None)
    pool: Any = engine.pool
    with admin.connect() as connection:
        connection.execute(sa.text("CREATE TABLE t (id int)"))
        connection.execute(sa.text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'))
    with engine.connect() as reader:
        reader.scalar(PID)
    with admin.connect() as connection:
        connection.execute(sa.text("SET default_transaction_read_only = off"))
        connection.execute(sa.text(f'ALTER DATABASE "{database}" RESET default_transaction_read_only'))
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), engine.begin() as writer:
        writer.execute(sa.text("INSERT INTO t VALUES (1)"))
    with engine.begin() as writer:
        writer.execute(sa.text("INSERT INTO t VALUES (2)"))
    assert pool.stats().connects == 2
    engine.dispose()
    admin.dispose()


def test_who_asks_for_a_transaction_that_only_reads_keeps_the_connection(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1)
    pool: Any = engine.pool
    with engine.connect() as connection:
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        with pytest.raises(sa.exc.DBAPIError, match="read-only"):
            connection.execute(sa.text("CREATE TABLE t (id int)"))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    assert pool.stats().connects == 1
    engine.dispose()


def test_promise_10_what_a_listener_calls_lost_moves_the_generation(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=3)
    pool: Any = engine.pool

    @sa.event.listens_for(engine, "handle_error")
    def lost(context: Any) -> None:
        if "division by zero" in str(context.original_exception):
            context.is_disconnect = True

    with engine.connect() as connection, engine.connect() as held:
        with engine.connect() as other:
            before = {one.scalar(PID) for one in (connection, held, other)}
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text("SELECT 1/0"))
        assert held.scalar(PID) in before
    with engine.connect() as connection, engine.connect() as held, engine.connect() as other:
        after = {one.scalar(PID) for one in (connection, held, other)}
    assert not before & after
    assert pool.stats().connects == 6
    engine.dispose()
