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
        ({"colour": 1}, "unknown keyword 'colour'\n"),
        ({"timezone": "UTC"}, "unknown keyword 'timezone'\n"),
        ({"pool_size": 3, "max_overflow": 1}, "it is a setting of the pool: pool=PoolConfig(max_size=4)"),
        ({"max_size": 3}, "it is a setting of the pool: pool=PoolConfig(max_size=3)"),
        ({"pool_pre_ping": True}, "pool=PoolConfig(check_after=0.0)"),
        ({"echo": True}, 'it is an argument of create_engine: engine_options={"echo": True}'),
        ({"autoflush": False}, 'it is an option of its sessions: session_options={"autoflush": False}'),
        ({"pool": {"max_size": 3}}, "write pool=PoolConfig(max_size=3)"),
        (
            {"pool": {"pool_size": 3, "max_overflow": 0, "pool_recycle": -1}},
            "PoolConfig(max_size=3, max_lifetime=None)",
        ),
        ({"pool": {"max_sise": 3}}, "unknown pool setting 'max_sise', did you mean 'max_size'?"),
        ({"pool": {"colour": 3}}, "unknown pool setting 'colour'\n"),
        ({"pool": 5}, "pool=5 is not accepted"),
        ({"pool": PoolConfig}, "write the settings: pool=PoolConfig(max_size=20)"),
        ({"pool": NullPool}, "is given in place of the URL: Database(engine)"),
        ({"engine_options": ["echo"]}, "engine_options=['echo'] is not accepted"),
        ({"engine_options": {"ecko": True}}, "unknown argument 'ecko' in engine_options, did you mean 'echo'?"),
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


def test_a_name_may_be_used_by_as_many_databases_as_there_are_applications() -> None:
    first, second = Database(URL), Database(URL)
    assert first.name == second.name == "default"
    with first.scope("one"):
        pass
    with second.scope("other"):
        pass
    first.close()
    second.close()


def test_two_scopes_in_force_together_are_of_databases_with_names_of_their_own() -> None:
    first, second, reports = Database(URL), Database(URL), Database(URL, name="reports")
    with first.scope("one"), reports.scope("beside"):
        with pytest.raises(ConfigError, match="two databases of one name, 'default'") as refused:
            with second.scope("other"):
                pytest.fail("must not come here")
        assert "first: scope 'one'" not in str(refused.value)
        assert "scope 'one'" in str(refused.value)
    with second.scope("other"):
        pass
    for db in (first, second, reports):
        db.close()


async def test_the_same_for_asyncio() -> None:
    first, second = AsyncDatabase("sqlite+aiosqlite://"), Database(URL)
    async with first.scope("one"):
        with pytest.raises(ConfigError, match="two databases of one name"), second.scope("other"):
            pytest.fail("must not come here")
    second.close()
    await first.close()


def test_a_closed_database_opens_no_session(shop_url: str) -> None:
    with opened(shop_url) as db:
        with db.scope("before") as session:
            session.get(Product, 1)
        db.close()
        db.close()
        assert db.closed
        assert "closed" in repr(db)
        assert db.pool.stats().total == 0
        with pytest.raises(
            PoolClosed, match=r"database 'default' is closed: close\(\) was called at .*test_database.py:"
        ) as told:
            with db.scope("after"):
                pytest.fail("must not come here")
        assert "db.reopen() opens it again" in str(told.value)
        with pytest.raises(
            PoolClosed, match=r"pool 'default' is closed: close\(\) was called at .*test_database.py:"
        ) as told:
            db.engine.connect()
        assert "db.reopen()" in str(told.value)
        db.reopen()
        with db.scope("again") as session:
            assert session.get(Product, 1)


async def test_a_closed_async_database_opens_no_session(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("before") as session:
            await session.get(Product, 1)
        await db.close()
        await db.close()
        assert db.pool.stats().total == 0
        with pytest.raises(PoolClosed, match=r"closed: close\(\) was called at .*test_database.py:"):
            async with db.scope("after"):
                pytest.fail("must not come here")
        with pytest.raises(PoolClosed, match=r"pool 'default' is closed: close\(\) was called at .*test_database.py:"):
            async with db.engine.connect():
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


def test_from_what_a_platform_sets() -> None:
    others = ("HOST", "USER", "PASSWORD", "PRIVATE_URL", "URL_UNPOOLED", "URI", "CA_CERT")
    environ = {f"DATABASE_{name}": "x" for name in others}
    environ |= {"DATABASE_URL": "postgres://u:secret@h/d?sslmode=require", "DATABASE_MAX_SIZE": "5"}
    db = Database.from_env("DATABASE_", environ)
    assert repr(db) == "<Database 'default' postgresql+psycopg://u:***@h/d?sslmode=require>"
    assert db.pool.config.max_size == 5
    db.close()
    asynchronous = AsyncDatabase.from_env("DATABASE_", environ)
    assert repr(asynchronous) == "<AsyncDatabase 'default' postgresql+asyncpg://u:***@h/d?ssl=require>"


@pytest.mark.parametrize(
    "variable, told",
    [
        ("DATABASE_MAX_SISE", "unknown variable DATABASE_MAX_SISE, did you mean 'DATABASE_MAX_SIZE'?"),
        ("DATABASE_POOL_SIZE", "unknown variable DATABASE_POOL_SIZE\n"),
        ("DATABASE_URLS", "unknown variable DATABASE_URLS, did you mean 'DATABASE_URL'?"),
    ],
)
def test_what_looks_like_a_misspelt_setting_is_refused_beside_a_platforms(variable: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Database.from_env("DATABASE_", {variable: "x"})
    assert told in str(refused.value)
    assert "environ={…}" in str(refused.value)


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
    for wrong in ({"begin": "on_wrte"}, {"pool": 3}, {"engine_options": {"x": 1}}):
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
try:
    from respool import AsyncSession
except respool.errors.MissingExtra as error:
    assert isinstance(error, ImportError)
    print(error)
"""


def test_all_but_asyncio_works_without_greenlet() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_GREENLET], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("42\n")
    assert "AsyncDatabase needs greenlet, which is not installed" in done.stdout
    assert "AsyncSession needs greenlet, which is not installed" in done.stdout
    assert done.stdout.count('pip install "respool[asyncio]"') == 2


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
