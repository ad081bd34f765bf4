"""Where a case takes place: one application, its database, and a proxy between the two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

from benchmarks.applications.peers import Peer
from benchmarks.applications.serving import Running
from benchmarks.applications.store import Store
from respool.testing import FaultProxy, Trap
from tests.support.postgres import PostgresServer

__all__ = ["Place", "Verdict"]

_numbers = count(1)


@dataclass(frozen=True)
class Verdict:
    """What became of one case."""

    right: bool | None  #: ``None``: the case has no meaning for this peer
    what: str


class Place:
    """An application that was just started.

    Args:
        peer: which.
        server: PostgreSQL.
        cold: whether it is only up; otherwise its pool has been used.
    """

    def __init__(self, peer: Peer, server: PostgresServer, *, cold: bool = False) -> None:
        self.peer = peer
        self.server = server
        self.store = Store(server, f"case_{next(_numbers)}")
        self._stack = ExitStack()
        self.proxy = self._stack.enter_context(FaultProxy("127.0.0.1", server.port))
        self._threads = self._stack.enter_context(ThreadPoolExecutor(80))
        self.running = self._stack.enter_context(Running(peer, self.store.url(self.proxy.port)))
        if cold:
            self.wait(lambda: self.running.ask("GET", "/late", 5)[0] == 200, 30)
        else:
            self.running.wait()

    def send(self, method: str, path: str, timeout: float = 20.0) -> Future[tuple[int, float]]:
        """A request of its own thread: its status, 0 without an answer in time, and how many seconds that took."""

        def ask() -> tuple[int, float]:
            began = time.perf_counter()
            status, _ = self.running.ask(method, path, timeout)
            return status, time.perf_counter() - began

        return self._threads.submit(ask)

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Until something is so; returns whether it is."""
        until = time.monotonic() + timeout
        while not (so := done()) and time.monotonic() < until:
            time.sleep(0.02)
        return so

    def slow_connects(self, seconds: float, end: threading.Event) -> None:
        """Have each connect take so long, until the event is set."""
        waiting = [self.proxy.trap(None, "hold") for _ in range(200)]
        due: list[tuple[float, Trap]] = []
        while not end.wait(0.005):
            for trap in [trap for trap in waiting if trap.sprung.is_set()]:
                waiting.remove(trap)
                due.append((time.monotonic() + seconds, trap))
            while due and due[0][0] <= time.monotonic():
                due.pop(0)[1].release()

    def close(self) -> None:
        """End the application, and what it was given."""
        self._stack.close()
        self.server.drop_database(self.store.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
