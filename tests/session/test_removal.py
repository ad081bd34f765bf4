"""After the end: the session is dead and goes at once, its objects stay readable, and nothing grows."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import inspect, text

from respool import AsyncSession, Database, Session
from respool.scope.scope import Scope
from tests.session.shop import Order, Product, opened_async

#: ``RESPOOL_SOAK_SCOPES=100000`` for the whole.
SCOPES = int(os.environ.get("RESPOOL_SOAK_SCOPES", "1000"))


@contextmanager
def without_collector() -> Iterator[None]:
    """Only what nothing refers to any more goes: a cycle would stay."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_promise_07_a_session_goes_with_its_scope_and_its_objects_stay(db: Database) -> None:
    with without_collector():
        with db.scope("job") as session:
            tea = session.get_one(Product, 1)
            session.add(Order(product_id=1))
            session.commit()
            session.execute(text("SELECT 1"))
            gone = [weakref.ref(session), weakref.ref(session.scope)]
        del session
        assert gone[0]() is None
    assert (tea.name, tea.stock) == ("tea", 5)
    assert inspect(tea).session is None


async def test_promise_07_an_async_session_goes_as_well(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("job") as session:
            tea = await session.get_one(Product, 1)
            session.add(Order(product_id=1))
            await session.commit()
            gone = [weakref.ref(session), weakref.ref(session.sync_session)]
        del session
        gc.collect()
        assert [ref() for ref in gone] == [None, None]
    assert tea.name == "tea"


def alive() -> int:
    gc.collect()
    return sum(
        issubclass(type(each), Session | AsyncSession | Scope) for each in gc.get_objects()
    )  # some lie about __class__


@pytest.mark.timeout(0 if SCOPES > 1000 else 120)
def test_promise_07_scopes_come_and_go_and_nothing_grows(db: Database) -> None:
    def work(times: int) -> int:
        for number in range(times):
            with db.scope("job") as session:
                product = session.get_one(Product, 1)
                if number % 10 == 0:
                    product.stock += 1
        del session, product
        gc.collect()
        return len(gc.get_objects())

    before = alive()
    work(50)
    first = work(50)
    last = work(SCOPES)
    assert alive() <= before
    assert last - first < 100, "objects that stay"  # of the caches below us, however many scopes
