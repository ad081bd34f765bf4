from __future__ import annotations

import pytest

from tests.pool.cases.driver import ASYNCIO, THREADS, Driver


@pytest.fixture(params=[THREADS, ASYNCIO], ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each case runs on both."""
    return request.param
