"""Whatever the program: what it sees, saves, raises and leaves behind with respool is what it does with SQLAlchemy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.arena import Arena
from tests.differential.search import search
from tests.differential.test_machine import DRIVERS

COUNTS = {
    "sqlite": 120,
    "aiosqlite": 80,
    "psycopg": 60,
    "psycopg_async": 40,
    "psycopg2": 40,
    "asyncpg": 40,
    "mariadb": 40,
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_promise_02_nobody_can_tell_a_lease_from_a_transaction(driver: str, server_of: Any) -> None:
    with Arena(driver, server_of(driver)) as arena:
        tally = search(arena, range(COUNTS[driver]))
    assert tally.found is None, str(tally.found)
