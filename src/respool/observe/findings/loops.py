"""Event loops that stand still: each is asked for a sign of life, and the line is looked up that keeps it from giving one."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

from respool.engine import AsyncFairPool
from respool.observe.findings.board import Board
from respool.pool.drivers.clock import Clock
from respool.whereabouts import Runner, current_frames, place_of

__all__ = ["Loops"]


class _Beat:
    """The pulse of one loop."""

    __slots__ = ("asked", "found", "thread")

    def __init__(self) -> None:
        self.thread = 0  #: where the loop runs; known from its first answer on
        self.asked: float | None = None  #: since when there is no answer
        self.found = False

    def answer(self) -> None:
        self.thread = threading.get_ident()
        self.asked, self.found = None, False


class Loops:
    """Watches the loops of pools for asyncio.

    Args:
        board: where findings go.
        blocked: seconds without an answer after which a loop counts as blocked.
    """

    def __init__(self, board: Board, blocked: float) -> None:
        self._board = board
        self._blocked = blocked
        self._beats: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Beat] = weakref.WeakKeyDictionary()

    def blocked(self, pool: Any) -> float:
        """For how many seconds the loops of a pool have not answered; 0.0 if they do."""
        asked = [beat.asked for loop in _loops(pool) if (beat := self._beats.get(loop)) and beat.asked is not None]
        waited = Clock.now() - min(asked, default=Clock.now())
        return waited if waited >= self._blocked else 0.0

    def are_late(self, pool: Any) -> bool:
        """Whether a loop of a pool has not answered since the last look."""
        return any((beat := self._beats.get(loop)) is not None and beat.asked is not None for loop in _loops(pool))

    def look(self, database: Any) -> None:
        """Ask the loops of a database's pool for a sign of life, and see who owes one."""
        for loop in _loops(database.pool):
            beat = self._beats.setdefault(loop, _Beat())
            if beat.asked is None:
                beat.asked = Clock.now()
                try:
                    loop.call_soon_threadsafe(beat.answer)
                except RuntimeError:  # it is being closed
                    beat.asked = None
            elif beat.thread and not beat.found and (waited := Clock.now() - beat.asked) >= self._blocked:
                beat.found = True
                self._find(beat.thread, waited, database.name)

    def _find(self, thread: int, waited: float, database: str) -> None:
        if thread not in current_frames():  # nobody runs it any more
            return
        self._board.found(
            "blocked-loop",
            f"the event loop has stood still for {waited:.1f} s",
            database=database,
            place=place_of(Runner(thread, None)) or _library_line(thread),
            facts=[f"its thread: {Runner(thread, None)}"],
            worst=waited,
        )


def _loops(pool: Any) -> list[asyncio.AbstractEventLoop]:
    if not isinstance(pool, AsyncFairPool):
        return []
    loops = [monitor.loop for monitor in pool.running_monitors()]  # type: ignore[attr-defined]
    return [loop for loop in loops if loop.is_running()]


def _library_line(thread: int) -> str | None:
    frame = current_frames().get(thread)
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
