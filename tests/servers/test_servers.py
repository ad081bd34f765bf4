"""Every case on every server; and the table in the reference says so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.cases import ALONE, CASES, PAGE, Place, page
from tests.servers.serving import SERVERS, Running, Server, running
from tests.session.shop import fill
from tests.support.postgres import PostgresServer

RUNS = [(server, name) for server in SERVERS for name in CASES if name not in server.missing]
TOGETHER = [(server, name) for server, name in RUNS if name not in ALONE]
APART = [(server, name) for server, name in RUNS if name in ALONE]


def ids(runs: list[tuple[Server, str]]) -> list[str]:
    return [f"{server.name}-{name}" for server, name in runs]


@pytest.fixture
def place(request: pytest.FixtureRequest, pg_url: str, tmp_path: Path) -> Iterator[Place]:
    server = request.param
    if not server.installed:
        pytest.skip(f"{server.package} is not installed")
    fill(pg_url)
    place = Place(server, pg_url, tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str, Running]]:
    """A server that is started once for its cases."""
    server = request.param
    if not server.installed:
        pytest.skip(f"{server.package} is not installed")
    name = f"served_{uuid.uuid4().hex[:12]}"
    url = postgres.create_database(name)
    fill(url)
    with running(server, url, tmp_path_factory.mktemp("served")) as there:
        yield server, url, there
    postgres.drop_database(name)


@pytest.mark.parametrize("shared, name", TOGETHER, indirect=["shared"], ids=ids(TOGETHER), scope="module")
def test_server(shared: tuple[Server, str, Running], name: str, tmp_path: Path) -> None:
    server, url, there = shared
    place = Place(server, url, tmp_path, there)
    try:
        CASES[name](place)
    finally:
        place.close()


@pytest.mark.parametrize("place, name", APART, indirect=["place"], ids=ids(APART))
def test_end_of_server(place: Place, name: str) -> None:
    CASES[name](place)


def test_the_table_in_the_reference_is_that_of_what_runs() -> None:
    """To write it anew: ``python -m tests.servers.cases``."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_what_is_not_applicable_is_a_case() -> None:
    assert {name for server in SERVERS for name in server.missing} <= set(CASES)
