"""What a scripted step answers: at once, with an error, or when a gate is opened; for threads and tasks alike."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future

__all__ = ["Answer", "Gate", "Script"]


class Gate:
    """Whoever comes to it waits until somebody opens it; open, it stays open.

    Args:
        error: raised in those who pass, instead of letting them go on.

    It may be opened from any thread.
    """

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self._lock = threading.RLock()
        self._open = False
        self._standing: set[Future[None]] = set()

    @property
    def waiting(self) -> int:
        """How many threads and tasks stand before it now."""
        return len(self._standing)

    def open(self) -> None:
        """Let through those who wait, and all who come later."""
        with self._lock:
            self._open = True
            standing, self._standing = self._standing, set()
        for place in standing:
            if place.set_running_or_notify_cancel():
                place.set_result(None)

    def wait(self) -> None:
        """Wait in this thread until it is open; raises the gate's error, if it has one."""
        place = self._arrive()
        try:
            place.result()
        finally:
            self._standing.discard(place)
        self._let_through()

    async def wait_async(self) -> None:
        """The same for a task."""
        place = self._arrive()
        try:
            await asyncio.wrap_future(place)
        finally:
            self._standing.discard(place)
        self._let_through()

    def _arrive(self) -> Future[None]:
        place: Future[None] = Future()
        with self._lock:
            if self._open:
                place.set_result(None)
            else:
                self._standing.add(place)
        return place

    def _let_through(self) -> None:
        if self.error is not None:
            raise self.error


#: ``None``: at once and well; an exception, or a class of them: raised; a gate: as it says when it is open.
Answer = BaseException | type[BaseException] | Gate | None


class Script:
    """The answers of one step, such as connecting: first those given with :meth:`then`, afterwards always the same."""

    def __init__(self) -> None:
        self.calls = 0  #: how often the step was begun
        self._next: deque[Answer] = deque()
        self._always: Answer = None
        self._gates: list[Gate] = []
        self._lock = threading.RLock()  # a finalizer may run a step while this thread is inside

    def then(self, *answers: Answer) -> Script:
        """Give these answers next, one for each call; returns itself."""
        self._remember(*answers)
        self._next.extend(answers)
        return self

    def always(self, answer: Answer = None) -> Script:
        """Give this answer from now on (after those of :meth:`then`); returns itself."""
        self._remember(answer)
        self._always = answer
        return self

    def free(self) -> None:
        """Open all gates, and answer well from now on."""
        self._next.clear()
        self._always = None
        for gate in self._gates:
            gate.open()

    def run(self) -> None:
        """Do the step in this thread."""
        gate = self._begin()
        if gate is not None:
            gate.wait()

    async def run_async(self) -> None:
        """Do the step in this task. Even an answer "at once" gives way to the other tasks, as real I/O does."""
        await asyncio.sleep(0)
        gate = self._begin()
        if gate is not None:
            await gate.wait_async()

    def _remember(self, *answers: Answer) -> None:
        self._gates.extend(answer for answer in answers if isinstance(answer, Gate))

    def _begin(self) -> Gate | None:
        with self._lock:
            self.calls += 1
            answer = self._next.popleft() if self._next else self._always
        if answer is None or isinstance(answer, Gate):
            return answer
        raise answer
