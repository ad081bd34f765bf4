"""One test for both faces and both databases: what a sync session returns is a value, what an async one returns is awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import pytest

from tests.session.shop import count, fill, opened, opened_async

__all__ = ["Shop", "entered", "got", "the_shop"]


async def got(value: Any) -> Any:
    """The value, awaited where it has to be."""
    return await value if isawaitable(value) else value


@asynccontextmanager
async def entered(block: Any) -> AsyncIterator[Any]:
    """A block of either kind."""
    if isinstance(block, AbstractAsyncContextManager):
        async with block as value:
            yield value
    else:
        with block as value:
            yield value


@dataclass(frozen=True)
class Shop:
    """A shop that can be opened: the driver's URL, the one to look at it with, and which face it has."""

    url: str
    plain_url: str
    asynchronous: bool

    @property
    def sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @asynccontextmanager
    async def open(self, **keywords: Any) -> AsyncIterator[Any]:
        if self.asynchronous:
            async with opened_async(self.url, **keywords) as database:
                yield database
        else:
            with opened(self.url, **keywords) as database:
                yield database

    def count(self, *model: Any) -> int:
        return count(self.plain_url, *model)


@pytest.fixture(
    params=[
        "sqlite",
        "aiosqlite",
        pytest.param("psycopg", marks=pytest.mark.postgres),
        pytest.param("psycopg async", marks=pytest.mark.postgres),
        pytest.param("asyncpg", marks=pytest.mark.postgres),
    ]
)
def the_shop(request: pytest.FixtureRequest) -> Shop:
    """A shop in a database of the test's own, for each driver."""
    kind: str = request.param
    if "sqlite" in kind:
        plain = f"sqlite:///{request.getfixturevalue('sqlite_file')}"
        url = plain.replace("sqlite:", "sqlite+aiosqlite:") if kind == "aiosqlite" else plain
    else:
        plain = request.getfixturevalue("pg_url")
        url = plain.replace("+psycopg:", "+asyncpg:") if kind == "asyncpg" else plain
    fill(plain)
    return Shop(url, plain, asynchronous=kind in ("aiosqlite", "psycopg async", "asyncpg"))
