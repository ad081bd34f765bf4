"""Databases that are observed for the length of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from respool import Database, PoolConfig
from respool.observe import observe
from respool.observe.observation import observation


@pytest.fixture
def watch() -> Iterator[Callable[..., Any]]:
    """``watch(db)`` observes it; all ends with the test."""
    watched: list[Any] = []

    def start(database: Any) -> Any:
        observe(database)
        watched.append(database)
        return database

    yield start
    for database in watched:
        observation.remove(database)
    observation.board.clear()


@pytest.fixture
def shop(sqlite_file: str, watch: Callable[..., Any]) -> Iterator[Database]:
    """An observed database with a table."""
    db = watch(Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=3)))
    with db.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    yield db
    db.close()
