"""How scopes end under asyncio: shielded, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any

from respool.ending.end import End, Step, drive_async
from respool.ending.shield import DEADLINE, DeadlinePassed, shielded, to_its_end, unhurried
from respool.errors import CommitOutcomeUnknown
from respool.session.changes.losses import logger
from respool.session.session import Session

__all__ = ["end_async", "in_greenlet", "in_thread"]


async def in_greenlet(step: Step) -> Any:
    """Run a step of an async session."""
    return await step.scope.face.run_sync(step.run)


async def end_async(end: End, perform: Callable[[Step], Awaitable[Any]], *, deadline: float = DEADLINE) -> None:
    """End scopes, to the end, whatever becomes of the caller. Nothing is awaited where there is no session.

    Args:
        end: what ends, and how it went.
        perform: runs one step.
        deadline: seconds after which a COMMIT or ROLLBACK is given up and its connection discarded. Hooks may take
            longer, unless the caller is cancelled: then they have so many seconds more.

    Raises:
        CommitOutcomeUnknown: the deadline passed, and a COMMIT may have been under way.
        asyncio.CancelledError: the caller was cancelled; the end has come nevertheless. If it failed, that is logged,
            and the cause.
        Exception: what the end itself raises.
    """
    if not end.begin():
        return
    try:
        await drive_async(end.flushes(), perform)
        try:
            await shielded(drive_async(end.conclusions(), perform), deadline=deadline)
        finally:
            if end.hooked:  # never a reason for an unknown outcome: by now it is known
                await unhurried(drive_async(end.afterwards(), perform), grace=deadline)
    except DeadlinePassed as late:
        if (unknown := _too_late(end, deadline)) is not None:
            raise unknown from late
    except asyncio.CancelledError as cancelled:
        failure = cancelled.__cause__
        if isinstance(failure, DeadlinePassed):
            failure = _too_late(end, deadline)
        if isinstance(failure, Exception):  # nobody else will tell
            logger.error("%s: its end failed while it was cancelled", end.scopes[0].title, exc_info=failure)
            raise cancelled from failure
        raise
    finally:
        end.cut_off()


def _too_late(end: End, deadline: float) -> Exception | None:
    """What is to be told of an end that was given up."""
    title = end.scopes[0].title
    if not end.committing or end.error is not None:
        logger.error("%s: the end took longer than %g s; the connection was discarded", title, deadline)
        return None
    end.late = CommitOutcomeUnknown(
        f"{title}: the end took longer than {deadline:g} s; the connection was discarded",
        advice=[
            "look in the database whether the changes are there before doing them again",
            "find out what the database was waiting for: a lock, a full disk, a lost network",
        ],
        scope=title,
    )
    return end.late


async def in_thread(executor: Executor, step: Step, session: Session) -> Any:
    """Run a step of a sync session in a thread, with the caller's context; returns when the thread is done with it."""
    loop = asyncio.get_running_loop()
    return await to_its_end(loop.run_in_executor(executor, copy_context().run, step.run, session))
