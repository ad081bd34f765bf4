"""The sections in which a pool's lock is held, and what becomes of one that an exception from outside has cut off.

A signal's handler may raise between any two instructions: Ctrl-C, the time limits of RQ and Celery.  So a section is a
``try`` in which the lock is taken, the work done and the lock released; whoever gets an exception out of it asks the lock
itself whether it is held, has the state mended if work was under way, and releases it.

That leaves a second exception, in the midst of this.  Then the lock stays behind, held by a thread that is not inside;
whoever waits for it long enough looks where all threads are, and puts a new lock in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

from respool.whereabouts import current_frames

__all__ = ["Reentered", "is_inside", "section", "somebody_is_inside", "waits"]

F = TypeVar("F", bound=Callable[..., Any])

_sections: set[CodeType] = set()
_waits: set[CodeType] = set()


class Reentered(RuntimeError):
    """A finalizer or a signal's handler has interrupted a pool, and uses that pool."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"pool {name!r} is asked for a connection by what has interrupted it: the handler of a signal, or a finalizer.\n"
            "  It cannot go on before that has ended. Set a flag there, and use the database outside."
        )


def section(function: F) -> F:
    """Marks a method that holds the lock for a while."""
    _sections.add(function.__code__)
    return function


def waits(function: F) -> F:
    """Marks a method that only waits for the lock."""
    _waits.add(function.__code__)
    return function


def is_inside(monitor: Any, frame: FrameType | None) -> bool:
    """Whether this frame, or one of those that called it, is a section of the monitor."""
    while frame is not None:
        if frame.f_code in _waits:
            return False
        if frame.f_code in _sections and frame.f_locals.get("self") is monitor:
            return True
        frame = frame.f_back
    return False


def somebody_is_inside(monitor: Any) -> bool:
    """Whether any other thread is in a section of the monitor, beyond waiting for its lock."""
    here = threading.get_ident()
    return any(is_inside(monitor, frame) for thread, frame in current_frames().items() if thread != here)
