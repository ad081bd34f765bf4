"""What an application's tests do beside asking it: jobs, dependencies in another's place, classes of tests."""

from __future__ import annotations

import unittest
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from respool import AsyncDatabase, Database, transactional
from respool.testing import DatabaseTemplate, RolledBack, rolled_back
from respool.web.fastapi import install, session_of
from tests.testing.models import Product, create, numbers, numbers_async, put


def test_a_jobs_function_is_called_as_it_is(shop: Database) -> None:
    @shop.job("restock")
    def restock(number: int) -> int:
        shop.session.add(Product(id=number))
        return number

    @transactional(shop)
    def add(number: int) -> None:
        shop.session.add(Product(id=number))

    with rolled_back(shop):
        assert restock(1) == 1
        add(2)
        shop.run(lambda session: session.add(Product(id=3)))
        assert numbers(shop) == [1, 2, 3]
    assert numbers(shop) == []


async def test_an_async_job_too(sqlite_file: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", commit="on_success")
    async with db.engine.begin() as connection:
        await connection.run_sync(create)

    @db.job()
    async def restock(number: int) -> None:
        db.session.add(Product(id=number))

    with rolled_back(db):
        await restock(1)
        assert await numbers_async(db) == [1]
    assert await numbers_async(db) == []
    await db.close()


def test_the_dependency_is_overridden_the_frameworks_way() -> None:
    db = AsyncDatabase("sqlite+aiosqlite://")
    app = FastAPI()
    install(app, db)
    given: Any = Depends(session_of(db))

    @app.get("/")
    async def who(session: Any = given) -> str:
        return str(session)

    app.dependency_overrides[session_of(db)] = lambda: "another"
    with TestClient(app) as client:
        assert client.get("/").json() == "another"
    assert session_of(db) is not session_of(AsyncDatabase("sqlite+aiosqlite://", name="other"))


@pytest.mark.parametrize("base", ["unittest", "django"])
def test_classes_of_tests_leave_nothing_behind(shop: Database, base: str) -> None:
    kind: Any = unittest.TestCase
    if base == "django":
        from django.test import SimpleTestCase

        import tests.web.stands.django  # noqa: F401 - settings

        kind = SimpleTestCase
    put(shop, 7)
    seen: list[list[int]] = []

    class ShopTests(RolledBack, kind):  # type: ignore[misc]
        respool_database = DatabaseTemplate(shop, create)

        def test_one(self) -> None:
            put(shop, 1)
            seen.append(numbers(shop))

        def test_two(self) -> None:
            put(shop, 2)
            seen.append(numbers(shop))

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(ShopTests).run(result)
    assert result.wasSuccessful(), result.errors
    assert seen == [[1], [2]]
    assert numbers(shop) == [7]
