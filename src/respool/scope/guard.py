"""Two refusals, before a connection is touched: not from elsewhere (bound means bound), and one user at a time."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop, current_task
from threading import get_ident
from typing import Any

from respool.errors import ConcurrentUse
from respool.scope.contracts import Tenant
from respool.scope.scope import ENDED
from respool.whereabouts import Runner, at, place_of, running

__all__ = ["ENDING", "Guard"]

#: Who is inside a session while its scope ends.
ENDING = "the end of the scope"


class Guard:
    """Who is inside a session. One at a time; the one inside may enter again."""

    __slots__ = ("_lock", "_task", "taken", "thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.taken = self._lock.locked  #: whether somebody is inside
        self.thread = 0  #: of who is inside; 0 while nobody is, or on nobody's behalf
        self._task: asyncio.Task[Any] | None = None

    def enter(self, life: Tenant, session: Any) -> bool:
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
        if self.thread == thread and self._task is task:
            return False
        if not self._lock.acquire(False):
            self._refuse(life)
        self.thread, self._task = thread, task
        if life.scope is not None:
            try:
                life.scope.require_usable()
            except BaseException:
                self.leave(life, session)
                raise
        return True

    def leave(self, life: Tenant, session: Any) -> None:
        """Go out; if the scope ended meanwhile, whoever goes out last gives the connection back."""
        try:
            if life.watch is not None:
                life.has_passed(session)
        finally:
            self.thread, self._task = 0, None  # as release(), written out
            self._lock.release()
            if life.scope is not None and life.scope.state is ENDED:
                life.last_one_out(session)

    @property
    def inside(self) -> Runner | None:
        """Who is inside now."""
        thread, task = self.thread, self._task
        return Runner(thread, task) if thread else None

    def seize(self) -> bool:
        """Go inside for the scope's end, on nobody's behalf yet; ``False`` if somebody is inside."""
        return self._lock.acquire(blocking=False)

    def adopt(self) -> None:
        """Act for the scope's end from here on: its steps may run in one thread after another."""
        loop = _get_running_loop()  # as running(), without making an object of it
        self.thread, self._task = get_ident(), current_task(loop) if loop is not None else None

    def release(self) -> None:
        """Go out, and leave the rest to the scope's end."""
        self.thread, self._task = 0, None
        self._lock.release()

    def _refuse(self, life: Tenant) -> None:
        me, inside = running(), self.inside
        owner = str(inside) if inside is not None else ENDING
        place = place_of(inside) if inside is not None else None
        raise ConcurrentUse(
            f"{me} entered the session of {life.title} while {owner} was inside",
            now=[at(owner, place), at(str(me), place_of(me))],
            advice=[
                "a session is for one task or thread at a time: await its calls one after the other, not in gather()",
                'for parallel work give each task a scope of its own: async with db.scope("part") as session',
            ],
            scope=life.title,
            owner=owner,
            intruder=str(me),
            owner_place=place,
        )
