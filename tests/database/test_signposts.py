"""What those who come from elsewhere write first, and what they are told."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import pytest

from respool import AsyncDatabase, Database
from respool.errors import ConfigError
from tests.session.shop import Order, Product, count, opened, opened_async

URL = "sqlite://"
ASYNC_URL = "sqlite+aiosqlite://"

NAMES = {
    "Model": "class Base(DeclarativeBase): pass",
    "Base": "class Base(DeclarativeBase): pass",
    "Column": "from sqlalchemy import Column",
    "Integer": "from sqlalchemy import Integer",
    "ForeignKey": "from sqlalchemy import ForeignKey",
    "select": "from sqlalchemy import select",
    "relationship": "from sqlalchemy.orm import relationship",
    "backref": "from sqlalchemy.orm import backref",
    "mapped_column": "from sqlalchemy.orm import mapped_column",
    "create_all": "Base.metadata.create_all",
    "drop_all": "Base.metadata.drop_all",
    "metadata": "Base.metadata",
    "init_app": "install(app, db)",
    "get_or_404": "abort(404)",
    "paginate": ".limit(",
    "query": "db.session.query",
    "add": "db.session.add",
    "execute": "db.session.execute",
    "commit": "db.session.commit",
    "rollback": "db.session.rollback",
    "begin": "db.session.begin",
    "connect": "db.engine.connect",
    "dispose": "db.close()",
    "sessionmaker": "the session in force is db.session",
    "Session": "the session in force is db.session",
    "get_db": "Depends(db.current_session)",
    "get_session": "Depends(db.current_session)",
    "session_scope": 'db.scope("job")',
    "sessions": "did you mean 'session'?",
    "engin": "did you mean 'engine'?",
}


@pytest.mark.parametrize("name, told", NAMES.items())
def test_a_name_that_is_elsewhere(name: str, told: str) -> None:
    db = Database(URL)
    with pytest.raises(AttributeError) as missing:
        getattr(db, name)
    assert isinstance(missing.value, ConfigError)
    assert told in str(missing.value)
    assert not hasattr(db, name)
    assert getattr(db, name, None) is None
    db.close()


async def test_an_async_database_says_what_is_awaited() -> None:
    db = AsyncDatabase(ASYNC_URL)
    for name, told in {
        "execute": "await db.session.execute(…)",
        "add": " db.session.add(…)",
        "create_all": "await c.run_sync(Base.metadata.create_all)",
        "dispose": "await db.close()",
        "session_scope": 'async with db.scope("job") as session',
    }.items():
        with pytest.raises(AttributeError) as missing:
            getattr(db, name)
        assert told in str(missing.value)
    await db.close()


def test_a_name_that_nobody_has_is_answered_by_those_that_there_are() -> None:
    db = Database(URL)
    with pytest.raises(AttributeError) as missing:
        db.banana  # type: ignore[attr-defined]
    assert "did you mean" not in str(missing.value)
    assert "it has: session, current_session, scope" in str(missing.value)
    with pytest.raises(AttributeError) as private:
        db._banana  # type: ignore[attr-defined]
    assert not isinstance(private.value, ConfigError)
    db.close()


def test_what_looks_an_object_over_finds_nothing_new() -> None:
    db = Database(URL)
    assert not isinstance(db, AbstractContextManager | AbstractAsyncContextManager)
    assert isinstance(db.scope("job"), AbstractContextManager)
    assert not isinstance(db.scope("job"), AbstractAsyncContextManager)
    assert not hasattr(db.scope("job"), "__aenter__")
    assert not hasattr(db, "__enter__")
    assert not hasattr(Database, "__enter__")
    db.close()


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_is_sent_to_another_process_is_not_the_database(send: Callable[[object], object]) -> None:
    db = Database(URL)
    with pytest.raises(ConfigError, match="cannot be pickled or copied") as told:
        send({"db": db} if send is not copy.copy else db)
    assert isinstance(told.value, TypeError)
    assert "give the other process its URL" in str(told.value)
    db.close()


BLOCKS: dict[str, Callable[[Any, Any], Any]] = {
    "db.scope()": lambda db, session: db.scope("job"),
    "db.released()": lambda db, session: db.released(),
    "session.unit()": lambda db, session: session.unit(),
    "session.fork()": lambda db, session: session.fork(),
}


@pytest.mark.parametrize("block", BLOCKS)
async def test_async_with_for_with(shop_url: str, block: str) -> None:
    with opened(shop_url) as db, db.scope("around") as session:
        with pytest.raises(ConfigError, match=r"async with where with is expected, at .*test_signposts\.py:\d+"):
            async with BLOCKS[block](db, session):
                pytest.fail("must not come here")


@pytest.mark.parametrize("block", BLOCKS)
async def test_with_for_async_with(async_shop_url: str, block: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("around") as session:
        with pytest.raises(ConfigError, match=r"with where async with is expected, at .*test_signposts\.py:\d+"):
            with BLOCKS[block](db, session):
                pytest.fail("must not come here")


async def test_read_only_is_a_plain_with_of_either(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("around") as session:
        with session.read_only():
            assert await session.get(Product, 1)
        with pytest.raises(ConfigError, match="with is expected"):
            async with session.read_only():  # type: ignore[attr-defined]
                pytest.fail("must not come here")


async def test_a_database_is_no_block() -> None:
    db, adb = Database(URL), AsyncDatabase(ASYNC_URL, name="other")
    with pytest.raises(ConfigError, match="no block by itself") as refused:
        with db:  # type: ignore[attr-defined]
            pytest.fail("must not come here")
    assert 'with db.scope("job") as session' in str(refused.value)
    with pytest.raises(ConfigError, match="no block by itself") as refused:
        async with adb:  # type: ignore[attr-defined]
            pytest.fail("must not come here")
    assert 'async with db.scope("job") as session' in str(refused.value)
    await adb.close()
    db.close()


async def test_a_block_that_nobody_has_entered(shop_url: str) -> None:
    with opened(shop_url) as db:
        with pytest.raises(AttributeError, match="'execute' was asked of a block that nobody has entered"):
            db.scope("job").execute("SELECT 1")  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match=r"@db\.job\(\"nightly\"\)"):
            db.scope("nightly")(print)  # type: ignore[operator]


def test_work_that_nobody_would_await_is_not_committed(shop_url: str) -> None:
    async def order(session: Any) -> None:
        session.add(Order(product_id=1))

    with opened(shop_url, commit="on_success") as db:
        with pytest.raises(ConfigError, match=r"run\(\) of a Database was given the coroutine function .*order"):
            db.run(order)
        with db.scope("around"), pytest.raises(ConfigError, match=r"gather\(\) of a Database"):
            db.gather(order)
    assert count(shop_url) == 0


async def test_work_that_nobody_can_await(async_shop_url: str, shop_url: str) -> None:
    def order(session: Any) -> None:
        session.add(Order(product_id=1))

    async with opened_async(async_shop_url, commit="on_success") as db:
        with pytest.raises(ConfigError, match=r"run\(\) of an AsyncDatabase was given .*order, which is no coroutine"):
            await db.run(order)  # type: ignore[arg-type]
        async with db.scope("around"):
            with pytest.raises(ConfigError, match=r"gather\(\) of an AsyncDatabase"):
                await db.gather(order)  # type: ignore[arg-type]
    assert count(shop_url) == 0
