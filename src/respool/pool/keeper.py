"""One daemon thread for all thread pools of the process: it keeps their alarms and starts their workers.

Jobs reach it through a ``SimpleQueue``, whose ``put`` may be called at any bytecode, from a finalizer too; nothing here
takes a lock that such a caller might hold.  The thread itself never blocks on a connection: whatever may is given to a
worker of its own.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

__all__ = ["Keeper", "keeper"]

logger = logging.getLogger("respool.pool")

Job = tuple[float, Callable[..., object], tuple[Any, ...]]
_AT_ONCE = float("-inf")


class Keeper:
    """See the head of the file. There is one for the process, :data:`keeper`."""

    def __init__(self) -> None:
        self._forget()

    def at(self, when: float, function: Callable[[], object]) -> None:
        """Call a function that never blocks, in the keeper's thread, at this time of ``time.monotonic``."""
        self._put((when, function, ()))

    def start(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that may block, in a thread of its own."""
        self._put((_AT_ONCE, function, args))

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in the keeper's thread."""
        return threading.current_thread() is self._thread

    def _forget(self) -> None:
        """Begin anew, as the child of a fork must: the thread is not in it, and the jobs are the parent's."""
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def _put(self, job: Job) -> None:
        self._jobs.put(job)
        if self._thread is None and self._starting.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="respool-keeper", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: no more threads
                self._starting.release()
                self._run_inline()
            else:
                self._thread = thread

    def _run(self) -> None:
        heap: list[tuple[float, int, Callable[..., object]]] = []
        numbers = itertools.count()
        while True:
            pause = max(0.0, heap[0][0] - time.monotonic()) if heap else None
            try:
                when, function, args = self._jobs.get(timeout=pause)
            except Empty:
                pass
            else:
                if when == _AT_ONCE:
                    self._work(function, args)
                else:
                    heapq.heappush(heap, (when, next(numbers), function))
            while heap and heap[0][0] <= time.monotonic():
                self._call(heapq.heappop(heap)[2], ())

    def _work(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        worker = threading.Thread(target=self._call, args=(function, args), name="respool-worker", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            self._call(function, args)

    def _run_inline(self) -> None:
        while not self._jobs.empty():
            when, function, args = self._jobs.get()
            if when == _AT_ONCE:
                self._call(function, args)

    @staticmethod
    def _call(function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except Exception:
            logger.exception("a maintenance job failed")


keeper = Keeper()
os.register_at_fork(after_in_child=keeper._forget)
