"""Which methods of a session are for one user at a time, and the wrapper that makes them so."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.util.concurrency import in_greenlet

from respool.errors import ScopeError
from respool.scope.scope import ENDED
from respool.session import unloaded
from respool.session.life import Life, life_of

__all__ = ["OPERATIONS", "guarded", "require_own_loop", "require_usable"]

F = TypeVar("F", bound=Callable[..., Any])

#: What changes a session or talks to the database. All else (queries, lazy loads) ends in one of these, or in
#: ``execute()``, which has its guard within.
OPERATIONS = (
    *("get", "get_one", "refresh", "connection"),
    *("add", "add_all", "delete", "delete_all", "merge", "merge_all", "expire", "expire_all", "expunge", "expunge_all"),
    *("begin", "begin_nested", "prepare", "bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"),
)


def guarded(method: F, *, ignore_ended: bool = False) -> F:
    """Wrap a session's method, or a function whose first argument is a session: refused from elsewhere, while somebody else is inside, and after the scope's end.

    Args:
        method: the method.
        ignore_ended: do nothing after the scope's end instead: there is nothing left to close or to roll back.
    """
    closes = method.__name__ == "expunge_all"  # which SQLAlchemy's close() calls

    @functools.wraps(method)
    def wrapper(session: Any, *args: Any, **kwargs: Any) -> Any:
        life = life_of(session)
        guard = life.guard
        if life.over and life.scope is not None and not closes:
            return None if ignore_ended else life.scope.refuse_ended()
        try:
            entered = guard.enter(life, session)
        except ScopeError:
            if ignore_ended and life.scope is not None and life.scope.state is ENDED:
                return None
            raise
        try:
            return method(session, *args, **kwargs)
        finally:
            if entered:
                guard.leave(life, session)

    return wrapper  # type: ignore[return-value]


def require_usable(life: Life, *, awaits: bool = False) -> None:
    """Refuse a session where its scope is over or another one is in force, and an async one where nothing awaits it.

    Args:
        life: the session's.
        awaits: whether it is a coroutine that asks, and no greenlet.
    """
    scope = life.scope
    if scope is not None:
        if scope.state is ENDED or life.over:
            scope.refuse_ended()
        if not life.guard.taken():  # else whoever is inside was let in
            scope.require_usable()
    if life.asynchronous and life.guard.thread and not life.at_hand:
        if not awaits and not in_greenlet():
            raise unloaded.not_awaited(life.title)
        require_own_loop(life)


def require_own_loop(life: Life) -> None:
    """An async session belongs to the loop of its first use."""
    loop = asyncio.get_running_loop()
    if life.loop is None:
        life.loop = loop
    elif life.loop is not loop and life.scope is not None:
        life.scope.refuse_elsewhere(
            "in another event loop than before",
            "the loop of its first use is " + ("closed" if life.loop.is_closed() else "another one, and not closed"),
            "what was connected in one loop does not work in another: one asyncio.run() for the application",
        )
