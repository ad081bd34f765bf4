"""Databases in memory, and a count of the reads that went by plans."""

from __future__ import annotations

from typing import Any

import pytest

from respool.session.loading import gets, lazies, running, selects


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that went by plans, in order."""
    went: list[str] = []
    plain = running.rows_of

    def rows_of(session: Any, life: Any, plans: Any, plan: Any, given: Any, extracted: Any) -> Any:
        rows = plain(session, life, plans, plan, given, extracted)
        if rows is not None:
            went.append(plan.sql)
        return rows

    for module in (gets, lazies, selects):
        monkeypatch.setattr(module, "rows_of", rows_of)
    return went
