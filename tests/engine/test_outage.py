"""The database goes away and comes back: callers wait, few connects are tried, and all are served."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.engine.outage import is_outage
from respool.errors import PoolTimeout
from respool.pool import PoolObserver
from tests.support.postgres import PostgresServer

ONE = sa.select(sa.literal(1))


class Failures(PoolObserver):
    """Sets an event at the first failed connect."""

    def __init__(self) -> None:
        self.first = threading.Event()

    def connect_failed(self, error: BaseException) -> None:
        self.first.set()


def test_promise_10_callers_wait_through_an_outage(pg_url: str, postgres: PostgresServer) -> None:
    failures = Failures()
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=5, pool_observer=failures)
    answers: list[Any] = []

    def read() -> None:
        with engine.connect() as connection:
            answers.append(connection.scalar(ONE))

    read()
    postgres.stop()
    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert failures.first.wait(30)
    assert engine.pool.stats().database_away  # type: ignore[attr-defined]
    postgres.start()
    for thread in threads:
        thread.join()
    assert answers == [1] * 21
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_10_tasks_wait_through_an_outage(pg_url: str, postgres: PostgresServer, driver: str) -> None:
    failures = Failures()
    url = postgres.url(driver, str(sa.make_url(pg_url).database))
    engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=5, pool_observer=failures)

    async def read() -> Any:
        async with engine.connect() as connection:
            return await connection.scalar(ONE)

    assert await read() == 1
    await asyncio.to_thread(postgres.stop)
    tasks = [asyncio.create_task(read()) for _ in range(20)]
    assert await asyncio.to_thread(failures.first.wait, 30)
    await asyncio.to_thread(postgres.start)
    assert await asyncio.gather(*tasks) == [1] * 20
    await engine.dispose()


def test_promise_11_a_timeout_in_an_outage_has_the_connect_error_as_cause(postgres: PostgresServer) -> None:
    url = sa.make_url(postgres.url()).set(port=1)
    engine = sa.create_engine(url, poolclass=FairPool, pool_timeout=0.2)
    with pytest.raises(PoolTimeout) as timeout:
        engine.connect()
    assert isinstance(timeout.value.__cause__, engine.dialect.loaded_dbapi.OperationalError)
    assert timeout.value.facts["database_away"]
    engine.dispose()


def test_a_database_that_says_no_is_not_waited_for(postgres: PostgresServer) -> None:
    engine = sa.create_engine(postgres.url(database="nowhere"), poolclass=FairPool)
    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        engine.connect()
    engine.dispose()


class _PostgresError(Exception):
    sqlstate = "57P03"


class _Dialect:
    name = "mysql"

    class dbapi:
        class OperationalError(Exception): ...

        class InterfaceError(Exception): ...


@pytest.mark.parametrize(
    "error, away",
    [
        (_PostgresError(), True),
        (ConnectionRefusedError(), True),
        (_Dialect.dbapi.OperationalError(2003, "can't connect"), True),
        (_Dialect.dbapi.OperationalError(1045, "access denied"), False),
        (ValueError("a bug"), False),
    ],
    ids=repr,
)
def test_what_counts_as_away(error: Exception, away: bool) -> None:
    assert is_outage(_Dialect, error) is away
