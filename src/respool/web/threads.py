"""The threads of sync handlers: whoever has a connection goes first.

A framework sends sync dependencies, handlers and validators to a limited number of threads, one after the other. A
request that holds a connection from one to the next would have to queue for a thread behind those that hold a thread
and wait for a connection: nobody could move until somebody's patience ends. So such a request does not queue: for as
long as it holds a connection its work gets a thread of its own. There are never more of these than connections.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar

from respool.session.base import DatabaseBase

__all__ = ["holders_first"]

#: More than there ever are connections: threads are made when needed, and used again.
_ANY_NUMBER = 10_000

#: The databases with sync sessions.
_databases: weakref.WeakSet[DatabaseBase[Any]] = weakref.WeakSet()


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
    """An executor with threads of their own for those who hold a connection."""

    def __init__(self, threads: int | None) -> None:
        super().__init__(threads, thread_name_prefix="asyncio")
        self._holders = ThreadPoolExecutor(_ANY_NUMBER, thread_name_prefix="respool-holder")

    def submit(self, function: Any, /, *args: Any, **keywords: Any) -> Future[Any]:
        if _holding():
            return self._holders.submit(function, *args, **keywords)
        return super().submit(function, *args, **keywords)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
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
    limiter.__class__ = _with_holders_first(kind)
    return int(min(limiter.total_tokens, _ANY_NUMBER))


@cache
def _with_holders_first(limiter: Any) -> Any:
    if hasattr(limiter, "respool_holders"):
        return limiter

    class HoldersFirst(limiter):  # type: ignore[misc]
        __slots__ = ()
        respool_holders: ClassVar[set[object]] = set()

        async def acquire_on_behalf_of(self, borrower: object) -> None:
            if _holding():
                self.respool_holders.add(borrower)
            else:
                await super().acquire_on_behalf_of(borrower)

        def release_on_behalf_of(self, borrower: object) -> None:
            if borrower in self.respool_holders:
                self.respool_holders.discard(borrower)
            else:
                super().release_on_behalf_of(borrower)

    return HoldersFirst
