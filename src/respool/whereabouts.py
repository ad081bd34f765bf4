"""Who is running, where in the user's code, what the work is called, and the client that it is done for.

Taking a connection or a session must cost next to nothing, so only an identity is kept; where its thread or task *is now*
is looked up when somebody asks, which is also what one wants to know.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from inspect import unwrap
from itertools import islice
from operator import call
from types import CodeType, FrameType
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Client", "Holder", "Place", "Runner", "Thread", "Who", "at", "caller", "calling", "client", "current_frames", "definition",
    "get_label", "handler_name", "in_module_body", "is_library", "label", "line_here", "near_line", "place_of", "running",
    "shorten", "stack", "this_thread", "users_line", "watched",
]  # fmt: skip

# -- whose work it is -------------------------------------------------------------------------------------------------

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


# -- who is at work ---------------------------------------------------------------------------------------------------


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


class Thread:
    """A thread, for as long as it runs and beyond: its number may be another one's then."""

    __slots__ = ("_watch", "number", "over")

    def __init__(self, life: object) -> None:
        self.number = threading.get_ident()
        self.over = False
        self._watch = weakref.ref(life, self._end)

    def _end(self, _: object) -> None:
        self.over = True

    @property
    def name(self) -> str:
        """``thread MainThread``, or ``an ended thread``."""
        names = (thread.name for thread in threading.enumerate() if thread.ident == self.number)
        return "an ended thread" if self.over else f"thread {next(names, self.number)}"


class _ThisThread(threading.local):
    """What each thread has of its own. A look at it costs hardly more than to ask for the thread's number."""

    def __init__(self) -> None:
        self._life = threading.Event()  # anything that goes when its thread ends
        self.thread = Thread(self._life)


this_thread = _ThisThread()

#: Who has a connection, as it is kept: the arguments of :class:`Holder`, made at every checkout and seldom looked at.
Who = tuple[Any, ...]


