"""Work side by side within one request: child sessions, and functions that run with one each.

A child has a scope of its own inside of its parent's, with its own connection, objects and transaction. It ends by the
parent's rule, with its block. If the parent ends before, the child has not done its work: it is rolled back, and refuses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import orm

from respool.errors import ConfigError, ScopeError
from respool.session.blocks import AsyncScopeBlock, ScopeBlock
from respool.session.life import life_of
from respool.session.places import caller
from respool.session.repeat import name_of
from respool.session.scope import Scope
from respool.session.signposts import async_block, block, refuse_coroutine, require_coroutine

if TYPE_CHECKING:
    from respool.session.aio import AsyncSession
    from respool.session.base import DatabaseBase
    from respool.session.session import Session

__all__ = ["fork_block", "fork_block_async", "gather", "gather_async"]

F = TypeVar("F", bound="AsyncSession")
S = TypeVar("S")
T = TypeVar("T")
Rules = TypeVar("Rules", bound="Session")


@block
def fork_block(session: Rules, label: str, place: str) -> Iterator[Rules]:
    """The block of a child. See :meth:`respool.Session.fork`."""
    parent = _parent(session)
    with ScopeBlock(parent.owner, _child(parent, label, place)) as child:
        yield child


@async_block
async def fork_block_async(face: F, label: str, place: str) -> AsyncIterator[F]:
    """The same for asyncio."""
    parent = _parent(face.sync_session)
    async with AsyncScopeBlock(parent.owner, _child(parent, label, place)) as child:
        yield child


def _parent(session: orm.Session) -> Scope:
    scope = life_of(session).scope
    if scope is None:
        raise ScopeError(
            "fork() of a session without a scope",
            advice=["a child belongs to a request or db.scope() block: fork a session of one of these"],
        )
    return scope


def _child(parent: Scope, label: str, place: str) -> Scope:
    child = Scope(
        parent.database,
        f"{parent.label} > {label}",
        parent.variable,
        parent.siblings,
        owner=parent.owner,
        policy=parent.policy,
        place=place,
        parent=parent,
    )
    parent.adopt(child)
    return child


# -- several at once --------------------------------------------------------------------------------------------------


def _width(database: DatabaseBase[Any], scope: Scope, count: int, limit: int | None) -> int:
    """How many run at once: no more than there are connections for."""
    if limit is not None and limit < 1:
        raise ConfigError(
            f"gather(limit={limit}) is not accepted",
            advice=["write how many functions may run at once: limit=4"],
            setting="limit",
        )
    most = database.max_connections
    if most is not None:
        most -= scope.life is not None and scope.life.holds_connection
    return max(1, min(bound for bound in (count, limit, most) if bound is not None))


async def gather_async(
    database: DatabaseBase[S],
    scope: Scope,
    functions: Sequence[Callable[[S], Awaitable[T]]],
    limit: int | None,
) -> list[T]:
    """See :meth:`respool.AsyncDatabase.gather`."""
    place = caller()
    results: list[Any] = [None] * len(functions)
    rest = iter(enumerate(functions))

    async def work() -> None:
        for number, function in rest:
            async with AsyncScopeBlock(database, _child(scope, name_of(function), place)) as child:
                results[number] = await require_coroutine(function(child), function, "gather()")

    with database.nesting.within(scope.session, database.max_connections, place):  # for all of them, or for none
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_width(database, scope, len(functions), limit)):
                    group.create_task(work())
        except BaseExceptionGroup as failed:
            first, *others = failed.exceptions
            _tell_of(first, others)
            raise first from None
    return results


def gather(
    database: DatabaseBase[S],
    scope: Scope,
    functions: Sequence[Callable[[S], T]],
    limit: int | None,
    executor: Executor | None,
) -> list[T]:
    """See :meth:`respool.Database.gather`."""
    place = caller()
    share = _Share(database, scope, functions, place)
    with database.nesting.within(scope.session, database.max_connections, place):  # for all of them, or for none
        helpers = _width(database, scope, len(functions), limit) - 1
        if executor is not None or helpers == 0:
            share.work(executor, helpers)
        else:
            with ThreadPoolExecutor(helpers, thread_name_prefix="respool-gather") as own:
                share.work(own, helpers)
    return share.results


class _Share(Generic[S]):
    """Functions that some threads, and the one that waits for them, run between them."""

    def __init__(
        self, database: DatabaseBase[S], scope: Scope, functions: Sequence[Callable[[S], Any]], place: str
    ) -> None:
        self.results: list[Any] = [None] * len(functions)
        self._database = database
        self._scope = scope
        self._place = place
        self._rest = iter(enumerate(functions))
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []

    def work(self, executor: Executor | None, helpers: int) -> None:
        """Run all, here and in so many threads of an executor. Raises what failed first, when all have ended."""
        futures = []
        if executor is not None:
            futures = [executor.submit(copy_context().run, self._part) for _ in range(helpers)]
        copy_context().run(self._part)  # so nobody waits for a thread that may never be free
        for future in futures:
            if not future.cancel():
                future.result()
        if self._failures:
            first, *others = self._failures
            _tell_of(first, others)
            raise first

    def _part(self) -> None:
        while (taken := self._next()) is not None:
            number, function = taken
            try:
                with ScopeBlock(self._database, _child(self._scope, name_of(function), self._place)) as child:
                    self.results[number] = refuse_coroutine(function(child), function, "gather()")
            except BaseException as error:
                self._failures.append(error)

    def _next(self) -> tuple[int, Callable[[S], Any]] | None:
        with self._lock:
            return None if self._failures else next(self._rest, None)


def _tell_of(first: BaseException, others: Sequence[BaseException]) -> None:
    if others:
        first.add_note(f"failed as well: {'; '.join(map(repr, others))}")
