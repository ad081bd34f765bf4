"""The callers in line, in order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from respool.pool.core.entries import Waiter

__all__ = ["Line"]


class Line:
    """First come, first served, every operation in constant time.

    Those who leave stay in the queue until they come up, or until they are more than those who wait; and whoever was
    called up stays there until the next one is: it is found there if the step ends before it has got anything.
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
        waiter.left = False
        self.waiting += 1

    def first(self) -> Waiter:
        """Call the first up; there must be one. It gets its entry or its error before the next one is called."""
        queue = self._queue
        while not queue[0].waiting:
            queue.popleft()
        self.waiting -= 1
        return queue[0]

    def leave(self, waiter: Waiter) -> None:
        """Give up waiting."""
        waiter.left = True
        self.waiting -= 1
        if len(self._queue) > 64 and len(self._queue) > 2 * self.waiting:
            self._queue = deque(self)

    def recount(self) -> list[Waiter]:
        """Count those who wait, after a step that was cut off; returns those who were called up."""
        self.waiting = sum(1 for _ in self)
        return [waiter for waiter in self._queue if not (waiter.waiting or waiter.left)]

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self._queue if waiter.waiting)
