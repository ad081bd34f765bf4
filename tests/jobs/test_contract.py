"""Every case of the contract on every stand; and the table in the reference says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.contract import CASES, TABLE, Place
from tests.jobs.stands import ALL
from tests.jobs.stands.base import Stand
from tests.session.shop import fill

RUNS = [(stand, name) for stand in ALL for name in CASES if name not in stand.missing]


@pytest.mark.parametrize("stand, name", RUNS, ids=[f"{stand.title()}-{name}" for stand, name in RUNS])
async def test_contract(
    stand: type[Stand], name: str, sqlite_file: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url, other_url = f"sqlite:///{sqlite_file}", f"sqlite:///{tmp_path / 'other.db'}"
    fill(url)
    fill(other_url)
    await CASES[name](Place(stand, url, other_url, tmp_path, lambda: str(request.getfixturevalue("pg_url"))))


def test_the_table_in_the_reference_is_that_of_what_runs() -> None:
    """To write it anew: ``python -m tests.jobs.contract``."""
    assert TABLE.page() == TABLE.path.read_text(encoding="utf-8")


def test_no_cell_is_empty() -> None:
    for cell, (kinds, reasons) in TABLE.cells().items():
        assert kinds or reasons, cell
    assert {(stand.name, name, stand.kind) for stand, name in RUNS} == {
        (*cell, kind) for cell, (kinds, _) in TABLE.cells().items() for kind in kinds
    }


def test_what_is_not_applicable_is_a_case() -> None:
    assert {name for stand in ALL for name in stand.missing} <= set(CASES)
