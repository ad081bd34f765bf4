"""Threads in which an ASGI application's sync sessions end: never the event loop's, nor the framework's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from respool.session.base import DatabaseBase
from respool.session.ending import end_async, in_greenlet, in_thread
from respool.session.scope import Scope
from respool.session.session import Session
from respool.session.shield import DEADLINE
from respool.session.transaction import Step
from respool.web.requests import request_end

__all__ = ["Workers", "end_request", "perform", "workers"]

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
        holding = session.holds_connection
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
os.register_at_fork(after_in_child=workers.forget)


async def perform(step: Step) -> Any:
    """Run one step of an end: an async session's here, a sync one's in a thread."""
    session = step.scope.face
    if not isinstance(session, Session):
        return await in_greenlet(step)
    return await in_thread(workers.for_session(session), step, session)


async def end_request(
    found: Mapping[str, Scope], databases: Iterable[DatabaseBase[Any]], status: int, deadline: float = DEADLINE
) -> None:
    """End a request's scopes, for a framework that answers a failed end better from within than from around.

    Args:
        found: the scopes by name, as they were put where the framework keeps what belongs to a request.
        databases: whose.
        status: the answer's.
        deadline: seconds after which a COMMIT or ROLLBACK is given up and its connection discarded.

    Raises:
        Exception: what the end itself raises.
    """
    await end_async(request_end(found, databases, status), perform, deadline=deadline)
