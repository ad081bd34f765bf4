"""Which methods of a session are for one user at a time, and the wrapper that makes them so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from respool.errors import ScopeError
from respool.session.life import life_of
from respool.session.scope import ENDED

__all__ = ["OPERATIONS", "guarded"]

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
