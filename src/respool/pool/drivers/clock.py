"""The pools' clock: seconds that go on whatever a test does to the time.

What freezes time puts functions of its own into modules, in place of those of ``time``; what stands in a class stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType

__all__ = ["Clock"]


def _real() -> Callable[[], float]:
    if isinstance(time.perf_counter, BuiltinFunctionType):
        return time.perf_counter
    return partial(time.clock_gettime, time.CLOCK_MONOTONIC)  # time was frozen already when this was imported


class Clock:
    """See the head of the file."""

    now = staticmethod(_real())
