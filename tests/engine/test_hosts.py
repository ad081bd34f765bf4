"""Several hosts in one URL: one that says nothing does not hide the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.testing import FaultProxy

pytestmark = pytest.mark.postgres


@pytest.fixture
def hung(pg_url: str) -> Iterator[FaultProxy]:
    """A host that takes connections and says nothing."""
    url = sa.make_url(pg_url)
    with FaultProxy("127.0.0.1", url.port or 5432) as proxy:
        proxy.stall()
        yield proxy


def urls(pg_url: str, hung: FaultProxy, driver: str) -> sa.URL:
    url = sa.make_url(pg_url)
    hosts = (f"127.0.0.1:{hung.port}", f"127.0.0.1:{url.port}")
    return url.set(drivername=f"postgresql+{driver}", host=None, port=None).update_query_dict({"host": hosts})


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_hung_first_host_does_not_hide_the_second(pg_url: str, hung: FaultProxy, driver: str) -> None:
    engine = sa.create_engine(urls(pg_url, hung, driver), poolclass=FairPool, connect_timeout=2.0)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    stats: Any = engine.pool.stats()  # type: ignore[attr-defined]
    assert stats.connect_errors == 0
    engine.dispose()


async def test_nor_in_asyncio(pg_url: str, hung: FaultProxy) -> None:
    engine = create_async_engine(urls(pg_url, hung, "asyncpg"), poolclass=AsyncFairPool, connect_timeout=1.0)
    async with engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT 1")) == 1
    await engine.dispose()
