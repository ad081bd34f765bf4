"""Who has a connection is told by the request or scope, and by the user's line, from inside SQLAlchemy's greenlet too."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from respool import Database, PoolConfig
from respool.errors import PoolTimeout, ScopeEnded
from tests.session.shop import opened, opened_async

ONE = sa.select(sa.literal(1))


def test_promise_11_a_timeout_names_the_scope_that_holds(shop_url: str) -> None:
    with opened(shop_url, pool=PoolConfig(max_size=1, timeout=0)) as db, db.scope("nightly") as session:
        session.connection()
        with pytest.raises(PoolTimeout) as timeout:
            db.engine.connect()
        holder = db.pool.snapshot().connections[0].holder
    assert holder == "nightly (thread MainThread)"
    assert "held" in str(timeout.value)
    assert "by nightly (thread MainThread), now at" in str(timeout.value)


def test_after_a_scope_its_name_is_gone(db: Database) -> None:
    with db.scope("outer"):
        with db.scope("inner"):
            pass
        with db.engine.connect():
            assert db.pool.snapshot().connections[0].holder == "outer (thread MainThread)"
    with db.engine.connect():
        assert db.pool.snapshot().connections[0].holder == "thread MainThread"


async def test_promise_05_the_refusal_names_the_line_inside_a_greenlet(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("over") as session:
            pass

        async def late() -> None:
            await session.execute(ONE)

        with pytest.raises(ScopeEnded, match=r"used at \S*test_holders\.py:\d+"):
            await asyncio.create_task(late())
