"""Work side by side within one request: child sessions, and functions that run with one each.

A child has a scope of its own inside of its parent's, with its own connection, objects and transaction. It ends by the
parent's rule, with its block. If the parent ends before, the child has not done its work: it is rolled back, and refuses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from respool.database.run import name_of
from respool.errors import ConfigError
from respool.scope.scope import Scope
from respool.session.signposts import refuse_coroutine, require_coroutine
from respool.whereabouts import caller

if TYPE_CHECKING:
    from respool.scope.contracts import Owner

__all__ = ["gather", "gather_async"]

S = TypeVar("S")
T = TypeVar("T")


# -- several at once --------------------------------------------------------------------------------------------------


def _width(database: Owner, scope: Scope, count: int, limit: int | None) -> int:
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
    database: Owner,
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
            async with database.block_of(scope.fork(name_of(function), place)) as child:
                results[number] = await require_coroutine(function(child), function, "gather()")

    with database.nesting.within(scope.life, database.max_connections, place):  # for all of them, or for none
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
    database: Owner,
    scope: Scope,
    functions: Sequence[Callable[[S], T]],
    limit: int | None,
    executor: Executor | None,
) -> list[T]:
    """See :meth:`respool.Database.gather`."""
    place = caller()
    share = _Share(database, scope, functions, place)
    with database.nesting.within(scope.life, database.max_connections, place):  # for all of them, or for none
        helpers = _width(database, scope, len(functions), limit) - 1
        if executor is not None or helpers == 0:
            share.work(executor, helpers)
        else:
            with ThreadPoolExecutor(helpers, thread_name_prefix="respool-gather") as own:
                share.work(own, helpers)
    return share.results


class _Share(Generic[S]):
    """Functions that some threads, and the one that waits for them, run between them."""

    def __init__(self, database: Owner, scope: Scope, functions: Sequence[Callable[[S], Any]], place: str) -> None:
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
                with self._database.block_of(self._scope.fork(name_of(function), self._place)) as child:
                    self.results[number] = refuse_coroutine(function(child), function, "gather()")
            except BaseException as error:
                self._failures.append(error)

    def _next(self) -> tuple[int, Callable[[S], Any]] | None:
        with self._lock:
            return None if self._failures else next(self._rest, None)


def _tell_of(first: BaseException, others: Sequence[BaseException]) -> None:
    if others:
        first.add_note(f"failed as well: {'; '.join(map(repr, others))}")
