"""One daemon thread for all thread pools of the process: it keeps their alarms and starts their workers.

Jobs reach it through a ``SimpleQueue``, whose ``put`` may be called at any bytecode, from a finalizer too; nothing here
takes a lock that such a caller might hold.  The thread itself never blocks on a connection, nor on anybody's observer or
log: whatever may is given to a worker of its own.  Should it end all the same, whoever has the next job starts another.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from respool.pool.drivers.clock import Clock
from respool.pool.drivers.forks import arrive, here, in_a_child

__all__ = ["Keeper", "keeper"]

logger = logging.getLogger("respool.pool")

Job = tuple[float, Callable[..., object], tuple[Any, ...]]
_AT_ONCE, _NEVER = float("-inf"), float("inf")


class _Ours(threading.local):
    """What this thread is of ours."""

    keeps = False
    works = False


class Keeper:
    """See the head of the file. There is one for the process, :data:`keeper`."""

    def __init__(self) -> None:
        self._ours = _Ours()
        self._forget()

    def at(self, when: float, function: Callable[[], object]) -> None:
        """Call a function that never blocks, in the keeper's thread, at this time of the pools' clock."""
        self._put((when, function, ()))

    def start(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that may block, in a thread of its own."""
        self._put((_AT_ONCE, function, args))

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in the keeper's thread."""
        return self._ours.keeps

    @property
    def is_ours(self) -> bool:
        """Whether the caller runs in the keeper's thread, or in one that it has started."""
        return self._ours.keeps or self._ours.works

    def _forget(self) -> None:
        """Begin anew, as the child of a fork must: the thread is not in it, and the jobs are the parent's."""
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._alarms: list[tuple[float, int, Callable[..., object]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def _put(self, job: Job) -> None:
        if not here[0]:
            arrive()
        self._jobs.put(job)
        thread = self._thread
        if thread is None or not (thread.is_alive() or thread.ident is None):
            self._begin()

    def _begin(self) -> None:
        try:
            self._thread = thread = threading.Thread(target=self._run, name="respool-keeper", daemon=True)
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._thread = None
            self._run_inline()
        except BaseException:  # it came from outside: who knows how far the thread has got
            self._begin()
            raise

    def _run(self) -> None:
        self._ours.keeps = True
        while self._thread is threading.current_thread():  # should two be started at once, the last one stays
            try:
                self._keep()
            except BaseException as error:
                self._report(error)
        self._jobs.put((_NEVER, self._run, ()))  # has the other one look at the alarms that were set here

    def _keep(self) -> None:
        alarms, now = self._alarms, Clock.now
        try:
            when, function, args = self._jobs.get(timeout=max(0.0, alarms[0][0] - now()) if alarms else None)
        except Empty:
            pass
        else:
            if when == _AT_ONCE:
                self._work(function, args)
            elif when != _NEVER:
                heapq.heappush(alarms, (when, next(self._numbers), function))
        while alarms and alarms[0][0] <= now():
            self._call(alarms[0][2], ())
            heapq.heappop(alarms)

    def _work(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        worker = threading.Thread(target=self._in_worker, args=(function, args), name="respool-worker", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            self._call(function, args)

    def _in_worker(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._ours.works = True
        self._call(function, args)

    def _run_inline(self) -> None:
        while not self._jobs.empty():
            when, function, args = self._jobs.get()
            if when == _AT_ONCE:
                self._call(function, args)
            elif when != _NEVER:
                heapq.heappush(self._alarms, (when, next(self._numbers), function))

    def _call(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except BaseException as error:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        with suppress(BaseException):  # the log's own affair
            logger.error("a maintenance job failed", exc_info=error)


keeper = Keeper()
in_a_child(keeper._forget)
