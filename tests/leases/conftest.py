"""The fixture ``stand``: a test that has it runs once for each driver that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.leases.stand import POSTGRES, Stand
from tests.support.postgres import PostgresServer

#: Without a wish: one driver of each kind.
_USUAL = ("pysqlite", "psycopg", "asyncpg")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The usual drivers, or those that the marker ``on`` names."""
    if "stand" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("on")
        drivers = marker.args if marker else _USUAL
        marks = {driver: [pytest.mark.postgres] if driver in POSTGRES else [] for driver in drivers}
        metafunc.parametrize("stand", [pytest.param(name, marks=marks[name]) for name in drivers], indirect=True)


@pytest.fixture(scope="session")
def leases_url(postgres: PostgresServer) -> str:
    """One database for all tests: each run makes its tables anew."""
    return postgres.create_database("leases")


@pytest.fixture
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """A database seen through one driver; there is nothing in it but the tables of the stand."""
    driver: str = request.param
    if driver in POSTGRES:
        request.getfixturevalue(
            "postgres"
        ).start()  # does nothing, unless a test before took the server away and failed
    place = request.getfixturevalue("leases_url" if driver in POSTGRES else "sqlite_file")
    with closing(Stand(driver, place)) as stand:
        yield stand
