"""``with db.override(…)``: what follows it, in which order it is left, and who closes what."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from respool import AsyncDatabase, Database, PoolConfig
from respool.engine import FairPool
from respool.errors import ConfigError
from respool.testing import rolled_back
from tests.testing.models import Product, create, numbers, numbers_async, put, put_async


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The URL of another database, with the table."""
    url = f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    engine = create_engine(url)
    with engine.begin() as connection:
        create(connection)
    engine.dispose()
    return url


def test_all_of_a_database_follows_a_url_and_is_restored(shop: Database, other: str) -> None:
    put(shop, 1)
    engine, pool, nesting = shop.engine, shop.pool, shop.nesting

    @shop.job()
    def job() -> list[int]:
        return numbers(shop)

    with shop.override(other) as db:
        assert db is shop
        put(shop, 2)
        assert shop.engine is not engine
        assert shop.pool is shop.engine.pool
        found: list[Any] = [job()]
        thread = threading.Thread(target=lambda: found.append(numbers(shop)))
        thread.start()
        thread.join()
        assert found == [[2], [2]]
        inside = shop.engine
    assert (shop.engine, shop.pool, shop.nesting) == (engine, pool, nesting)
    assert numbers(shop) == [1]
    assert inside.pool.stats().closed


def test_an_engine_of_the_users_stays_open(shop: Database, other: str) -> None:
    engine = create_engine(other, poolclass=FairPool)
    with shop.override(engine):
        put(shop, 2)
        shop.close()
        shop.reopen()
        assert numbers(shop) == [2]
    assert not engine.pool.stats().closed  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert list(connection.scalars(text("SELECT id FROM product"))) == [2]
    engine.dispose()


def test_a_connection_of_the_users_stays_open_and_its_transaction_is_his(shop: Database) -> None:
    with shop.engine.connect() as connection:
        with shop.override(connection):
            put(shop, 1)
        assert not connection.in_transaction()
        with connection.begin():
            connection.execute(text("INSERT INTO product (id, stock) VALUES (2, 0)"))
            with shop.override(connection):
                put(shop, 3)
                assert numbers(shop) == [2, 3]
            assert list(connection.scalars(text("SELECT id FROM product"))) == [2]
        assert numbers(shop) == [2]


def test_one_connection_within_another(shop: Database) -> None:
    with rolled_back(shop):
        put(shop, 1)
    engine = shop.engine
    other = Database(engine, name="other")
    with rolled_back(other):
        assert numbers(other) == []
        with engine.connect() as connection, shop.override(connection):
            assert numbers(shop) == []
        assert numbers(other) == []
    assert numbers(shop) == []


def test_blocks_are_nested_and_may_be_left_in_any_order(shop: Database, other: str) -> None:
    engine = shop.engine
    outer, inner = shop.override(other), shop.override("sqlite://")
    with outer:
        first = shop.engine
        with inner:
            assert shop.engine.url.database is None
        assert shop.engine is first
    outer.__enter__()
    inner.__enter__()
    second = shop.engine
    outer.__exit__(None, None, None)
    assert shop.engine is second
    inner.__exit__(None, None, None)
    assert shop.engine is engine


def test_a_block_is_entered_once_at_a_time(shop: Database, other: str) -> None:
    override = shop.override(other)
    with override, pytest.raises(ConfigError, match="entered twice"):
        override.__enter__()
    with override:
        pass


def test_a_session_that_is_open_keeps_what_it_has(shop: Database, other: str) -> None:
    with shop.scope("before") as session, shop.override(other):
        session.add(Product(id=1))
        session.commit()
    assert numbers(shop) == [1]


def test_a_closed_database_is_open_inside(shop: Database, other: str) -> None:
    shop.close()
    with shop.override(other):
        put(shop, 1)
        shop.close()
    put(shop, 2)
    assert numbers(shop) == [2]


def test_the_settings_and_the_listeners_go_along_where_the_driver_is_the_same(sqlite_file: str, other: str) -> None:
    db = Database(
        f"sqlite:///{sqlite_file}",
        pool=PoolConfig(max_size=3),
        engine_options={"execution_options": {"of": "the shop"}},
    )
    heard: list[str] = []

    @event.listens_for(db.engine, "connect")
    def connected(raw: Any, record: Any) -> None:
        raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(db.engine, "before_cursor_execute", retval=True)
    def counted(conn: Any, cursor: Any, sql: str, *rest: Any) -> Any:
        heard.append(sql)
        return sql + " -- counted", rest[0]

    with db.override(other), db.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert heard == ["PRAGMA foreign_keys"]
        assert connection.get_execution_options()["of"] == "the shop"
        assert db.pool.config.max_size == 3
    with db.override("sqlite://"):
        assert db.pool.config.max_size == 1
    db.close()


@pytest.mark.parametrize("target", [1, None, "async engine", "async url"])
def test_what_is_no_database_of_its_kind_is_refused(shop: Database, target: Any) -> None:
    if target == "async engine":
        target = create_async_engine("sqlite+aiosqlite://")
    elif target == "async url":
        target = "sqlite+aiosqlite://"
    engine = shop.engine
    with pytest.raises(ConfigError), shop.override(target):
        pass
    assert shop.engine is engine
    assert not shop.overrides


async def test_an_async_database_follows_too(sqlite_file: str, other: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}")
    async with db.engine.begin() as connection:
        await connection.run_sync(create)
    async with db.override(other.replace("sqlite:", "sqlite+aiosqlite:")):
        await put_async(db, 1)
        pool = db.pool
    assert pool.stats().total == 0
    assert await numbers_async(db) == []
    engine = create_async_engine(other.replace("sqlite:", "sqlite+aiosqlite:"))
    with db.override(engine):
        assert await numbers_async(db) == [1]
    await engine.dispose()
    with pytest.raises(ConfigError, match="AsyncDatabase 'default' got a"), db.override(create_engine("sqlite://")):
        pass
    await db.close()


def test_a_plain_with_is_enough_where_nothing_is_awaited(sqlite_file: str, other: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}")
    with db.override(other.replace("sqlite:", "sqlite+aiosqlite:")):
        asyncio.run(put_async(db, 1))
        assert asyncio.run(numbers_async(db)) == [1]
