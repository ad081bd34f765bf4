"""How often each error of respool's own was made, whoever has caught it."""

from __future__ import annotations

import threading
from collections import Counter, deque

from respool.errors import RespoolError

__all__ = ["Errors"]

#: How many may be made and not counted yet; whoever makes one more counts.
_UNREAD = 1000


class Errors:
    """See the head of the file."""

    def __init__(self) -> None:
        self._unread: deque[tuple[str, str]] = deque()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()

    def note(self, error: RespoolError) -> None:
        """One was made. Whoever makes it may hold any lock: only write it down."""
        name = error.facts.get("database") or error.facts.get("pool") or ""
        self._unread.append((str(name), error.code))
        if len(self._unread) > _UNREAD and self._counting.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._counting.release()

    def _count(self) -> None:
        while self._unread:
            self._counts[self._unread.popleft()] += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """How many since the process began, by the name of the database or pool and the error's code."""
        with self._counting:
            self._count()
            return dict(self._counts)
