"""A database that is shown, and whoever was observed is so no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from respool import Database, PoolConfig
from respool.observe.observation import observation


@pytest.fixture
def db(sqlite_file: str) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=2))
    yield db
    db.close()


@pytest.fixture(autouse=True)
def _nobody_is_observed_afterwards() -> Iterator[None]:
    yield
    observation.board.clear()
    for database in observation.databases:
        observation.remove(database)
