"""What every test can use: coroutine tests, real databases, SQLite files, and the same examples in every run."""

from __future__ import annotations

import faulthandler
import gc
import inspect
import logging
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import leftovers
from tests.support.mariadb import MariaMissing, MariaServer
from tests.support.postgres import PostgresMissing, PostgresServer
from tests.support.tasks import run_to_its_end

# The same examples every time and no clock: a failure is a change of the code. HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", parent=settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# The drivers read PGHOST, MYSQL_PWD and the like: whoever has them in a shell gets the same tests as everybody.
for _name in [name for name in os.environ if name.startswith(("PG", "MYSQL", "MARIADB"))]:
    del os.environ[_name]

# What tests observe is nobody's business but theirs; those of the socket have a folder of their own.
os.environ["RESPOOL_OBSERVE_SOCKET"] = "0"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    test = pyfuncitem.obj(**{name: value for name, value in pyfuncitem.funcargs.items() if name in wanted})
    run_to_its_end(test)
    return True


def pytest_collection_finish() -> None:
    """All modules are there to stay: a collection in a test does not go through them, which is most of what it takes."""
    gc.collect()
    gc.freeze()


#: Seconds. What hides pytest-timeout from itself, in C or in a loop that takes any error, ends its process: others go on.
_HANGS = 300.0


def pytest_configure(config: pytest.Config) -> None:
    """Where stacks are to be seen while pytest takes what is printed."""
    config.stash[_stderr] = os.dup(2)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Remember how a module of tests found the process, and end one that hangs."""
    if item.path not in _found:
        _found.clear()
        _found[item.path] = leftovers.lasting()
    faulthandler.dump_traceback_later(_HANGS, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


_stderr = pytest.StashKey[int]()


#: By module, the last one only.
_found: dict[Path, dict[str, Any]] = {}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A module that leaves something to the next one has failed."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        left = leftovers.changes(_found[item.path])
        assert not left, "the tests of this module have left something:\n" + "\n".join(left)
    return result


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    """What a test, or a library in it, changes for the whole process is put back."""
    process = leftovers.Process()
    yield
    process.put_back()


@pytest.fixture
def nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of errors: pytest keeps what is logged and what ``__del__`` raises, and with it the frames and all that they hold."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    logging.disable(logging.CRITICAL)
    yield
    gc.collect()  # of what was cut off while it was closed, which says so on Python 3.13
    logging.disable(logging.NOTSET)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, so that ``-m "not postgres"`` leaves it out."""
    for item in items:
        for server in {"postgres", "mariadb"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(server)


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


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """A MariaDB server of our own, one for all tests, where MariaDB is installed."""
    try:
        server = MariaServer()
    except MariaMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def sqlite_file(tmp_path: Path) -> str:
    """The path part of an SQLite URL for a file of the test's own: ``f"sqlite:///{sqlite_file}"``."""
    return (tmp_path / "test.db").as_posix()
