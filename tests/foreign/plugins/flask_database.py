"""A pytest plugin for Flask-SQLAlchemy's own test suite: its applications are on a file of SQLite's, new for each test.

The suite keeps its databases in memory, each in the one connection of a ``StaticPool``, which nothing else is ever done
with.  It is not for other databases: it drops tables while a session of its own has them locked.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from sqlalchemy import __version__ as version
from sqlalchemy.orm import MappedAsDataclass


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    result = yield
    if fixturedef.argname == "app":  # which takes a relative file into a folder of its own
        result.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    return result


def pytest_configure(config: pytest.Config) -> None:
    """The suite has every warning raised; what nobody committed is reported by one, as is promised."""
    config.addinivalue_line("filterwarnings", "default::respool.errors.UncommittedChanges")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With SQLAlchemy 2.1 Flask-SQLAlchemy cannot make a base of one that is a dataclass."""
    if not version.startswith("2.0."):
        of_dataclasses = [item for item in items if _is_of_dataclasses(item)]
        items[:] = [item for item in items if item not in of_dataclasses]
        config.hook.pytest_deselected(items=of_dataclasses)


def _is_of_dataclasses(item: pytest.Item) -> bool:
    """Whether the base that it is run with, given as the arguments of ``types.new_class``, is a dataclass."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    base = parameters.get("db", parameters.get("model_class"))
    return isinstance(base, tuple) and MappedAsDataclass in base[1]
