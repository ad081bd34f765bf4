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


class _Opened:
    """The databases of this process: each is made when a test first needs it, and removed at the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._known: list[Any] = []

    def all_of(self, given: Any) -> tuple[Any, ...]:
        """What a fixture ``respool_database`` gave, as a tuple of what it may give."""
        several = tuple(given) if isinstance(given, tuple | list) else (given,)
        for each in several:
            if not any(each is known for known in self._known):
                self._open(each)
                self._known.append(each)
        return several

    def _open(self, each: Any) -> None:
        if isinstance(each, DatabaseTemplate):
            self._stack.enter_context(each)
        elif isinstance(each, DatabaseBase):
            if each.asynchronous:
                self._stack.enter_context(closed_at_home(each.engine.sync_engine))
        else:
            raise ConfigError(
                f"the fixture respool_database gave an object of type {type(each).__name__}",
                advice=["return a DatabaseTemplate, a Database or AsyncDatabase, or a tuple of these"],
                setting="respool_database",
            )


@pytest.fixture(scope="session")
def _respool_opened() -> Iterator[_Opened]:
    with kept_home(), ExitStack() as stack:
        yield _Opened(stack)


@pytest.fixture
def respool_rollback(respool_database: Any, _respool_opened: _Opened) -> Iterator[Any]:
    """Whatever this test commits is gone after it: see :func:`respool.testing.rolled_back`. Gives the database, or several."""
    with ExitStack() as stack:
        databases = tuple(
            stack.enter_context(
                each.rolled_back() if isinstance(each, DatabaseTemplate) else rolling_back(each, keep=True)
            )
            for each in _respool_opened.all_of(respool_database)
        )
        yield databases[0] if len(databases) == 1 else databases


@pytest.fixture
def respool_fresh(respool_database: Any, _respool_opened: _Opened) -> Iterator[Any]:
    """This test has a database of its own, a copy: for what needs several connections. Gives the database, or several."""
    with ExitStack() as stack:
        databases = []
        for each in _respool_opened.all_of(respool_database):
            if not isinstance(each, DatabaseTemplate):
                raise ConfigError(
                    f"respool_fresh needs a template, and respool_database gave the database {each.name!r} as it is",
                    advice=["return DatabaseTemplate(db, Base.metadata.create_all) from respool_database"],
                    setting="respool_database",
                )
            databases.append(stack.enter_context(each.fresh()))
        yield databases[0] if len(databases) == 1 else tuple(databases)


@pytest.fixture
def respool_no_leaks(respool_database: Any, _respool_opened: _Opened) -> Iterator[None]:
    """This test gives back every connection: see :func:`respool.testing.assert_no_leaks`. Name it after the others."""
    yield
    several = _respool_opened.all_of(respool_database)
    assert_no_leaks(*(each.db if isinstance(each, DatabaseTemplate) else each for each in several))
