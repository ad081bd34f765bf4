"""Finish what was begun: an end that a cancelled caller cannot cut off, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["DEADLINE", "DeadlinePassed", "shielded", "to_its_end", "unhurried"]

T = TypeVar("T")

#: Seconds that the end of a scope may take before its connection is discarded.
DEADLINE = 10.0
#: Seconds that a cancelled end has for discarding it.
_GRACE = 1.0

#: Strong references: the event loop itself keeps only weak ones.
_ends: set[asyncio.Task[Any]] = set()


class DeadlinePassed(Exception):
    """The work was not finished in time, and was cancelled."""


async def shielded(work: Coroutine[Any, Any, None], *, deadline: float = DEADLINE) -> None:
    """Run ``work`` to its end in a task of its own, however often the caller is cancelled meanwhile.

    Args:
        work: what must be finished.
        deadline: seconds after which it is cancelled itself, which makes its driver drop the connection.

    Raises:
        DeadlinePassed: the deadline passed.
        asyncio.CancelledError: the caller was cancelled; the work is done nevertheless. Its cause is why it failed, or
            that it was late.
    """
    loop = asyncio.get_running_loop()
    over, until = loop.create_future(), loop.time() + deadline
    task = loop.create_task(_told(work, over), name="respool: end of a scope")
    timer = loop.call_at(until, _tell, over)
    cancelled: asyncio.CancelledError | None = None
    try:
        if deadline > 0:
            await over  # asyncio.wait() costs a turn of the loop more, and the reply to COMMIT waits for each
    except asyncio.CancelledError as error:
        cancelled = error
    finally:
        timer.cancel()
        if not task.done():
            _ends.add(task)
            task.add_done_callback(_ends.discard)
    if not task.done():
        cancelled = await _wait(task, until) or cancelled
    late = not task.done()
    if late:
        task.cancel()
        cancelled = await _wait(task, loop.time() + _GRACE) or cancelled
        if task.done():
            work.close()  # perhaps it never began
    problem = _outcome(task)
    if late:
        late_problem = DeadlinePassed(f"not finished within {deadline:g} s")
        late_problem.__cause__ = problem
        problem = late_problem
    if cancelled is not None:
        raise cancelled from problem
    if problem is not None:
        raise problem


async def _told(work: Coroutine[Any, Any, None], over: asyncio.Future[None]) -> None:
    try:
        await work
    finally:
        _tell(over)


def _tell(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def unhurried(work: Coroutine[Any, Any, None], *, grace: float = DEADLINE) -> None:
    """Run ``work`` to its end, however long it takes; from the moment that the caller is cancelled it has a deadline.

    Args:
        work: what should be finished.
        grace: seconds that it has after that moment before it is cancelled too.

    Raises:
        asyncio.CancelledError: the caller was cancelled.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work, name="respool: hooks")
    _ends.add(task)
    task.add_done_callback(_ends.discard)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await _wait(task, loop.time() + grace)
        if not task.done():
            task.cancel()
            await _wait(task, loop.time() + _GRACE)
        _outcome(task)
        raise
    if (problem := _outcome(task)) is not None:
        raise problem


async def to_its_end(future: asyncio.Future[T]) -> T:
    """The result of what cannot be cancelled; a caller that is cancelled meanwhile is told afterwards."""
    cancelled = await _wait(future)
    if cancelled is not None:
        raise cancelled
    return future.result()


async def _wait(future: asyncio.Future[Any], until: float | None = None) -> asyncio.CancelledError | None:
    """Wait for a future, through every cancellation of the waiter, which is returned instead of raised."""
    loop = asyncio.get_running_loop()
    cancelled: asyncio.CancelledError | None = None
    while not future.done() and (until is None or until > loop.time()):
        try:
            await asyncio.wait({future}, timeout=None if until is None else until - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def _outcome(task: asyncio.Task[None]) -> BaseException | None:
    if not task.done():
        return None
    return asyncio.CancelledError() if task.cancelled() else task.exception()
