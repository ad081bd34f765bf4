"""What the metrics say is open is what the proxy before the database counts, whatever was done with the connections."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from respool import AsyncDatabase, Database, PoolConfig
from respool.errors import PoolTimeout
from respool.testing import FaultProxy
from tests.observe.metrics.exporters import Exporters, samples
from tests.servers.serving import until

pytestmark = pytest.mark.postgres

Through = Callable[[str], URL]
Export = Callable[..., Exporters]

_USED = "db_client_connection_use_time_seconds_count"
_WAITED = "db_client_connection_wait_time_seconds_count"
_CREATED = "db_client_connection_create_time_seconds_count"

SETTINGS = PoolConfig(min_size=0, max_size=4, timeout=10)


def equal(exporters: Exporters, proxy: FaultProxy, idle: int, used: int) -> None:
    """So many are open; what is closed goes through the proxy a moment later."""
    assert exporters.connections() == (idle, used)
    until(lambda: proxy.open == idle + used, f"{idle + used} connections are open, and not {proxy.open}")


@pytest.fixture
def db(through: Through) -> Any:
    db = Database(through("psycopg"), name="shop", pool=SETTINGS)
    yield db
    db.close()


def test_normal_use(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    equal(exporters, proxy, 0, 0)
    with db.engine.connect() as one, db.engine.connect() as two:
        one.scalar(text("SELECT 1"))
        two.scalar(text("SELECT 1"))
        equal(exporters, proxy, 0, 2)
        one.close()
        equal(exporters, proxy, 1, 1)
    equal(exporters, proxy, 2, 0)
    assert exporters.value("db_client_connection_use_time_seconds_count") == 2
    assert exporters.value("db_client_connection_wait_time_seconds_count") == 2
    assert exporters.value("db_client_connection_create_time_seconds_count") == len(proxy.accepted) == 2
    assert exporters.value("respool_pool_used_time_seconds_total") == pytest.approx(
        exporters.value("db_client_connection_use_time_seconds_sum")
    )


def test_a_full_pool(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    held = [db.engine.connect() for _ in range(4)]
    asked = threading.Thread(target=lambda: db.engine.connect().close())
    asked.start()
    until(lambda: exporters.value("db_client_connection_pending_requests") == 1, "somebody waits")
    equal(exporters, proxy, 0, 4)
    assert exporters.value("respool_pool_oldest_wait_seconds") > 0
    assert exporters.value("respool_pool_saturated_time_seconds_total") > 0
    held.pop().close()
    asked.join(10)
    db.pool._timeout = 0.01
    held.append(db.engine.connect())
    with pytest.raises(PoolTimeout):
        db.engine.connect()
    assert exporters.value("db_client_connection_timeouts_total") == 1
    assert exporters.value("respool_errors_total", code="P001") == 1
    for each in held:
        each.close()
    equal(exporters, proxy, 4, 0)


def test_detach(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    connection = db.engine.connect()
    connection.detach()
    assert exporters.connections() == (0, 0)  # it is the caller's
    assert proxy.open == 1
    connection.close()
    equal(exporters, proxy, 0, 0)
    assert exporters.value("respool_pool_closes_total", reason="detached") == 1
    assert exporters.value("respool_pool_closes_total", reason="broken") == 0


def test_invalidate(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    with db.engine.connect() as connection:
        connection.invalidate()
        equal(exporters, proxy, 0, 0)
        connection.rollback()
        connection.scalar(text("SELECT 1"))
        equal(exporters, proxy, 0, 1)
    equal(exporters, proxy, 1, 0)
    assert exporters.value("respool_pool_closes_total", reason="broken") == 1
    assert exporters.value("respool_pool_closes_total", reason="detached") == 0


def test_cut_off(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    with db.engine.connect() as connection:
        connection.scalar(text("SELECT 1"))
        proxy.cut()
        with pytest.raises(DBAPIError):
            connection.scalar(text("SELECT 1"))
    equal(exporters, proxy, 0, 0)
    assert exporters.value("respool_pool_closes_total") == 1


def test_a_leak_that_is_collected_as_garbage(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    connection = db.engine.connect()
    connection.scalar(text("SELECT 1"))
    equal(exporters, proxy, 0, 1)
    del connection
    gc.collect()
    equal(exporters, proxy, 1, 0)


def test_disposed_of_with_a_connection_out(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    connection = db.engine.connect()
    connection.scalar(text("SELECT 1"))
    db.engine.dispose()
    equal(exporters, proxy, 0, 1)
    assert exporters.value("db_client_connection_max") == 4  # the old pool hands out nothing more
    with db.engine.connect() as another:
        another.scalar(text("SELECT 1"))
        equal(exporters, proxy, 0, 2)
    equal(exporters, proxy, 1, 1)
    connection.close()
    equal(exporters, proxy, 1, 0)
    for name in ("use", "wait", "create"):
        assert exporters.value(f"db_client_connection_{name}_time_seconds_count") == 2
    assert exporters.value("respool_pool_closes_total", reason="evicted") == 1


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_leak_of_asyncio(through: Through, proxy: FaultProxy, export: Export, driver: str) -> None:
    db = AsyncDatabase(through(driver), name="shop", pool=SETTINGS)
    exporters = export(db)
    connection = await db.engine.connect()
    await connection.scalar(text("SELECT 1"))
    equal(exporters, proxy, 0, 1)
    with pytest.warns(Warning, match="garbage collector"):
        del connection
        gc.collect()
    assert exporters.connections() == (0, 0)
    deadline = time.monotonic() + 10
    while proxy.open and time.monotonic() < deadline:
        gc.collect()
        await asyncio.sleep(0.01)
    equal(exporters, proxy, 0, 0)
    await db.close()


def test_two_event_loops(through: Through, proxy: FaultProxy, export: Export) -> None:
    db = AsyncDatabase(through("asyncpg"), name="shop", pool=SETTINGS)
    exporters = export(db)
    go_on, there = threading.Event(), threading.Semaphore(0)

    async def work() -> None:
        async with db.engine.connect() as connection:
            await connection.scalar(text("SELECT 1"))
            there.release()
            await asyncio.to_thread(go_on.wait, 10)

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert there.acquire(timeout=10)
    equal(exporters, proxy, 0, 2)
    assert exporters.value("db_client_connection_max") == 8  # each loop has its own
    go_on.set()
    for thread in threads:
        thread.join(10)
    equal(exporters, proxy, 0, 0)
    asyncio.run(work())
    equal(exporters, proxy, 0, 0)
    assert exporters.value("db_client_connection_max") == 4
    assert exporters.value("db_client_connection_use_time_seconds_count") == 3
    assert exporters.value("db_client_connection_create_time_seconds_count") == len(proxy.accepted)
    asyncio.run(db.close())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork(db: Database, proxy: FaultProxy, export: Export) -> None:
    exporters = export(db)
    db.engine.connect().close()
    db.engine.dispose()  # what the pool before has counted is the parent's too
    held = db.engine.connect()
    with db.engine.connect() as another:
        another.scalar(text("SELECT 1"))
    equal(exporters, proxy, 1, 1)
    said, (go_on, goes) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(goes)
            mine = Exporters(db)  # OpenTelemetry's own figures are copied by a fork: its provider is made in the child
            found: list[float] = [*mine.connections()]
            for _ in range(3):
                db.engine.connect().close()
            with db.engine.connect() as connection:
                connection.scalar(text("SELECT 1"))
                found += [*mine.connections(), mine.value(_USED), mine.value(_CREATED)]
                copied = samples(exporters.theirs)  # of the parent's provider: what it had, and what is new
                found += [sum(value for (name, _), value in copied.items() if name == _WAITED)]
                os.write(said[1], bytes(map(int, found)))
                os.read(go_on, 1)
        finally:
            os._exit(0)
    os.close(said[1])
    try:
        assert list(os.read(said[0], 7)) == [0, 0, 0, 1, 3, 1, 3 + 4]
        assert proxy.open == sum(exporters.connections()) + 1
    finally:
        os.close(goes)
        os.waitpid(child, 0)
    equal(exporters, proxy, 1, 1)
    held.close()
    equal(exporters, proxy, 2, 0)
    for each in (said[0], go_on):
        os.close(each)


# -- engines with a pool of SQLAlchemy's own --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("kind", [None, NullPool])
def test_a_pool_of_sqlalchemys_own(through: Through, proxy: FaultProxy, export: Export, kind: Any) -> None:
    db = Database(create_engine(through("psycopg"), poolclass=kind), name="shop")
    exporters, rests = export(db), int(kind is None)
    with db.engine.connect() as connection:
        connection.scalar(text("SELECT 1"))
        equal(exporters, proxy, 0, 1)
    equal(exporters, proxy, rests, 0)
    with db.engine.connect() as connection:
        connection.detach()
    equal(exporters, proxy, 0, 0)
    connection = db.engine.connect()
    connection.invalidate()
    equal(exporters, proxy, 0, 0)
    connection.close()
    connection = db.engine.connect()
    equal(exporters, proxy, 0, 1)
    db.engine.dispose()
    equal(exporters, proxy, 0, 1)
    del connection
    gc.collect()
    equal(exporters, proxy, 0, 0)
    if kind is None:
        assert exporters.value("db_client_connection_max") == 15
        assert exporters.value("db_client_connection_idle_max") == 5
    else:
        assert not [name for name, _ in exporters.read() if name.endswith("_max")]
    db.engine.dispose()


async def test_an_async_engine_without_a_pool(through: Through, proxy: FaultProxy, export: Export) -> None:
    db = AsyncDatabase(create_async_engine(through("asyncpg"), poolclass=NullPool), name="shop")
    exporters = export(db)
    async with db.engine.connect() as connection:
        await connection.scalar(text("SELECT 1"))
        equal(exporters, proxy, 0, 1)
    equal(exporters, proxy, 0, 0)
    await db.engine.dispose()