class Holder:
    """A thread or task that has a connection or waits for one, and what it works on.

    Args:
        label: what its work is called.
        thread: the thread.
        task: in asyncio, a weak reference to the task.
        stack: the lines that led to the pool, where they were kept: where it watches for leaks.
    """

    __slots__ = ("label", "stack", "task", "thread")

    def __init__(
        self,
        label: str | None,
        thread: Thread,
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
            who = self.thread.name
        else:
            task = self.task()
            who = "a vanished task" if task is None else f"{'ended ' if task.done() else ''}task {task.get_name()}"
        return who if self.label is None else f"{self.label} ({who})"

    @property
    def ended(self) -> bool:
        """Whether it is over, and can give nothing back any more."""
        if self.task is not None:
            task = self.task()
            return task is None or task.done()
        return self.thread.over

    def place(self) -> str | None:
        """``shop/views.py:88 in checkout()``: the line of the user's code that it is at now, if it can be told."""
        task = None if self.task is None else self.task()
        if self.task is None or (task is not None and asyncio.current_task(task.get_loop()) is task):
            frames = self._frames()
        else:
            frames = iter(()) if task is None else _of_task(task)
        line = next(iter(_lines(frames)), None)
        return None if line is None else shorten(line)

    def _frames(self) -> Iterator[FrameType]:
        if self.thread.over:
            return iter(())
        number = self.thread.number
        here = number == threading.get_ident()
        return _frames_here() if here else _outwards(current_frames().get(number))

    def __str__(self) -> str:
        place = self.place()
        text = self.name() if place is None else f"{self.name()}, now at {place}"
        return text + "".join(f"\n    taken at {line}" for line in self.stack)


#: Below 3.12 CPython locks itself up where it collects garbage while it makes these frames (python/cpython#106883).
_LOCKS_UP = sys.version_info < (3, 12)


def current_frames() -> dict[int, FrameType]:
    """Where each thread is now, by its number."""
    if not (_LOCKS_UP and gc.isenabled()):
        return sys._current_frames()
    try:  # in one step of the interpreter: no other thread sees the collector off, nor turns it on meanwhile
        _, frames, _ = map(call, (gc.disable, sys._current_frames, gc.enable))
    except MemoryError:
        gc.enable()
        raise
    return frames  # type: ignore[return-value]


# -- whose line it is -------------------------------------------------------------------------------------------------

#: Our own files, wherever they are, and those of them that are an application like a user's.
_OURS = os.path.dirname(__file__) + os.sep
_DEMO = os.path.join(_OURS, "cli", "demo") + os.sep
#: Where Python's own modules are.
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
#: Where the commands are that packages have installed.
_COMMANDS = sysconfig.get_path("scripts") + os.sep
#: Folders of installed packages, of whichever environment: one may stand within another.
_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
#: SQLAlchemy's modules, which somebody may work on beside us.
_SQLALCHEMY = "sqlalchemy."
#: How many frames away a line is still near.
_NEAR = 8
#: How many lines a stack is remembered by.
_DEPTH = 12


@cache
def is_library(file: str) -> bool:
    """Whether a file is ours, Python's own or of an installed package: never the line that somebody has to look at."""
    if file.startswith(_OURS):
        return not file.startswith(_DEMO)
    if file.startswith(_COMMANDS) and not file.endswith(".py"):
        return True
    return file.startswith((*_LIBRARIES, "<frozen ")) or bool(_INSTALLED.search(file))


def _is_users(frame: FrameType) -> bool:
    """Whether a frame is the user's."""
    return not (is_library(frame.f_code.co_filename) or str(frame.f_globals.get("__name__")).startswith(_SQLALCHEMY))


class Place:
    """A line of the user's, written as ``file:line`` when somebody asks for it."""

    __slots__ = ("_at", "_code")

    def __init__(self, frame: FrameType) -> None:
        self._code = frame.f_code
        self._at = frame.f_lasti  # the line is found when somebody asks: frame.f_lineno counts lines each time

    def __str__(self) -> str:
        return f"{shorten(self._code.co_filename)}:{self.line}"

    @property
    def key(self) -> tuple[Any, int]:
        """What is the same for the same line; found faster than the line itself."""
        return (self._code, self._at)

    @property
    def function(self) -> str:
        """The name of the function that it stands in."""
        return self._code.co_qualname

    @property
    def line(self) -> int:
        """The line's number."""
        lines = (line for start, end, line in self._code.co_lines() if start <= self._at < end)
        return next(lines, None) or self._code.co_firstlineno


def caller() -> str:
    """``file:line`` of the nearest line of the user's, or ``"unknown place"``."""
    frame = _users(_frames_here())
    return str(Place(frame)) if frame is not None else place_of(running()) or "unknown place"


def calling() -> Place | str:
    """The line that has called the caller of this, if it is the user's; else what :func:`caller` finds."""
    frame = sys._getframe(2)
    return caller() if is_library(frame.f_code.co_filename) else Place(frame)


def near_line() -> Place | None:
    """The user's line that led here, if it is near: nobody may ever ask, so it must cost next to nothing."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_NEAR):
        if frame is None:
            return None
        if not is_library(frame.f_code.co_filename):
            return Place(frame)
        frame = frame.f_back
    return None


class _Libraries(dict[str, bool]):
    """By file what :func:`is_library` says: a dictionary answers faster than anything that is called."""

    def __missing__(self, file: str) -> bool:
        self[file] = known = is_library(file)
        return known


_libraries = _Libraries()


#: Ways here from a user's line that were gone lately: how many frames, and the code of the outermost; so many at most, so far.
_ways: list[tuple[int, CodeType]] = []
_WAYS, _FAR = 8, 6


def users_line() -> Place | None:
    """The user's line that led here, however far away: for who takes notes of every use of a connection.

    To look at each frame is dear. From a session's method to here it is nearly always the same way, whose end is tried first.
    """
    for depth, code in _ways:
        try:
            frame: FrameType | None = sys._getframe(depth)
        except ValueError:
            continue
        if frame is not None and frame.f_code is code:
            frame = frame.f_back
            if frame is not None and _is_users(frame):
                return Place(frame)
    return _nearest_line()


def _nearest_line() -> Place | None:
    """The same, and all frames are looked at."""
    frame: FrameType | None = sys._getframe(2)
    libraries, depth = _libraries, 0
    inside: Any = None
    code: Any = None
    while True:
        while frame is not None:
            if not libraries[frame.f_code.co_filename] and _is_users(frame):
                if depth >= _FAR and code is not None and inside is None:
                    _ways.insert(0, (depth, code))
                    del _ways[_WAYS:]
                return Place(frame)
            depth, code, frame = depth + 1, frame.f_code, frame.f_back
        if inside is None and (greenlet := sys.modules.get("greenlet")) is not None:
            inside = greenlet.getcurrent()
        inside = None if inside is None else inside.parent
        if inside is None:
            return None
        frame = inside.gr_frame


def in_module_body() -> bool:
    """Whether the user's line that led here stands in no function: a module is being imported, or a script runs."""
    frame = _users(_frames_here())
    return frame is not None and frame.f_code.co_name == "<module>"


def place_of(runner: Runner) -> str | None:
    """``file:line`` of the user's line where a thread or task is now, if there is one."""
    frame = _users(_of_task(runner.task)) if runner.task is not None else None
    frame = frame or _users(_outwards(current_frames().get(runner.thread)))
    return str(Place(frame)) if frame is not None else None


def stack() -> tuple[str, ...]:
    """The lines of the user's code that led here, the innermost first."""
    return _lines(_frames_here())


def line_here() -> str:
    """The user's line that led here, or nothing."""
    return next(iter(stack()), "")


def handler_name(handler: Any) -> str:
    """``sell() at shop.py:14``: a function, however it is wrapped; of what is none the name of its class."""
    function = unwrap(getattr(handler, "func", handler))  # of a partial; of what Litestar calls in a thread
    place = definition(function)
    if place is None:
        return getattr(function, "__qualname__", type(function).__qualname__)
    return f"{function.__code__.co_qualname}() at {place}"


def definition(function: Any) -> str | None:
    """``file:line`` where a function is defined, however it is wrapped; ``None`` for what is none of Python's."""
    code = getattr(unwrap(function), "__code__", None)
    return f"{shorten(code.co_filename)}:{code.co_firstlineno}" if code is not None else None


def at(who: str, place: str | None) -> str:
    """``who at place``, as far as it is known."""
    return f"{who} at {place}" if place else who


def shorten(path: str) -> str:
    """A path as people write it: relative to the working directory where it lies below that."""
    with suppress(OSError):  # it was removed, as a new release does with that of the one before
        if path.startswith(os.getcwd() + os.sep):
            return os.path.relpath(path)
    return path


def _users(frames: Iterable[FrameType]) -> FrameType | None:
    """The first frame of the user's; none, where all are of libraries: no line of these is anybody's to mend."""
    return next(filter(_is_users, frames), None)


def _lines(frames: Iterable[FrameType]) -> tuple[str, ...]:
    """``file:line in function`` of the user's frames, in their order."""
    return tuple(
        f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}()"
        for frame in islice(filter(_is_users, frames), _DEPTH)
    )


def _frames_here() -> Iterator[FrameType]:
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


def _of_task(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of a task's coroutines, the innermost that it waits in first."""
    frames: list[FrameType] = []
    step: Any = task.get_coro()
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None) or getattr(step, "ag_frame", None)
        if frame is not None:
            frames.append(frame)
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None) or getattr(step, "ag_await", None)
    return reversed(frames)
