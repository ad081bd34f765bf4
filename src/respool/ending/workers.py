"""Threads in which sync sessions end that belong to asyncio's requests and jobs: never the loop's, nor a framework's."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from respool.ending.aio import in_thread
from respool.ending.end import Step
from respool.session.life import life_of
from respool.session.session import Session

__all__ = ["Workers", "perform", "workers"]

_THREADS = 32


class Workers:
    """Two sets of threads, made when needed.

    A session that has a connection only has to finish with it. One that has none yet may have to wait for another
    session to give one back: were they to share threads, those that wait could keep out those that would give.
    """

    __slots__ = ("_executors", "_lock")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: the child of a fork has none of its parent's threads."""
        self._executors: dict[bool, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def for_session(self, session: Session) -> ThreadPoolExecutor:
        """The threads for a session's next step."""
        holding = life_of(session).holds_connection
        with self._lock:
            if holding not in self._executors:
                name = "respool-finish" if holding else "respool-flush"
                self._executors[holding] = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
            return self._executors[holding]

    @property
    def used(self) -> bool:
        """Whether any thread was ever needed."""
        return bool(self._executors)


#: Those of this process.
workers = Workers()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=workers.forget)


async def perform(step: Step) -> Any:
    """Run one step of an end: an async session's here, a sync one's in a thread."""
    session = step.scope.face
    if not isinstance(session, Session):
        return await session.run_sync(step.run)  # as in_greenlet(), written out
    return await in_thread(workers.for_session(session), step, session)
