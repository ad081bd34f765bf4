"""Connections that PostgreSQL closed while they rested: seen without any traffic. And others, which are left alone."""

from __future__ import annotations

import asyncio
import select
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.engine.dialects.server_hangups import hung_up
from respool.pool import PoolObserver
from respool.pool.drivers import monitor
from tests.support.postgres import PostgresServer

PATIENCE = 20.0


class Ear(PoolObserver):
    """Hears what is closed, and why."""

    def __init__(self, number: int) -> None:
        self.reasons: list[str] = []
        self.heard = threading.Event()
        self._number = number

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)
        if len(self.reasons) == self._number:
            self.heard.set()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "LOOK_EVERY", 0.02)


def name_of(url: str) -> str:
    return str(sa.make_url(url).database)


def test_promise_10_killed_connections_leave_the_pool_without_any_traffic(
    pg_url: str, postgres: PostgresServer
) -> None:
    ear = Ear(3)
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=3, pool_observer=ear)
    for connection in [engine.connect() for _ in range(3)]:
        connection.close()
    postgres.terminate_backends(name_of(pg_url))
    assert ear.heard.wait(PATIENCE)
    assert ear.reasons == ["server_closed"] * 3
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_10_the_same_for_asyncio(pg_url: str, postgres: PostgresServer, driver: str) -> None:
    ear = Ear(2)
    url = postgres.url(driver, name_of(pg_url))
    engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=2, pool_observer=ear)
    for connection in [await engine.connect() for _ in range(2)]:
        await connection.close()
    await asyncio.to_thread(postgres.terminate_backends, name_of(pg_url))
    async with asyncio.timeout(PATIENCE):
        while len(ear.reasons) < 2:
            await asyncio.sleep(0.01)
    assert ear.reasons == ["server_closed"] * 2
    await engine.dispose()


def test_a_connection_that_was_told_something_is_kept(pg_url: str) -> None:
    """A notification makes the socket readable, as a goodbye does; but the server is there."""
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=2)
    with engine.connect() as listens, engine.connect() as tells:
        listens.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("LISTEN news")
        tells.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("NOTIFY news")
        driver = listens.connection.driver_connection
        assert select.select([driver], [], [], PATIENCE)[0] == [driver]
        assert hung_up([listens.connection._connection_record, tells.connection._connection_record]) == []
    engine.dispose()


def test_of_some_the_ended_ones_are_found(pg_url: str, postgres: PostgresServer) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=2)
    with engine.connect() as one, engine.connect() as other:
        pid = one.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        records = [one.connection._connection_record, other.connection._connection_record]
        other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        assert hung_up(records) == records[:1]
        one.invalidate()
    engine.dispose()


def test_what_has_no_socket_is_left_alone() -> None:
    engine = sa.create_engine("sqlite://", poolclass=FairPool, max_size=1)
    with engine.connect() as connection:
        assert hung_up([connection.connection._connection_record]) == []
    assert isinstance(engine.pool, FairPool)
    assert engine.pool._monitor.state.look_every == float("inf")
    engine.dispose()
