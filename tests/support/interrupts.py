"""An exception out of nowhere between two given instructions, as the handler of a signal may raise one."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["Interrupt", "TimeLimit", "at", "every_instruction", "interrupted_at", "now_and_then"]

#: Whose instructions count.
PACKAGES = ("respool.",)


class Interrupt(BaseException):
    """As KeyboardInterrupt, and nobody else's."""


class TimeLimit(Exception):
    """As Celery's and RQ's time limits: an ordinary exception."""


class _Tracer:
    def __init__(self, due: Callable[[], bool], kind: type[BaseException], packages: tuple[str, ...]) -> None:
        self.due, self.kind, self.packages = due, kind, packages
        self.raised = 0
        self.where: str | None = None  #: the last one

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not str(frame.f_globals.get("__name__", "")).startswith(self.packages):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.local

    def local(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode" and self.due():
            self.raised += 1
            self.where = f"in {frame.f_code.co_qualname}(), line {frame.f_lineno}"
            raise self.kind(self.where)
        return self.local


def interrupted_at(
    instruction: int,
    function: Callable[[], object],
    kind: type[BaseException] = Interrupt,
    packages: tuple[str, ...] = PACKAGES,
) -> str | None:
    """Run a function, and raise in the midst of it before the so-manieth instruction of the library, in this thread.

    Returns:
        Where that was; ``None`` when there were not so many.
    """
    tracer = at(instruction, kind, packages)
    gc.disable()  # what is collected in the midst of it would be another program each time
    sys.settrace(tracer)
    try:
        function()
    except BaseException:
        if tracer.where is None:
            raise
    finally:
        sys.settrace(None)
        gc.enable()
    return tracer.where


def at(instruction: int, kind: type[BaseException], packages: tuple[str, ...] = PACKAGES) -> _Tracer:
    """A tracer, for ``sys.settrace``, that raises before the so-manieth instruction; ``where`` says where that was."""
    left = instruction

    def due() -> bool:
        nonlocal left
        left -= 1
        return left == -1

    return _Tracer(due, kind, packages)


def every_instruction(step: int = 1) -> Iterator[int]:
    """0, 1, 2 and so on: for a loop that ends when nothing was interrupted any more."""
    instruction = 0
    while True:
        yield instruction
        instruction += step


def now_and_then(rate: float, seed: int, kind: type[BaseException] = Interrupt) -> Any:
    """A tracer, for ``sys.settrace``, that raises before each instruction with this probability; ``raised`` counts."""
    chance = random.Random(seed).random
    return _Tracer(lambda: chance() < rate, kind, PACKAGES)
