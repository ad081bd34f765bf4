"""The threads of sync handlers: whoever has a connection goes first, and of the others whoever came first.

A framework sends sync dependencies, handlers and validators to a limited number of threads, one after the other. A
request that holds a connection from one to the next would have to queue for a thread behind those that hold a thread
and wait for a connection: nobody could move until somebody's patience ends. So such a request does not queue: for as
long as it holds a connection its work gets a thread of its own. There are never more of these than connections.

A request that holds none would queue anew at each hop, behind all who came after it: some would wait for a multiple of
what others do. So they queue by the time at which their request came, until its answer begins: a long one would go before
all others for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, ClassVar

from respool.database.base import DatabaseBase

__all__ = ["arrive", "holders_first"]

#: More than there ever are connections: threads are made when needed, and used again.
_ANY_NUMBER = 10_000

#: The databases with sync sessions.
_databases: weakref.WeakSet[DatabaseBase[Any]] = weakref.WeakSet()

_arrivals = count()
#: The how manieth request this is; empty from its answer on, since the parts of that, what it leaves behind, and the next
#: request of its connection or of a test's client may have the same context.
_arrival: ContextVar[list[int] | None] = ContextVar("respool_arrival", default=None)


def arrive() -> list[int]:
    """A request has come: its place, to be emptied where its answer begins; empty for a part of one that is being served."""
    place: list[int] = []
    if not _arrival.get():
        place.append(next(_arrivals))
        _arrival.set(place)
    return place


def _turn() -> tuple[int, int]:
    """What is smaller goes first: whoever is no request comes now, and nothing is equal."""
    number = next(_arrivals)
    return (next(iter(_arrival.get() or ()), number), number)


def holders_first(databases: Sequence[DatabaseBase[Any]]) -> int:
    """Let those who hold a connection go first, in all threads of the running loop's work.

    Args:
        databases: those with sync sessions.

    Returns:
        how many threads there are for those who hold none.
    """
    _databases.update(databases)
    return max(_in_executor(), _in_limiter())


def _holding() -> bool:
    return any(database.holds_connection() for database in _databases)


# -- the loop's own threads: asyncio.to_thread(), Litestar, Quart, Falcon ------------------------------------------------


class _HoldersFirst(ThreadPoolExecutor):
    """An executor with threads of their own for those who hold a connection; the others go in the order of requests."""

    def __init__(self, threads: int | None) -> None:
        super().__init__(threads, thread_name_prefix="asyncio")
        self._holders = ThreadPoolExecutor(_ANY_NUMBER, thread_name_prefix="respool-holder")
        self._line: list[Any] = []  #: turn, future and call
        self._moving = threading.Lock()

    def submit(self, function: Any, /, *args: Any, **keywords: Any) -> Future[Any]:
        if _holding():
            return self._holders.submit(function, *args, **keywords)
        future: Future[Any] = Future()
        with self._moving:
            super().submit(self._run_first)  # refuses after a shutdown
            heappush(self._line, (_turn(), future, partial(function, *args, **keywords)))
        return future

    def _run_first(self) -> None:
        """A thread is free: whose turn is it?"""
        with self._moving:
            while self._line:
                _, future, call = heappop(self._line)
                if future.set_running_or_notify_cancel():
                    break
            else:
                return
        try:
            result = call()
        except BaseException as error:
            future.set_exception(error)
            del future  # the error's traceback has this frame
        else:
            future.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            with self._moving:
                for _, future, _ in self._line:
                    future.cancel()
        self._holders.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


def _in_executor() -> int:
    loop = asyncio.get_running_loop()
    present = getattr(loop, "_default_executor", None)
    if isinstance(present, _HoldersFirst):
        return present._max_workers
    executor = _HoldersFirst(getattr(present, "_max_workers", None))
    loop.set_default_executor(executor)
    if present is not None:
        present.shutdown(wait=False)  # what was sent to it is done all the same
    return executor._max_workers


# -- anyio's threads: Starlette, FastAPI ---------------------------------------------------------------------------------


def _in_limiter() -> int:
    """Make the limiter that exists the one that we want: its limit and its queue stay what they are."""
    if "anyio" not in sys.modules:
        return 0
    from anyio.to_thread import current_default_thread_limiter

    limiter: Any = current_default_thread_limiter()
    kind: Any = type(limiter)
    if not hasattr(kind, "respool_holders"):
        limiter.__class__ = _with_holders_first(kind, _Line())
    return int(min(limiter.total_tokens, _ANY_NUMBER))


class _Line:
    """Who waits for a thread of anyio's, and who was let through."""

    def __init__(self) -> None:
        self.inside: set[object] = set()
        self._waiting: list[Any] = []  #: turn, future and borrower

    async def enter(self, borrower: object, limit: float) -> None:
        """Be let through when it is one's turn."""
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (_turn(), turn, borrower))
        self.move(limit)
        try:
            await turn
        except BaseException:
            self.leave(borrower, limit)
            raise

    def leave(self, borrower: object, limit: float) -> None:
        self.inside.discard(borrower)
        self.move(limit)

    def move(self, limit: float) -> None:
        """Let through who is next, as long as there are threads."""
        while self._waiting and len(self.inside) < limit:
            _, turn, borrower = heappop(self._waiting)
            if not turn.done():  # else it was cancelled
                self.inside.add(borrower)
                turn.set_result(None)


def _with_holders_first(limiter: Any, line: _Line) -> Any:
    """A class for one limiter, which has no place for anything of ours."""

    class HoldersFirst(limiter):  # type: ignore[misc]
        __slots__ = ()
        respool_holders: ClassVar[set[object]] = set()

        def _set_total_tokens(self, value: float) -> None:
            limiter.total_tokens.fset(self, value)
            line.move(value)

        total_tokens = property(limiter.total_tokens.fget, _set_total_tokens)

        async def acquire_on_behalf_of(self, borrower: object) -> None:
            if _holding():
                self.respool_holders.add(borrower)
                return
            await line.enter(borrower, self.total_tokens)
            try:
                await super().acquire_on_behalf_of(borrower)
            except BaseException:
                line.leave(borrower, self.total_tokens)
                raise

        def release_on_behalf_of(self, borrower: object) -> None:
            if borrower in self.respool_holders:
                self.respool_holders.discard(borrower)
            else:
                super().release_on_behalf_of(borrower)
                line.leave(borrower, self.total_tokens)

    return HoldersFirst
