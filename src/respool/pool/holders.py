"""Who has a connection or waits for one, told to people: the request, the thread or task, and the line it is at.

Taking a connection must cost next to nothing, so only an identity is kept; where its thread or task *is now* is looked
up when somebody asks, which is also what one wants to know.  Where it *took* the connection is kept as well when the
pool watches for leaks.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import islice
from types import FrameType
from typing import Any, Protocol

__all__ = [
    "Client",
    "Holder",
    "Who",
    "client",
    "frames_here",
    "get_label",
    "is_library",
    "label",
    "line_here",
    "stack",
    "watched",
]

#: Who has a connection, as it is kept: the arguments of :class:`Holder`, made at every checkout and seldom looked at.
Who = tuple[Any, ...]

#: What the present work is called, such as ``"GET /orders/3"``. Whoever opens a request or a job sets it.
label: ContextVar[str | None] = ContextVar("respool_label", default=None)
get_label = label.get  # asked at every checkout


class Client(Protocol):
    """Whoever the present work is done for. It may go away, and then there is no point in waiting any longer."""

    def waits(self, leave: Callable[[], object]) -> None:
        """The work waits for a connection from now on; call ``leave`` once the client is gone. From any thread."""

    def goes_on(self, leave: Callable[[], object]) -> None:
        """The work waits no more."""


#: The client of the present work, where there is one that can go away. Whoever opens a request sets it.
client: ContextVar[Client | None] = ContextVar("respool_client", default=None)


@contextmanager
def watched(leave: Callable[[], object]) -> Iterator[None]:
    """For the length of a block the work waits; ``leave`` is called if its client goes away meanwhile."""
    here = client.get()
    if here is None:
        yield
        return
    here.waits(leave)
    try:
        yield
    finally:
        here.goes_on(leave)


_DEPTH = 12
#: Where Python's own modules are.
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
#: Where the commands are that packages have installed.
_COMMANDS = sysconfig.get_path("scripts") + os.sep
#: Folders of installed packages, of whichever environment: one may stand within another.
_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
_OURS = ("respool.", "sqlalchemy.", "asyncio.", "threading", "contextlib", "concurrent.", "logging")


class Holder:
    """A thread or task, and what it works on.

    Args:
        label: what its work is called.
        thread: the thread's number.
        task: in asyncio, a weak reference to the task.
        stack: the lines that led to the pool, where they were kept.
    """

    __slots__ = ("label", "stack", "task", "thread")

    def __init__(
        self,
        label: str | None,
        thread: int,
        task: weakref.ref[asyncio.Task[Any]] | None = None,
        stack: tuple[str, ...] = (),
    ) -> None:
        self.label = label
        self.thread = thread
        self.task = task
        self.stack = stack

    def name(self) -> str:
        """``GET /orders/3 (task Task-7)``."""
        if self.task is None:
            who = next((f"thread {t.name}" for t in threading.enumerate() if t.ident == self.thread), "an ended thread")
        else:
            task = self.task()
            who = "a vanished task" if task is None else f"{'ended ' if task.done() else ''}task {task.get_name()}"
        return who if self.label is None else f"{self.label} ({who})"

    def place(self) -> str | None:
        """``shop/views.py:88 in checkout``: the line of the user's code that it is at now, if it can be told."""
        task = None if self.task is None else self.task()
        if self.task is None or (task is not None and asyncio.current_task(task.get_loop()) is task):
            frames = frames_here() if self.thread == threading.get_ident() else _outwards(_now(self.thread))
        else:
            frames = _outwards(None if task is None else _innermost(task))
        lines = _lines(frames)
        return lines[0] if lines else None

    def __str__(self) -> str:
        place = self.place()
        text = self.name() if place is None else f"{self.name()}, now at {place}"
        return text + "".join(f"\n    taken at {line}" for line in self.stack)


def _now(thread: int) -> FrameType | None:
    return sys._current_frames().get(thread)


def stack() -> tuple[str, ...]:
    """The lines of the user's code that led here, the innermost first."""
    return _lines(frames_here())


def line_here() -> str:
    """The user's line that led here, or nothing."""
    return next(iter(stack()), "")


@cache
def is_library(file: str) -> bool:
    """Whether a file is of Python's own or of an installed package: never the line that somebody has to look at."""
    if file.startswith(_COMMANDS) and not file.endswith(".py"):
        return True
    return file.startswith((*_LIBRARIES, "<frozen ")) or bool(_INSTALLED.search(file))


def frames_here() -> Iterator[FrameType]:
    """The frames from here outwards. Where a greenlet's end, those of the one that started it go on."""
    frame: FrameType | None = sys._getframe(1)
    greenlet = sys.modules.get("greenlet")
    inside = greenlet.getcurrent() if greenlet is not None else None
    while frame is not None:
        yield frame
        frame = frame.f_back
        if frame is None and inside is not None:
            inside = inside.parent
            frame = inside.gr_frame if inside is not None else None


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _innermost(task: asyncio.Task[Any]) -> FrameType | None:
    """The innermost frame of the user's that a suspended task waits in."""
    found: FrameType | None = None
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and not _is_ours(frame):
            found = frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return found


def _lines(frames: Iterator[FrameType]) -> tuple[str, ...]:
    """``file:line in function`` of the user's frames, the innermost first."""
    users = (frame for frame in frames if not _is_ours(frame))
    return tuple(
        f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}()" for frame in islice(users, _DEPTH)
    )


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS) or is_library(frame.f_code.co_filename)
