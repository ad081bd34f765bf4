"""Which reads went by plans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from respool.session.loading import awaited, batches, gets, lazies, running, selects

__all__ = ["watched"]


@contextmanager
def watched() -> Iterator[list[str]]:
    """The statements that go by plans in this block, in order; those of async sessions, too."""
    went: list[str] = []
    plain, plain_awaited = running.rows_of, awaited.rows_of

    def rows_of(session: Any, life: Any, plans: Any, plan: Any, *asked: Any) -> Any:
        rows = plain(session, life, plans, plan, *asked)
        if rows is not None:
            went.append(plan.compiled.string)
        return rows

    async def awaited_rows(session: Any, life: Any, plans: Any, plan: Any, *asked: Any) -> Any:
        rows = await plain_awaited(session, life, plans, plan, *asked)
        if rows is not None:
            went.append(plan.compiled.string)
        return rows

    with mock.patch.object(awaited, "rows_of", awaited_rows):
        with mock.patch.object(gets, "rows_of", rows_of), mock.patch.object(lazies, "rows_of", rows_of):
            with mock.patch.object(selects, "rows_of", rows_of), mock.patch.object(batches, "rows_of", rows_of):
                yield went
