"""Through each framework's own test client: seeded, asked, seeded again, and gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from respool import AsyncDatabase, Database
from respool.testing import assert_committed, assert_no_leaks, fresh_database, rolled_back
from tests.support.postgres import PostgresServer
from tests.testing.models import Base, numbers, numbers_async, put, put_async
from tests.testing.shops import SHOPS


@pytest.fixture(params=SHOPS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, framework: str, sqlite_file: str) -> str:
    asynchronous = SHOPS[framework][1]
    if request.param == "sqlite":
        return f"sqlite{'+aiosqlite' if asynchronous else ''}:///{sqlite_file}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url("asyncpg" if asynchronous else "psycopg")


@pytest.fixture
def db(framework: str, url: str) -> Iterator[Any]:
    """A database of the framework's kind, with the tables."""
    asynchronous = SHOPS[framework][1]
    database: Any = (AsyncDatabase if asynchronous else Database)(url, commit="on_success")
    with fresh_database(database, Base.metadata.create_all):
        yield database


@pytest.fixture
def seed(framework: str) -> Callable[..., None]:
    """Commits products, in whatever loop."""
    if not SHOPS[framework][1]:
        return put
    return lambda db, *numbers: asyncio.run(put_async(db, *numbers))


@pytest.fixture
def look(framework: str) -> Callable[..., list[int]]:
    if not SHOPS[framework][1]:
        return numbers
    return lambda db: asyncio.run(numbers_async(db))


def test_what_a_client_has_done_is_gone_with_the_test(
    framework: str, db: Any, seed: Callable[..., None], look: Callable[..., list[int]]
) -> None:
    shop = SHOPS[framework][0]
    seed(db, 1)
    for _ in range(2):
        with rolled_back(db, patience=60):
            with shop(db) as client:
                assert client("GET", "/") == (200, [1])
                with assert_committed(db):
                    assert client("POST", "/2") == (200, 2)
                assert client("POST", "/1")[0] == 500  # it is there
                seed(db, 3)
                assert client("GET", "/") == (200, [1, 2, 3])
            seed(db, 4)  # between two clients
            with shop(db) as client:
                assert client("POST", "/5") == (200, 5)
                assert client("GET", "/") == (200, [1, 2, 3, 4, 5])
            assert_no_leaks(db)
        assert look(db) == [1]
