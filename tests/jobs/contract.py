"""The contract of jobs: what holds in every library. Each case runs on every stand (``stands/``).

``python -m tests.jobs.contract`` writes the table of what ran where into ``docs/reference/jobs.md``.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from respool.errors import ScopeEnded, UncommittedChanges
from tests.jobs.stands import ALL
from tests.jobs.stands.base import Stand
from tests.session.shop import acquired, count, opened, opened_async
from tests.support.tables import ROOT, Table

__all__ = ["CASES", "TABLE", "Place"]


@dataclass
class Place:
    """Where a case runs.

    Args:
        kind: which stand.
        url, other_url: of two shops (sync driver).
        folder: for files.
        postgres: gives the URL of an empty database that has a server.
    """

    kind: type[Stand]
    url: str
    other_url: str
    folder: Path
    postgres: Callable[[], str]
    done: list[Any] = field(default_factory=list)  #: what there was when the library took a job for done

    @asynccontextmanager
    async def open(self, *, commit: Any = "on_success") -> AsyncIterator[Any]:
        """A stand on two databases; afterwards nothing is left in use."""
        async with self._database(self.url, "default", commit) as db:
            async with self._database(self.other_url, "other", commit) as other:
                stand = self.kind(db, other, lambda: self.done.append((self.saved(), len(db.scopes()))))
                async with stand.running():
                    yield stand
                assert db.scopes() + other.scopes() == ()
                assert acquired(db) + acquired(other) == 0

    @asynccontextmanager
    async def _database(self, url: str, name: str, commit: Any) -> AsyncIterator[Any]:
        if self.kind.kind == "sync":
            with opened(url, name=name, commit=commit) as database:
                yield database
        else:
            url = url.replace("sqlite:", "sqlite+aiosqlite:")
            async with opened_async(url, name=name, commit=commit) as database:
                yield database

    def saved(self) -> int:
        """How many orders there are, seen by somebody else."""
        return count(self.url)


Case = Callable[[Place], Awaitable[None]]

#: The cases by name, in the order of the table.
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[getattr(function, "__name__", "")] = function
    return function


# -- who commits, and what is told -----------------------------------------------------------------------------------


@case
async def success(place: Place) -> None:
    """It is saved, and the session over, before the library takes the job for done."""
    async with place.open() as stand:
        assert (await stand.perform("order")).ok
    assert (place.done, place.saved()) == ([(1, 0)], 1)


@case
async def exception(place: Place) -> None:
    """The library hears of it, and nothing is saved."""
    async with place.open() as stand:
        outcome = await stand.perform("broken")
        assert (outcome.ok, "LookupError" in outcome.error) == (False, True)
    assert (place.done, place.saved()) == ([], 0)


@case
async def explicit_commit_then_error(place: Place) -> None:
    """What was committed stays; what came after goes."""
    async with place.open() as stand:
        assert not (await stand.perform("explicit")).ok
    assert place.saved() == 1


@case
async def failing_commit(place: Place) -> None:
    """A job whose COMMIT fails has failed."""
    async with place.open() as stand:
        outcome = await stand.perform("order", 999)
        assert (outcome.ok, "IntegrityError" in outcome.error) == (False, True)
    assert (place.done, place.saved()) == ([], 0)


@case
async def forgotten_commit(place: Place) -> None:
    """It is rolled back, and told."""
    async with place.open(commit="manual") as stand:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert (await stand.perform("order")).ok
        lost = [each.message for each in told if isinstance(each.message, UncommittedChanges)]
        assert [each.scope for each in lost] == [scope.title for scope in stand.work.scopes]
    assert place.saved() == 0


@case
async def two_databases(place: Place) -> None:
    """Both are flushed before the first COMMIT."""
    async with place.open() as stand:
        assert not (await stand.perform("both", 2)).ok
        assert place.saved() == 0
        assert (await stand.perform("both", 1)).ok
    assert (place.saved(), count(place.other_url)) == (1, 1)


# -- again -------------------------------------------------------------------------------------------------------------


@case
async def retry_after_exception(place: Place) -> None:
    """The library's own retry: each attempt has a session of its own."""
    async with place.open() as stand:
        assert (await stand.perform("fails_first", tries=2)).ok
        first, second = stand.work.sessions
        assert first is not second
    assert place.saved() == 1


@case
async def retry_after_failing_commit(place: Place) -> None:
    """The library's own retry, for the error of a COMMIT."""
    async with place.open() as stand:
        assert (await stand.perform("commit_fails_first", tries=2)).ok
        assert len(stand.work.sessions) == 2
    assert place.saved() == 1


# -- whose session it is -----------------------------------------------------------------------------------------------


@case
async def label(place: Place) -> None:
    """The scope has the name of the job, and the library's id for it."""
    async with place.open() as stand:
        outcome = await stand.perform("order")
        name, *ids = stand.work.scopes[0].label.split()
        assert name.endswith("job")
        assert ids == ([outcome.id] if outcome.id else [])


@case
async def session_after_the_job(place: Place) -> None:
    """It is refused, by the name of the job."""
    async with place.open() as stand:
        await stand.perform("order")
        (session,) = stand.work.sessions
        with pytest.raises(ScopeEnded) as refused:
            session.add(object())
        assert refused.value.scope == stand.work.scopes[0].label


@case
async def two_at_once(place: Place) -> None:
    """Two jobs at the same time have nothing in common."""
    async with place.open(commit="manual") as stand:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncommittedChanges)
            outcomes = await asyncio.gather(stand.perform("meet", 1), stand.perform("meet", 2))
        assert [outcome.ok for outcome in outcomes] == [True, True], outcomes
        assert stand.work.met == 2


@case
async def inherited_context(place: Place) -> None:
    """A scope that is in force where the job was handed in is none of its business."""
    async with place.open() as stand, either(stand.db.scope("outer")) as outer:
        assert (await stand.perform("order")).ok
        assert stand.db.session is outer
        assert stand.work.sessions[0] is not outer
        assert place.saved() == 1


@case
async def plain_call(place: Place) -> None:
    """Called like a function it is no job: it uses the session in force, which commits later."""
    async with place.open() as stand:
        async with either(stand.db.scope("outer")) as outer:
            called = stand.call("order")
            if called is not None:
                await called
            assert stand.work.sessions == [outer]
            assert place.saved() == 0
    assert place.saved() == 1


@case
async def forked(place: Place) -> None:
    """What was connected before a fork is never used in the child, and still works in the parent."""
    (parent, before), *jobs, (again, after) = place.kind.forked(place.folder, place.postgres())
    assert (parent, before) == (again, after)
    assert len(jobs) >= 2
    for process, backend in jobs:
        assert process != parent
        assert backend != before


@asynccontextmanager
async def either(block: Any) -> AsyncIterator[Any]:
    """A block of either kind."""
    if hasattr(block, "__aenter__"):
        async with block as session:
            yield session
    else:
        with block as session:
            yield session


TABLE = Table(CASES, ALL, ROOT / "docs" / "reference" / "jobs.md", "tests/jobs/contract.py")

if __name__ == "__main__":
    TABLE.write()
