"""The pytest plugin: fixtures for one fixture of the user's. Nothing happens in a test that does not ask for it.

```python
@pytest.fixture(scope="session")
def respool_database():
    return DatabaseTemplate(db, Base.metadata.create_all)
```

With that every test process has a database of its own, and a test that asks for ``respool_rollback`` or
``respool_fresh`` leaves nothing behind. The only module that needs pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from respool.database.base import DatabaseBase
from respool.errors import ConfigError
from respool.testing.assertions.leaks import assert_no_leaks
from respool.testing.isolation.homes import kept_home
from respool.testing.isolation.rollback import rolling_back
from respool.testing.isolation.template import DatabaseTemplate, closed_at_home

__all__ = ["respool_database", "respool_fresh", "respool_no_leaks", "respool_rollback"]


@pytest.fixture(scope="session")
def respool_database() -> Any:
    """What is tested; to be defined in ``conftest.py``: a ``DatabaseTemplate``, a database as it is, or several of these."""
    raise ConfigError(
        "a test asks for a fixture of respool, and respool_database is not defined",
        advice=[
            "in conftest.py: @pytest.fixture(scope='session') def respool_database():"
            + " return DatabaseTemplate(db, Base.metadata.create_all)",
            "from respool.testing import DatabaseTemplate",
        ],
        setting="respool_database",
    )


@pytest.fixture(scope="session")
def _respool_databases(respool_database: Any) -> Iterator[tuple[Any, ...]]:
    """What ``respool_database`` is, as a tuple; removed at the end."""
    several = isinstance(respool_database, tuple | list)
    given = tuple(respool_database) if several else (respool_database,)
    for each in given:
        if not isinstance(each, DatabaseTemplate | DatabaseBase):
            raise ConfigError(
                f"the fixture respool_database gave an object of type {type(each).__name__}",
                advice=["return a DatabaseTemplate, a Database or AsyncDatabase, or a tuple of these"],
                setting="respool_database",
            )
    with ExitStack() as stack:
        stack.enter_context(kept_home())
        for each in given:
            if isinstance(each, DatabaseTemplate):
                stack.enter_context(each)
        yield given


@pytest.fixture(scope="session")
def _respool_worker_databases(_respool_databases: tuple[Any, ...]) -> Iterator[tuple[DatabaseBase[Any], ...]]:
    """The databases of this process, each in its place."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(each.fresh() if isinstance(each, DatabaseTemplate) else closed_at_home(each))
            for each in _respool_databases
        )


@pytest.fixture
def respool_rollback(_respool_worker_databases: tuple[DatabaseBase[Any], ...]) -> Iterator[Any]:
    """Whatever this test commits is gone after it: see :func:`respool.testing.rolled_back`. Gives the database, or several."""
    with ExitStack() as stack:
        databases = tuple(stack.enter_context(rolling_back(each, keep=True)) for each in _respool_worker_databases)
        yield databases[0] if len(databases) == 1 else databases


@pytest.fixture
def respool_fresh(_respool_databases: tuple[Any, ...]) -> Iterator[Any]:
    """This test has a database of its own, a copy: for what needs several connections. Gives the database, or several."""
    with ExitStack() as stack:
        databases = []
        for each in _respool_databases:
            if not isinstance(each, DatabaseTemplate):
                raise ConfigError(
                    f"respool_fresh needs a template, and respool_database gave the database {each.name!r} as it is",
                    advice=["return DatabaseTemplate(db, Base.metadata.create_all) from respool_database"],
                    setting="respool_database",
                )
            databases.append(stack.enter_context(each.fresh()))
        yield databases[0] if len(databases) == 1 else tuple(databases)


@pytest.fixture
def respool_no_leaks(_respool_databases: tuple[Any, ...]) -> Iterator[None]:
    """This test gives back every connection: see :func:`respool.testing.assert_no_leaks`."""
    yield
    assert_no_leaks(*(each.db if isinstance(each, DatabaseTemplate) else each for each in _respool_databases))
