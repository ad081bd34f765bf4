"""After a fork the child begins anew, also when Python was not told of it: uWSGI forks without Python's hooks.

A page of memory tells: the system wipes it in the child.  Looking at it costs a tenth of asking for the process's number.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, MutableSequence

__all__ = ["arrive", "here", "in_a_child"]

#: Linux's MADV_WIPEONFORK, since 4.14.
_WIPE_ON_FORK = 18


def _page() -> MutableSequence[int] | mmap.mmap:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError):  # another system: there the hooks have to do
        return bytearray(1)
    return page


#: ``here[0]`` is 0 in a child in which nobody has called :func:`arrive` yet.
here = _page()
here[0] = 1

_functions: list[Callable[[], object]] = []
_arriving = threading.Lock()


def in_a_child(function: Callable[[], object]) -> None:
    """Have a function called in a child, once, before anything of the parent's is used there."""
    _functions.append(function)


def arrive() -> None:
    """Begin anew, in the child."""
    with _arriving:
        if here[0]:
            return
        for function in _functions:
            function()
        here[0] = 1


def _forked() -> None:
    global _arriving
    _arriving = threading.Lock()
    here[0] = 0
    arrive()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
