"""The pool as SQLAlchemy's engines use it."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import plugins
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, QueuePool, SingletonThreadPool

from respool import PoolConfig
from respool.engine import AsyncFairPool, FairPool, build_async_engine, build_engine
from respool.errors import ConfigError, PoolClosed, PoolTimeout

ONE = sa.select(sa.literal(1))


@pytest.fixture(autouse=True)
def forgotten_files_are_closed() -> Iterator[None]:
    """Nobody disposes of these engines: Python 3.13 says so of SQLite's files, in whichever test it finds them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def engine_of(path: str, **settings: object) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{path}", poolclass=FairPool, **settings)


def test_promise_12_settings_are_arguments_of_create_engine(sqlite_file: str) -> None:
    pool = engine_of(sqlite_file, max_size=7, min_size=2, max_idle=5, pool_timeout=3, pool_recycle=60).pool
    assert isinstance(pool, QueuePool)
    assert isinstance(pool, FairPool)
    assert pool.config == PoolConfig(max_size=7, min_size=2, max_idle=5, timeout=3, max_lifetime=60)


def test_promise_12_sqlalchemys_own_arguments_mean_the_same(sqlite_file: str) -> None:
    pool = engine_of(sqlite_file, pool_size=3, max_overflow=4, pool_pre_ping=True).pool
    assert isinstance(pool, FairPool)
    assert pool.config == PoolConfig(max_size=7, check_after=0)
    assert pool.size() == 3


def test_an_unknown_setting_is_refused(sqlite_file: str) -> None:
    with pytest.raises(TypeError, match="max_sise"):
        engine_of(sqlite_file, max_sise=3)
    with pytest.raises(ConfigError, match="max_size"):
        engine_of(sqlite_file, max_size=0)


def test_what_other_code_reads_from_a_queue_pool(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file, max_size=3)
    pool = engine.pool
    assert isinstance(pool, FairPool)
    with engine.connect(), engine.connect():
        assert (pool.checkedout(), pool.checkedin(), pool.overflow()) == (2, 0, -1)
    assert (pool.checkedout(), pool.checkedin(), pool.size(), pool.timeout()) == (0, 2, 3, 30.0)
    assert pool.status() == (
        "Pool size: 3  Connections in pool: 2 Current Overflow: -1 Current Checked out connections: 0"
    )


def test_promise_11_a_timeout_names_the_holder(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file, max_size=1, pool_timeout=0)
    with engine.connect(), pytest.raises(PoolTimeout) as timeout:
        engine.connect()
    assert isinstance(timeout.value, sa.exc.TimeoutError)
    assert timeout.value.facts["acquired"] == 1
    assert "thread MainThread, now at" in str(timeout.value)
    assert "test_pools.py" in str(timeout.value)


def test_close_refuses_and_dispose_begins_anew(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file)
    pool = engine.pool
    assert isinstance(pool, FairPool)
    with engine.connect():
        engine.dispose()
        assert engine.pool is not pool
        with engine.connect() as second:
            assert second.scalar(ONE) == 1
    assert pool.stats().total == 0, "what was held during dispose() is closed when it comes back"
    assert engine.pool.stats().idle == 1  # type: ignore[attr-defined]
    engine.pool.close(timeout=1)  # type: ignore[attr-defined]
    with pytest.raises(PoolClosed):
        engine.connect()


def test_a_disposed_pool_keeps_nothing_open(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file, min_size=2, max_size=3)
    before = engine.pool
    assert isinstance(before, FairPool)
    with engine.connect():
        assert before.stats().total >= 2
    engine.dispose()
    assert before.stats().total == 0
    assert engine.pool.stats().total == 0, "the new one opens its own when it is used"  # type: ignore[attr-defined]
    with engine.connect():
        assert engine.pool.stats().total >= 2  # type: ignore[attr-defined]


def test_record_info_survives_the_connection(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file, max_size=1)
    with engine.connect() as first:
        assert first.connection.record_info is not None
        first.connection.record_info["mark"] = 1
        first.invalidate()
    with engine.connect() as second:
        assert second.connection.record_info == {"mark": 1}


def test_a_connection_that_nobody_gave_back_is_taken_back(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file, max_size=1, pool_timeout=0)
    connection = engine.raw_connection()
    del connection
    with engine.connect() as again:
        assert again.scalar(ONE) == 1


def test_a_checkout_listener_may_refuse_a_connection(sqlite_file: str) -> None:
    engine = engine_of(sqlite_file)
    with engine.connect() as connection:
        refused = connection.connection.dbapi_connection

    @sa.event.listens_for(engine, "checkout")
    def refuse(dbapi_connection: object, record: object, proxy: object) -> None:
        if dbapi_connection is refused:
            raise sa.exc.DisconnectionError("not this one")

    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is not refused


def test_a_database_in_memory_is_one_for_all_threads() -> None:
    engine = build_engine("sqlite://", pool=PoolConfig())
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")

    def insert() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")

    thread = threading.Thread(target=insert)
    thread.start()
    thread.join()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM t")) == 1
    engine.dispose()


async def test_the_async_engine(sqlite_file: str) -> None:
    engine = build_async_engine(f"sqlite+aiosqlite:///{sqlite_file}", pool=PoolConfig(max_size=2), name="shop")
    pool = engine.pool
    assert isinstance(pool, AsyncFairPool)
    assert isinstance(pool, AsyncAdaptedQueuePool)
    async with engine.connect() as connection:
        assert await connection.scalar(ONE) == 1
        assert (pool.stats().name, pool.stats().acquired) == ("shop", 1)
        rows = pool.snapshot().connections
        assert [(row.state, row.uses) for row in rows] == [("acquired", 1)]
        assert "test_pools.py" in str(rows[0].place)
    await pool.aclose()
    assert pool.stats().total == 0
    with pytest.raises(PoolClosed):
        await engine.connect()


class TestPlugin:
    """``?plugin=respool``: registered as the entry point does it."""

    @pytest.fixture(autouse=True)
    def _registered(self) -> None:
        plugins.register("respool", "respool.engine.plugin", "RespoolPlugin")

    def test_promise_12_the_pool_by_url(self, sqlite_file: str) -> None:
        engine = sa.create_engine(f"sqlite:///{sqlite_file}?plugin=respool&respool_max_size=7&respool_max_idle=none")
        assert isinstance(engine.pool, FairPool)
        assert engine.pool.config == PoolConfig(max_size=7, max_idle=None)
        assert "respool" not in str(engine.url)
        with engine.connect() as connection:
            assert connection.scalar(ONE) == 1

    def test_an_async_engine_gets_the_async_pool(self, sqlite_file: str) -> None:
        assert isinstance(create_async_engine(f"sqlite+aiosqlite:///{sqlite_file}?plugin=respool").pool, AsyncFairPool)

    def test_another_choice_of_pool_stays(self, sqlite_file: str) -> None:
        url = f"sqlite:///{sqlite_file}?plugin=respool"
        assert isinstance(sa.create_engine(url, poolclass=NullPool).pool, NullPool)
        assert isinstance(sa.create_engine("sqlite://?plugin=respool").pool, SingletonThreadPool)

    def test_an_unknown_setting_in_the_url_is_refused(self, sqlite_file: str) -> None:
        with pytest.raises(ConfigError, match="did you mean 'max_size'"):
            sa.create_engine(f"sqlite:///{sqlite_file}?plugin=respool&respool_max_sise=7")
