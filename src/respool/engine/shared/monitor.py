"""The line before the one connection, in which threads and tasks of any loop stand one behind the other."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any
from weakref import ref

from respool.pool.core import algorithms
from respool.pool.core.algorithms import Effect, Park
from respool.pool.core.entries import Claim, EntryState, PoolEntry
from respool.pool.drivers.tasks import run_awaited
from respool.pool.drivers.threads import ThreadMonitor
from respool.whereabouts import Who, get_label, running, stack, this_thread

__all__ = ["SharedMonitor"]


class _Signal:
    """Wakes a thread or a task, whichever waits."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def acquire(self, timeout: float) -> bool:
        return self._event.wait(timeout)

    def release(self) -> None:
        self._event.set()
        if (waiting := self._waiting) is not None:
            with suppress(RuntimeError):  # its loop is closed
                waiting[0].call_soon_threadsafe(_set, waiting[1])

    async def wait(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting = (loop, future)
        if not self._event.is_set():
            timer = loop.call_later(timeout, _set, future)
            try:
                await future
            finally:
                timer.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SharedMonitor(ThreadMonitor):
    """A pool of one connection, for all threads and loops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keep_stacks = True

    def holder(self) -> Who | None:
        """Who has the connection now: label, thread, task and the lines that led there."""
        held = [entry for entry in list(self.state.entries.values()) if entry.state is EntryState.ACQUIRED]
        return held[0].holder if held else None

    def is_mine(self, holder: Who) -> bool:
        """Whether it is the caller: who waits for himself would wait for ever."""
        theirs = holder[2]() if len(holder) > 2 and holder[2] is not None else None
        return holder[1] is this_thread.thread and theirs is running().task

    async def acquire_async(self, claim: Claim, timeout: float) -> PoolEntry:
        """As :meth:`acquire`, in a task."""
        algorithm = algorithms.acquire(self.state, self.name, timeout, self._who(), claim)
        return await run_awaited(self, self._do_async, algorithm)

    async def _do_async(self, effect: Effect) -> Any:
        if type(effect) is not Park:
            return self._do(effect)
        with self.watch(effect):
            await effect.waiter.signal.wait(max(0.0, effect.deadline - self.clock()))
        return None

    def _who(self) -> Who:
        task = running().task
        return get_label(), this_thread.thread, None if task is None else ref(task), stack()

    def _signal(self) -> Any:
        return _Signal()

    def _wake(self, signal: Any) -> None:
        signal.release()
