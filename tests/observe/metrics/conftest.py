"""A PostgreSQL behind a proxy that counts its connections, and both exporters, which are ended after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import URL, make_url

from respool.observe.observation import observation
from respool.testing import FaultProxy
from tests.observe.metrics.exporters import Exporters


@pytest.fixture
def proxy(pg_url: str) -> Iterator[FaultProxy]:
    url = make_url(pg_url)
    with FaultProxy(url.host or "127.0.0.1", url.port or 5432) as proxy:
        yield proxy


@pytest.fixture
def through(pg_url: str, proxy: FaultProxy) -> Callable[[str], URL]:
    """The URL of the database for a driver, through the proxy."""

    def through(driver: str) -> URL:
        url = make_url(pg_url).set(drivername=f"postgresql+{driver}", port=proxy.port, host="127.0.0.1")
        return url.set(query={}) if driver == "asyncpg" else url.update_query_dict({"sslmode": "disable"})

    return through


@pytest.fixture
def export() -> Iterator[Callable[..., Exporters]]:
    """Make exporters for databases."""
    made: list[Exporters] = []

    def export(*databases: Any) -> Exporters:
        made.append(Exporters(*databases))
        return made[-1]

    yield export
    for each in made:
        each.close()
    for database in observation.databases:
        observation.remove(database)
    observation.board.clear()
