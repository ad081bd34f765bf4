"""The server of each driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.differential.places import DRIVERS


def marks_of(driver: str) -> Any:
    """The mark of a driver's server, which may not be there."""
    return {"sqlite": (), "mariadb": pytest.mark.mariadb, "postgresql": pytest.mark.postgres}[DRIVERS[driver][0]]


@pytest.fixture
def server_of(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """A function that gives a driver's server."""
    fixtures = {"postgresql": "postgres", "mariadb": "mariadb"}

    def find(driver: str) -> Any:
        name = fixtures.get(DRIVERS[driver][0])
        return None if name is None else request.getfixturevalue(name)

    return find
