"""A pytest plugin for SQLModel's own test suite: on a file of SQLite's it takes the pool, and not a single connection.

The suite keeps its database in memory, in the one connection of a ``StaticPool``, which nothing else is ever done with.
Elsewhere its ``database_engine`` has the pool that is usual for ``DATABASE_URL``.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import sqlalchemy.pool


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    if fixturedef.argname == "database_engine":
        fixturedef.func.__globals__["StaticPool"] = sqlalchemy.pool.QueuePool
    return (yield)
