"""What a test may ask: each assertion passes, and fails with what one has to know."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.pool import QueuePool

from respool import AsyncDatabase, Database
from respool.testing import (
    assert_committed,
    assert_no_connection_held,
    assert_no_leaks,
    assert_nothing_committed,
    count_statements,
    rolled_back,
    watch_commits,
)
from tests.testing.models import Product, create, numbers, put


@pytest.fixture(params=["as it is", "rolled back"])
def seeded(request: pytest.FixtureRequest, shop: Database) -> Iterator[Database]:
    put(shop, 1, 2, 3)
    if request.param == "as it is":
        yield shop
    else:
        with rolled_back(shop):
            yield shop


def test_a_connection_that_is_held_is_told_with_its_holder(seeded: Database) -> None:
    assert_no_leaks(seeded)
    with seeded.scope("holds") as session:
        session.add(Product(id=4))
        session.flush()
        with pytest.raises(AssertionError, match=r"a connection was|connections were") as told:
            assert_no_leaks(seeded)
        assert "held for" in str(told.value)
        assert "scope 'holds'" in str(told.value)
        assert "Product(id=4) inserted" in str(told.value)
        session.rollback()
    assert_no_leaks(seeded)


def test_another_pool_is_asked_as_well(sqlite_file: str) -> None:
    db = Database(create_engine(f"sqlite:///{sqlite_file}", poolclass=QueuePool))
    assert_no_leaks(db)
    with db.engine.connect(), pytest.raises(AssertionError, match="not given back"):
        assert_no_leaks(db)
    db.engine.dispose()


def _commit_nothing(db: Database) -> None:
    with assert_committed(db), db.scope("changes its mind") as session:
        session.add(Product(id=5))
        session.rollback()


def _read_one_by_one(db: Database, **limits: int) -> None:
    with count_statements(db, **limits), db.scope("reads") as session:
        for number in (1, 2, 3):
            session.get(Product, number)


def _ask_with_a_connection(db: Database, prices: Any) -> None:
    with assert_no_connection_held("prices.ask", db), db.scope("asks") as session:
        session.add(Product(id=9))
        session.flush()
        with pytest.raises(AssertionError):  # the application may swallow it
            prices.ask()
        session.rollback()


def test_what_is_committed_and_what_is_not(seeded: Database) -> None:
    with assert_committed(seeded) as commits:
        put(seeded, 4)
    assert str(commits) == "  committed by put: Product(id=4) inserted"
    with assert_nothing_committed(seeded):
        numbers(seeded)
    with pytest.raises(AssertionError, match=r"nothing was committed.*\n  rolled back in changes its mind: Product"):
        _commit_nothing(seeded)
    with pytest.raises(AssertionError, match=r"something was committed.*\n  committed by put: Product\(id=5\)"):
        with assert_nothing_committed(seeded):
            put(seeded, 5)
    with watch_commits(seeded) as commits:
        pass
    put(seeded, 6)
    assert not commits.lines()


def test_statements_are_counted_and_shown_with_their_lines(seeded: Database) -> None:
    with count_statements(seeded, max=1, exactly=1, repeats=1) as statements, seeded.scope("reads") as session:
        session.scalars(select(Product)).all()
    assert [statement.sql.split()[0] for statement in statements] == ["SELECT"]
    with pytest.raises(AssertionError) as told:
        _read_one_by_one(seeded, max=1)
    assert "3 statements were sent, and at most 1 allowed:" in str(told.value)
    assert "3 × at " in str(told.value)
    assert "test_assertions.py:" in str(told.value)
    assert "FROM product" in str(told.value)
    with pytest.raises(AssertionError, match="0 statements were sent, and 1 expected"):
        with count_statements(seeded, exactly=1):
            pass
    assert len(statements) == 1


def test_one_statement_for_each_row_is_found(seeded: Database) -> None:
    with pytest.raises(AssertionError, match=r"N\+1.*selectinload.*\n  3 × at .*test_assertions.py"):
        _read_one_by_one(seeded, repeats=1)


def test_counting_changes_nothing(seeded: Database) -> None:
    with count_statements(seeded), seeded.scope("reads") as session:
        session.get(Product, 1)
        assert not session.holds_connection
    engine = seeded.engine
    assert not list(engine.dispatch.before_cursor_execute)  # type: ignore[attr-defined]


def test_savepoints_are_no_statements(seeded: Database) -> None:
    with count_statements(seeded, exactly=2), seeded.scope("nested") as session:
        session.execute(text("INSERT INTO product (id, stock) VALUES (7, 0)"))
        with session.begin_nested():
            session.execute(text("INSERT INTO product (id, stock) VALUES (8, 0)"))
        session.rollback()


@pytest.fixture
def prices() -> Iterator[Any]:
    module = types.ModuleType("prices")
    module.ask = lambda: 7  # type: ignore[attr-defined]

    async def ask_async() -> int:
        return 8

    module.ask_async = ask_async  # type: ignore[attr-defined]
    sys.modules["prices"] = module
    yield module
    del sys.modules["prices"]


def test_no_connection_is_held_while_something_else_is_called(seeded: Database, prices: Any) -> None:
    ask = prices.ask
    with assert_no_connection_held("prices.ask", seeded), seeded.scope("asks") as session:
        session.get(Product, 1)
        assert prices.ask() == 7
    assert prices.ask is ask
    with pytest.raises(AssertionError, match=r"prices.ask\(\) was called while scope 'asks' .* held"):
        _ask_with_a_connection(seeded, prices)
    with pytest.raises(AssertionError, match="was not called"), assert_no_connection_held("prices.ask", seeded):
        pass
    assert prices.ask is ask


async def _ask_with_a_connection_async(db: AsyncDatabase, prices: Any) -> None:
    with assert_no_connection_held("prices.ask_async", db):
        async with db.scope("asks") as session:
            session.add(Product(id=9))
            await session.flush()
            try:
                await prices.ask_async()
            finally:
                await session.rollback()


async def test_the_same_for_coroutines(sqlite_file: str, prices: Any) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}")
    async with db.engine.begin() as connection:
        await connection.run_sync(create)
    with assert_no_connection_held("prices.ask_async", db):
        assert await prices.ask_async() == 8
    with pytest.raises(AssertionError):
        await _ask_with_a_connection_async(db, prices)
    await db.close()
