"""The callers in line, in order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from respool.pool.entries import Waiter

__all__ = ["Line"]


class Line:
    """First come, first served, every operation in constant time.

    Those who leave stay in the queue until they come up, or until they are more than those who wait.
    """

    __slots__ = ("_queue", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._queue: deque[Waiter] = deque()

    def join(self, waiter: Waiter, *, first: bool = False) -> None:
        """Get in line; ``first``: at its head, for a caller whose turn had come already."""
        if first:
            self._queue.appendleft(waiter)
        else:
            self._queue.append(waiter)
        self.waiting += 1

    def first(self) -> Waiter:
        """Call the first up; there must be one."""
        while not (waiter := self._queue.popleft()).waiting:
            pass
        self.waiting -= 1
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Give up waiting."""
        waiter.left = True
        self.waiting -= 1
        if len(self._queue) > 64 and len(self._queue) > 2 * self.waiting:
            self._queue = deque(self)

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self._queue if waiter.waiting)
