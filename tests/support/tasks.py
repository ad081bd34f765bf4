"""Running a coroutine test to its end, in an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

__all__ = ["run_to_its_end"]


def run_to_its_end(test: Coroutine[Any, Any, None]) -> None:
    """Run a test, and let aiosqlite's threads end before the loop does.

    One whose connection was discarded, or never opened, ends by itself a moment later, and says so to its loop.
    """
    asyncio.run(_to_its_end(test))


async def _to_its_end(test: Coroutine[Any, Any, None]) -> None:
    others = set(threading.enumerate())
    try:
        await test
    finally:
        for thread in set(threading.enumerate()) - others:
            if "_connection_worker_thread" in thread.name:
                await asyncio.to_thread(thread.join, 5)
