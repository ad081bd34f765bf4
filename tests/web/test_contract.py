"""Every case of the contract on every stand; and the table in the reference says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.session.shop import fill
from tests.support.postgres import PostgresServer
from tests.web.contract import CASES, TABLE, Place
from tests.web.stands import ALL
from tests.web.stands.base import Stand

RUNS = [(stand, name) for stand in ALL for name in CASES if name not in stand.missing]


@pytest.mark.parametrize("stand, name", RUNS, ids=[f"{stand.title()}-{name}" for stand, name in RUNS])
async def test_contract(stand: type[Stand], name: str, shop_url: str, tmp_path: Path) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    await CASES[name](Place(stand, shop_url, other_url))


#: What a database of its own account has a say in: when a deferred constraint fails, and what is over then.
TRUTH = (
    *("success", "failing_commit", "failing_commit_with_a_handler", "two_databases"),
    *("late_failing_commit", "held_back_start", "error_page_of_a_failed_commit"),
)
ON_POSTGRES = [
    pytest.param(stand, name, driver, id=f"{stand.title()}-{driver}-{name}")
    for stand, name in RUNS
    if name in TRUTH
    for driver in (("psycopg",) if stand.kind == "sync" else ("psycopg", "asyncpg"))
]


@pytest.mark.parametrize("stand, name, driver", ON_POSTGRES)
async def test_contract_on_postgres(
    stand: type[Stand], name: str, driver: str, pg_url: str, postgres: PostgresServer
) -> None:
    fill(pg_url)
    other_url = postgres.create_database(f"{make_url(pg_url).database}_other")
    fill(other_url)
    try:
        await CASES[name](Place(stand, pg_url, other_url, driver))
    finally:
        postgres.drop_database(str(make_url(other_url).database))


def test_the_table_in_the_reference_is_that_of_what_runs() -> None:
    """To write it anew: ``python -m tests.web.contract``."""
    assert TABLE.page() == TABLE.path.read_text(encoding="utf-8")


def test_no_cell_is_empty() -> None:
    for cell, (kinds, reasons) in TABLE.cells().items():
        assert kinds or reasons, cell
    assert {(stand.name, name, stand.kind) for stand, name in RUNS} == {
        (*cell, kind) for cell, (kinds, _) in TABLE.cells().items() for kind in kinds
    }


def test_what_is_not_applicable_is_a_case() -> None:
    assert {name for stand in ALL for name in stand.missing} <= set(CASES)
