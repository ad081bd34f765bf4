"""What every test can use: coroutine tests, a real PostgreSQL, SQLite files, and the same examples in every run."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import PostgresMissing, PostgresServer

# The same examples every time and no clock: a failure is a change of the code. HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", parent=settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# The drivers read PGHOST, PGSSLMODE and the like: whoever has them in a shell gets the same tests as everybody.
for _name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[_name]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    test = pyfuncitem.obj(**{name: value for name, value in pyfuncitem.funcargs.items() if name in wanted})
    asyncio.run(_to_its_end(test))
    return True


async def _to_its_end(test: Coroutine[Any, Any, None]) -> None:
    """Run a test, and let aiosqlite's threads end before the loop does.

    One whose connection was discarded, or never opened, ends by itself a moment later, and says so to its loop.
    """
    try:
        await test
    finally:
        for thread in threading.enumerate():
            if "_connection_worker_thread" in thread.name:
                await asyncio.to_thread(thread.join, 5)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the server, so that ``-m "not postgres"`` leaves it out."""
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of our own, one for all tests. A test that stops it starts it again."""
    try:
        server = PostgresServer()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def pg_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of the test's own (psycopg); ``postgres.url("asyncpg", name)`` for other drivers."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.start()  # does nothing, unless a test before took the server away and failed
    postgres.create_database(name)
    yield postgres.url(database=name)
    postgres.start()
    postgres.drop_database(name)


@pytest.fixture
def sqlite_file(tmp_path: Path) -> str:
    """The path part of an SQLite URL for a file of the test's own: ``f"sqlite:///{sqlite_file}"``."""
    return (tmp_path / "test.db").as_posix()
