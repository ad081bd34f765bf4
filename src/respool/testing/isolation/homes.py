"""The thread in whose loop a test's asynchronous connection lives: one for the process, as long as somebody needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from respool.engine.shared.engine import SharedEngine
from respool.engine.shared.home import Home, LoopThread

__all__ = ["home_of", "kept_home"]

_lock = threading.Lock()
_users = 0
_thread: LoopThread | None = None


@contextmanager
def kept_home() -> Iterator[Home]:
    """The home of asynchronous connections. It is closed, and what is idle in it, when the last block is left."""
    global _users, _thread
    with _lock:
        if _thread is None:
            _thread = LoopThread()
        _users += 1
        thread = _thread
    try:
        yield thread.home
    finally:
        with _lock:
            _users -= 1
            last = _users == 0
            _thread = None if last else _thread
        if last:
            thread.close()


@contextmanager
def home_of(engine: Any) -> Iterator[Home]:
    """Where an engine's connections are made and used: a block.

    Args:
        engine: a sync engine.
    """
    if engine.dialect.is_async and not isinstance(engine, SharedEngine):
        with kept_home() as home:
            yield home
    else:
        yield Home()
