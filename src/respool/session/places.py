"""Who is running, and where: the names and ``file:line`` places that error messages give."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from respool.pool.holders import frames_here, is_library

__all__ = [
    "Place",
    "Runner",
    "at",
    "caller",
    "calling",
    "in_module_body",
    "near_line",
    "place_of",
    "running",
    "shorten",
]

#: What stands between the user's line and where it is asked for.
_MACHINERY = ("respool.", "sqlalchemy")
#: An application like a user's.
_DEMO = "respool.cli.demo"
#: How many frames away a line is still near.
_NEAR = 8
#: Our own files, wherever they are.
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Runner(NamedTuple):
    """A thread, or a task in it: what may use a session at one time."""

    thread: int
    task: asyncio.Task[Any] | None

    def __str__(self) -> str:
        if self.task is not None:
            return f"task {self.task.get_name()!r}"
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return f"thread {names.get(self.thread, self.thread)!r}"


def running() -> Runner:
    """The task that is running, or the thread where none is."""
    # Unlike asyncio.current_task() this does not raise where no loop runs, which is the common case in threads.
    loop = asyncio._get_running_loop()
    return Runner(threading.get_ident(), asyncio.current_task(loop) if loop is not None else None)


def caller() -> str:
    """``file:line`` of the nearest line of the user's, or ``"unknown place"``."""
    frame = _users(frames_here())
    return _place(frame) if frame is not None else place_of(running()) or "unknown place"


def in_module_body() -> bool:
    """Whether the user's line that led here stands in no function: a module is being imported, or a script runs."""
    frame = _users(frames_here())
    return frame is not None and frame.f_code.co_name == "<module>"


def place_of(runner: Runner) -> str | None:
    """``file:line`` of the user's line where a thread or task is now, if there is one."""
    frames = list(_inwards(runner.task)) if runner.task is not None else []
    frame = _users(reversed(frames)) or (_users(_outwards(sys._current_frames().get(runner.thread))))
    return _place(frame) if frame is not None else None


class Place:
    """A line of the user's, written as ``file:line`` when somebody asks for it."""

    __slots__ = ("_at", "_code")

    def __init__(self, frame: FrameType) -> None:
        self._code = frame.f_code
        self._at = frame.f_lasti  # the line is found when somebody asks: frame.f_lineno counts lines each time

    def __str__(self) -> str:
        return f"{shorten(self._code.co_filename)}:{self.line}"

    @property
    def function(self) -> str:
        """The name of the function that it stands in."""
        return self._code.co_qualname

    @property
    def line(self) -> int:
        """The line's number."""
        lines = (line for start, end, line in self._code.co_lines() if start <= self._at < end)
        return next(lines, None) or self._code.co_firstlineno


def near_line() -> Place | None:
    """The user's line that led here, if it is near: nobody may ever ask, so it must cost next to nothing."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_NEAR):
        if frame is None:
            return None
        file = frame.f_code.co_filename
        if not file.startswith(_OURS) and not is_library(file):
            return Place(frame)
        frame = frame.f_back
    return None


def calling() -> Place | str:
    """The line that has called the caller of this, if it is the user's; else what :func:`caller` finds."""
    frame = sys._getframe(2)
    file = frame.f_code.co_filename
    return caller() if file.startswith(_OURS) or is_library(file) else Place(frame)


def at(who: str, place: str | None) -> str:
    """``who at place``, as far as it is known."""
    return f"{who} at {place}" if place else who


def shorten(path: str) -> str:
    """A path as people write it: relative to the working directory where it lies below that."""
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path


def _place(frame: FrameType) -> str:
    return str(Place(frame))


def _users(frames: Iterable[FrameType]) -> FrameType | None:
    """The first frame of the user's; none, where all are of libraries: no line of these is anybody's to mend."""
    for frame in frames:
        module: str = frame.f_globals.get("__name__", "")
        if module.startswith(_DEMO) or not (module.startswith(_MACHINERY) or is_library(frame.f_code.co_filename)):
            return frame
    return None


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inwards(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of a task's coroutines, from the outermost through what each awaits."""
    step: Any = task.get_coro()
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "ag_frame", None)
        if frame is not None:
            yield frame
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None)
