"""Two refusals, before a connection is touched: not from elsewhere (bound means bound), and one user at a time."""

from __future__ import annotations

import asyncio
import functools
import threading
from asyncio import _get_running_loop, current_task
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from respool.errors import ConcurrentUse, ScopeError
from respool.session.places import Runner, at, place_of, running
from respool.session.scope import ENDED

if TYPE_CHECKING:
    from respool.session.session import Session

__all__ = ["ENDING", "OPERATIONS", "Guard", "guarded"]

F = TypeVar("F", bound=Callable[..., Any])

#: What changes a session or talks to the database. All else (queries, lazy loads) ends in one of these, or in
#: ``execute()``, which has its guard within.
OPERATIONS = (
    *("get", "get_one", "refresh", "connection"),
    *("add", "add_all", "delete", "delete_all", "merge", "merge_all", "expire", "expire_all", "expunge", "expunge_all"),
    *("begin", "begin_nested", "prepare", "bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"),
)

#: Who is inside a session while its scope ends.
ENDING = "the end of the scope"


class Guard:
    """Who is inside a session. One at a time; the one inside may enter again."""

    __slots__ = ("_lock", "_task", "_thread", "taken")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.taken = self._lock.locked  #: whether somebody is inside
        self._thread = 0  #: 0 while nobody is inside, or on nobody's behalf
        self._task: asyncio.Task[Any] | None = None

    def enter(self, session: Session) -> bool:
        """Go inside; ``False`` if the caller is inside already and must not :meth:`leave` again.

        Raises:
            ConcurrentUse: somebody else is inside.
            ScopeEnded: the session's scope is over.
            WrongScope: it is not in force here.
        """
        # as running() tells it, without making an object of it: this is asked at every call
        loop = _get_running_loop()
        task = current_task(loop) if loop is not None else None
        thread = get_ident()
        if self._thread == thread and self._task is task:
            return False
        if not self._lock.acquire(False):
            self._refuse(session)
        self._thread, self._task = thread, task
        if session.scope is not None:
            try:
                session.scope.require_usable()
            except BaseException:
                self.leave(session)
                raise
        return True

    def leave(self, session: Session) -> None:
        """Go out; if the scope ended meanwhile, whoever goes out last gives the connection back."""
        try:
            if session._watch is not None:
                session.has_passed()
        finally:
            self.release()
            if session.scope is not None and session.scope.state is ENDED:
                session.last_one_out()

    @property
    def inside(self) -> Runner | None:
        """Who is inside now."""
        thread, task = self._thread, self._task
        return Runner(thread, task) if thread else None

    def seize(self) -> bool:
        """Go inside for the scope's end, on nobody's behalf yet; ``False`` if somebody is inside."""
        return self._lock.acquire(blocking=False)

    def adopt(self) -> None:
        """Act for the scope's end from here on: its steps may run in one thread after another."""
        self._thread, self._task = running()

    def release(self) -> None:
        """Go out, and leave the rest to the scope's end."""
        self._thread, self._task = 0, None
        self._lock.release()

    def _refuse(self, session: Session) -> None:
        me, inside = running(), self.inside
        owner = str(inside) if inside is not None else ENDING
        place = place_of(inside) if inside is not None else None
        raise ConcurrentUse(
            f"{me} entered the session of {session.title} while {owner} was inside",
            now=[at(owner, place), at(str(me), place_of(me))],
            advice=[
                "a session is for one task or thread at a time: await its calls one after the other, not in gather()",
                'for parallel work give each task a scope of its own: async with db.scope("part") as session',
            ],
            scope=session.title,
            owner=owner,
            intruder=str(me),
            owner_place=place,
        )


def guarded(method: F, *, ignore_ended: bool = False) -> F:
    """Wrap a session's method: refused from elsewhere, while somebody else is inside, and after the scope's end.

    Args:
        method: the method.
        ignore_ended: do nothing after the scope's end instead: there is nothing left to close or to roll back.
    """

    @functools.wraps(method)
    def wrapper(self: Session, *args: Any, **kwargs: Any) -> Any:
        guard = self._guard
        try:
            entered = guard.enter(self)
        except ScopeError:
            if ignore_ended and self.scope is not None and self.scope.state is ENDED:
                return None
            raise
        try:
            return method(self, *args, **kwargs)
        finally:
            if entered:
                guard.leave(self)

    return wrapper  # type: ignore[return-value]
