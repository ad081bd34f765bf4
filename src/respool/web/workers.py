"""Threads in which an ASGI application's sync sessions end: never the event loop's, nor the framework's own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from respool.session.session import Session

__all__ = ["Workers"]

_THREADS = 32


class Workers:
    """Two sets of threads, made when needed.

    A session that has a connection only has to finish with it. One that has none yet may have to wait for another
    session to give one back: were they to share threads, those that wait could keep out those that would give.
    """

    __slots__ = ("_executors", "_lock")

    def __init__(self) -> None:
        self._executors: dict[bool, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def for_session(self, session: Session) -> ThreadPoolExecutor:
        """The threads for a session's next step."""
        holding = session.holds_connection
        with self._lock:
            if holding not in self._executors:
                name = "respool-finish" if holding else "respool-flush"
                self._executors[holding] = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
            return self._executors[holding]
