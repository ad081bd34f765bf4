"""factory_boy's and polyfactory's factories put what they make into the session in force."""

from __future__ import annotations

from typing import Any

import pytest

from respool import AsyncDatabase, Database
from respool.testing import assert_committed, rolled_back
from tests.testing.models import Product, create, numbers, numbers_async


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_factory_boy(shop: Database) -> None:
    factory = pytest.importorskip("factory")

    class ProductFactory(factory.alchemy.SQLAlchemyModelFactory):
        class Meta:
            model = Product
            sqlalchemy_session_factory = shop.current_session

        id = factory.Sequence(lambda number: number + 1)
        stock = 3

    with rolled_back(shop):
        with assert_committed(shop), shop.scope("seed"):
            ProductFactory.create_batch(3)
        assert numbers(shop) == [1, 2, 3]
    assert numbers(shop) == []


def test_polyfactory(shop: Database) -> None:
    factories: Any = pytest.importorskip("polyfactory.factories.sqlalchemy_factory")

    class ProductFactory(factories.SQLAlchemyFactory):
        __model__ = Product
        __session__ = shop.current_session

    with rolled_back(shop), shop.scope("seed"):
        ProductFactory.create_sync(id=1)
        assert numbers(shop) == [1]
    assert numbers(shop) == []


async def test_polyfactory_with_asyncio(sqlite_file: str) -> None:
    factories: Any = pytest.importorskip("polyfactory.factories.sqlalchemy_factory")
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}")
    async with db.engine.begin() as connection:
        await connection.run_sync(create)

    class ProductFactory(factories.SQLAlchemyFactory):
        __model__ = Product
        __async_session__ = db.current_session

    with rolled_back(db):
        async with db.scope("seed"):
            await ProductFactory.create_async(id=1)
        assert await numbers_async(db) == [1]
    assert await numbers_async(db) == []
    await db.close()
