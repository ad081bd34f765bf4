"""Databases: what they accept, their names, their settings from the environment, and their end."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import respool
from respool import AsyncDatabase, Database, PoolConfig, Session
from respool.errors import ConfigError, PoolClosed, RespoolError
from tests.session.shop import Product, opened, opened_async

URL = "sqlite:///:memory:"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _names_are_free() -> Iterator[None]:
    yield
    gc.collect()


@pytest.mark.parametrize(
    "keywords, told",
    [
        ({"nmae": "x"}, "unknown keyword 'nmae', did you mean 'name'?"),
        ({"max_sise": 3}, "unknown keyword 'max_sise', did you mean 'max_size'?"),
        ({"name": ""}, "name='' is not accepted"),
        ({"commit": "on_sucess"}, "did you mean 'on_success'?"),
        ({"commit": None}, "commit=None is not accepted"),
        ({"begin": "on_wrte"}, "did you mean 'on_write'?"),
    ],
)
def test_what_is_not_accepted(keywords: dict[str, Any], told: str) -> None:
    for kind, url in ((Database, URL), (AsyncDatabase, "sqlite+aiosqlite:///:memory:")):
        with pytest.raises(ConfigError) as refused:
            kind(url, **keywords)
        assert told in str(refused.value)


@pytest.mark.parametrize("url", [3, None, "not a url", "sqlite+aiosqlite:///:memory:"])
def test_what_is_no_url_for_a_database(url: Any) -> None:
    with pytest.raises(ConfigError):
        Database(url)


@pytest.mark.parametrize("url", [3, None, "not a url", URL])
def test_what_is_no_url_for_an_async_database(url: Any) -> None:
    with pytest.raises(ConfigError):
        AsyncDatabase(url)


async def test_engines_of_the_other_kind_are_sent_there() -> None:
    engine = create_async_engine("sqlite+aiosqlite:///:memory:")
    for wrong in (engine, engine.sync_engine):
        with pytest.raises(ConfigError, match="AsyncDatabase, which is made for it"):
            Database(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="or use Database, which is made for it"):
        AsyncDatabase(create_engine(URL))  # type: ignore[arg-type]


def test_an_existing_engine_keeps_its_pool(shop_url: str) -> None:
    engine = create_engine(shop_url, poolclass=NullPool)
    db = Database(engine)
    assert db.engine is engine
    assert db.pool is engine.pool
    with db.scope("job") as session:
        assert session.get_one(Product, 1).name == "tea"
    db.close()
    for keywords in ({"pool": PoolConfig()}, {"engine_options": {"echo": True}}):
        with pytest.raises(ConfigError, match="together with an existing engine"):
            Database(engine, **keywords)  # type: ignore[arg-type]


async def test_an_existing_async_engine_keeps_its_pool(async_shop_url: str) -> None:
    engine = create_async_engine(async_shop_url, poolclass=NullPool)
    db = AsyncDatabase(engine)
    async with db.scope("job") as session:
        assert (await session.get_one(Product, 1)).name == "tea"
    await db.close()


def test_settings_reach_the_pool_and_the_engine(shop_url: str) -> None:
    with opened(shop_url, name="shop", pool=PoolConfig(max_size=2), engine_options={"logging_name": "x"}) as db:
        assert (db.name, db.pool.stats().name, db.pool.stats().max_size) == ("shop", "shop", 2)
        assert db.engine.logging_name == "x"


def test_two_open_databases_do_not_have_one_name() -> None:
    first = Database(URL)
    with pytest.raises(ConfigError, match="two databases of one name: 'default'") as refused:
        Database(URL)
    assert "sqlite" in str(refused.value)
    second = Database(URL, name="second")
    first.close()
    third = Database(URL)
    second.close()
    third.close()


def test_a_database_that_is_gone_gives_its_name_back() -> None:
    first = Database(URL)
    del first
    gc.collect()
    Database(URL).close()


def test_a_closed_database_opens_no_session(shop_url: str) -> None:
    with opened(shop_url) as db:
        with db.scope("before") as session:
            session.get(Product, 1)
        db.close()
        db.close()
        assert db.closed
        assert "closed" in repr(db)
        assert db.pool.stats().total == 0
        with pytest.raises(PoolClosed, match="database 'default' is closed"):
            with db.scope("after"):
                pytest.fail("must not come here")


async def test_a_closed_async_database_opens_no_session(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("before") as session:
            await session.get(Product, 1)
        await db.close()
        await db.close()
        assert db.pool.stats().total == 0
        with pytest.raises(PoolClosed):
            async with db.scope("after"):
                pytest.fail("must not come here")


def test_a_dependency_has_no_parameters_and_names_what_it_returns() -> None:
    import inspect

    db = Database(URL)
    signature = inspect.signature(db.current_session, eval_str=True)
    assert list(signature.parameters) == []
    assert signature.return_annotation is Session
    db.close()


# -- the environment --------------------------------------------------------------------------------------------------


def test_from_the_environment() -> None:
    environ = {"RESPOOL_URL": URL, "RESPOOL_COMMIT": "on_success", "RESPOOL_MAX_IDLE": "none", "OTHER": "x"}
    db = Database.from_env(environ=environ)
    assert (db.commit_policy, db.pool.config.max_idle, db.name) == ("on_success", None, "default")
    db.close()
    other = Database.from_env("SHOP_", {"SHOP_URL": URL, "SHOP_TIMEOUT": "3", "RESPOOL_NONSENSE": "1"}, name="shop")
    assert (other.name, other.pool.config.timeout, other.commit_policy) == ("shop", 3.0, "manual")
    other.close()


def test_from_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPOOL_URL", "sqlite+aiosqlite:///:memory:")
    assert "aiosqlite" in repr(AsyncDatabase.from_env())


@pytest.mark.parametrize(
    "environ, told",
    [
        ({}, "RESPOOL_URL is not set"),
        ({"RESPOOL_URL": ""}, "RESPOOL_URL is not set"),
        ({"RESPOOL_URL": URL, "RESPOOL_MAX_SISE": "3"}, "did you mean 'RESPOOL_MAX_SIZE'?"),
        ({"RESPOOL_URL": URL, "RESPOOL_MAX_SIZE": "many"}, "RESPOOL_MAX_SIZE='many' is not a number"),
        ({"RESPOOL_URL": URL, "RESPOOL_COMMIT": "always"}, "commit='always' is not accepted"),
    ],
)
def test_what_is_not_accepted_in_the_environment(environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Database.from_env(environ=environ)
    assert told in str(refused.value)


# -- passwords --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, driver", [(Database, "psycopg"), (AsyncDatabase, "asyncpg")])
def test_no_password_is_shown(kind: Any, driver: str) -> None:
    url = f"postgresql+{driver}://shop:{SECRET}@localhost/shop?password={SECRET}"
    db = kind(url)
    shown = [repr(db), repr(db.engine), repr(db.scopes())]
    for wrong in ({"begin": "on_write"}, {"pool": 3}, {}):
        with pytest.raises(RespoolError) as refused:
            kind(url, **wrong)
        shown += [str(refused.value), repr(refused.value.facts)]
    with pytest.raises(RespoolError) as no_scope:
        db.session
    shown.append(str(no_scope.value))
    assert not [text for text in shown if SECRET in text and not text.startswith("Engine(")]
    assert "shop:***@localhost" in repr(db)


# -- without greenlet -------------------------------------------------------------------------------------------------

WITHOUT_GREENLET = """
import sys
sys.modules["greenlet"] = None
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *args: None if name == "greenlet" else find(name, *args))
import respool
from respool import AsyncDatabase, Database
with Database("sqlite:///:memory:").scope("job") as session:
    print(session.connection().exec_driver_sql("SELECT 42").scalar())
try:
    AsyncDatabase("sqlite+aiosqlite:///:memory:", name="other")
except respool.errors.ConfigError as error:
    print(error)
"""


def test_all_but_asyncio_works_without_greenlet() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_GREENLET], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("42\n")
    assert 'pip install "respool[asyncio]"' in done.stdout


async def test_what_a_dependency_returns_can_be_resolved() -> None:
    async with opened_async("sqlite+aiosqlite:///:memory:", pool=None) as db:
        assert get_type_hints(db.current_session)["return"] is respool.AsyncSession
    with opened("sqlite:///:memory:", pool=None) as sync_db:
        assert get_type_hints(sync_db.current_session)["return"] is respool.Session


def test_the_public_names() -> None:
    assert sorted(respool.__all__) == respool.__all__
    assert respool.AsyncSession.__name__ == "AsyncSession"
    assert all(hasattr(respool, name) for name in respool.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        respool.Sesion
