"""Snapshots as they come, to any number of pages: one is made each second while somebody looks, by the thread that looks.

A stream holds the newest only, so a slow reader costs nothing; it is over soon in any case, and the page opens another
one, so that a server that waits for its answers before it stops never waits for long.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable

from respool.observe.observation import observation
from respool.pool.drivers.clock import Clock

__all__ = ["Stream", "Streams"]

#: Seconds between two snapshots, and until a stream is over.
_EVERY, _LASTS = 1.0, 15.0
#: Before a stream's first snapshot: how many milliseconds the page is to wait before it opens the next one.
_HEAD = b"retry: 300\n\n"

_lock = threading.Lock()
_watched: set[Streams] = set()


class Stream:
    """One page that looks on. To be made in the event loop that serves it; read by ``async for``."""

    def __init__(self, of: Streams) -> None:
        self._of = of
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._newest: bytes | None = _HEAD
        self._over = False
        self.until = Clock.now() + _LASTS
        self._moved.set()

    def put(self, part: bytes | None) -> None:
        """Hand over the newest snapshot, or the end; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, part)
        except RuntimeError:  # its loop is closed
            self.close()

    def _put(self, part: bytes | None) -> None:
        if part is None:
            self._over = True
        else:
            self._newest = part
        self._moved.set()

    def close(self) -> None:
        """It is not read any more."""
        self._over = True
        self._of.discard(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while not self._over:
                async with asyncio.timeout(_LASTS):  # the thread that looks may have ended
                    await self._moved.wait()
                self._moved.clear()
                part, self._newest = self._newest, None
                if part is not None:
                    yield part
        except TimeoutError:
            pass
        finally:
            self.close()


class Streams:
    """Those of one page.

    Args:
        make: makes a snapshot's JSON, in one line.
        most: how many streams there may be at a time.
    """

    def __init__(self, make: Callable[[], bytes], most: int) -> None:
        self._make = make
        self._most = most
        self._open: list[Stream] = []
        self._next = 0.0

    def open(self) -> Stream | None:
        """One more; ``None`` when there are enough."""
        with _lock:
            if len(self._open) >= self._most:
                return None
            stream = Stream(self)
            self._open.append(stream)
            self._next = 0.0
            _watched.add(self)
            observation.each_tick(_publish)
        return stream

    def discard(self, stream: Stream) -> None:
        """It is over."""
        with _lock:
            if stream in self._open:
                self._open.remove(stream)
            if not self._open:
                _watched.discard(self)
            if not _watched:
                observation.no_tick(_publish)

    def close(self) -> None:
        """End all of them."""
        with _lock:
            streams = list(self._open)
        for stream in streams:
            stream.put(None)

    def publish(self) -> None:
        """Called at each look."""
        now = Clock.now()
        if _server_stops():
            self.close()
        elif now >= self._next:
            self._next = now + _EVERY
            part = b"data: " + self._make() + b"\n\n"
            with _lock:
                streams = list(self._open)
            for stream in streams:
                stream.put(part if now < stream.until else None)


def _publish() -> None:
    with _lock:
        watched = list(_watched)
    for streams in watched:
        streams.publish()


def _server_stops() -> bool:
    """Whether the server is about to: it waits for all answers first, and has no message for those that never end.

    Servers that set themselves as a signal's handler, as uvicorn does, can be asked.
    """
    handlers = (signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))
    return any(getattr(getattr(handler, "__self__", None), "should_exit", False) is True for handler in handlers)
