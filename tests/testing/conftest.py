"""Databases of each kind with a small table, whose rows outlive what is rolled back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url

from respool import AsyncDatabase, Database
from respool.testing.isolation.homes import kept_home
from tests.support.mariadb import MariaServer
from tests.testing import models

SYNC = ["sqlite", "psycopg", "psycopg2", "pymysql"]
ASYNC = ["aiosqlite", "asyncpg", "psycopg_async", "aiomysql"]


def url_for(driver: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of the test's own."""
    if driver in ("sqlite", "aiosqlite"):
        scheme = "sqlite" if driver == "sqlite" else "sqlite+aiosqlite"
        return f"{scheme}:///{request.getfixturevalue('sqlite_file')}"
    if driver in ("pymysql", "aiomysql"):
        server: MariaServer = request.getfixturevalue("mariadb")
        database = f"test_{uuid.uuid4().hex[:12]}"
        server.create_database(database)
        request.addfinalizer(lambda: server.drop_database(database))
        return server.url(driver, database)
    name = make_url(request.getfixturevalue("pg_url")).database
    return str(request.getfixturevalue("postgres").url(driver.removesuffix("_async"), name))


@pytest.fixture(scope="session", autouse=True)
def _home() -> Iterator[None]:
    """One home for all tests, as with the plugin."""
    with kept_home():
        yield


@pytest.fixture(params=SYNC)
def db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database for threads, with its table."""
    database = Database(url_for(request.param, request))
    with database.engine.begin() as connection:
        models.create(connection)
    yield database
    database.close()


@pytest.fixture(params=ASYNC)
def adb(request: pytest.FixtureRequest) -> Iterator[AsyncDatabase]:
    """A database for asyncio, with its table."""
    database = AsyncDatabase(url_for(request.param, request))

    async def create() -> None:
        async with database.engine.begin() as connection:
            await connection.run_sync(models.create)

    asyncio.run(create())
    yield database
    with kept_home() as home:
        home.run(database.engine.sync_engine.dispose)


@pytest.fixture
def shop(sqlite_file: str) -> Iterator[Database]:
    """A database in a file, whose requests are committed when they succeed."""
    database: Database[Any] = Database(f"sqlite:///{sqlite_file}", commit="on_success")
    models.Base.metadata.create_all(database.engine)
    yield database
    database.close()


#: Somebody's application, whose tests test_moved.py runs in processes of their own.
collect_ignore = ["moved"]
