"""Where a connection's calls are made: in the caller's thread, or in the event loop that the connection belongs to.

An asynchronous connection works in one loop only, and a test may have several: its own, and one for each client.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from respool.whereabouts import running

__all__ = ["Home", "LoopHome", "LoopThread"]

R = TypeVar("R")


class Home:
    """The caller's own thread: for connections that any thread may use, one at a time."""

    def run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Call a function that talks to the database, and wait for what it returns."""
        return function(*args, **kwargs)

    def settle(self, function: Callable[[], object]) -> None:
        """The same, to its end: a caller who is cancelled meanwhile does not cut it off."""
        function()

    def later(self, function: Callable[[], object]) -> None:
        """The same, for a caller who must not wait."""
        function()

    async def awaited(self, function: Callable[[], Awaitable[object]]) -> None:
        """Call a coroutine function of the driver's."""
        await function()


class LoopHome(Home):
    """An event loop. It may be called in the loop's own greenlets, in those of another loop, and in threads.

    Args:
        loop: the connection's. It must not be blocked by whoever calls from elsewhere.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._one_at_a_time = asyncio.Lock()  # a call that was cancelled may have its end still before it
        self._inside: asyncio.Task[Any] | None = None

    def run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """See :meth:`Home.run`."""
        if not in_greenlet():
            return self._submit(function, args, kwargs).result()
        if self._is_inside():
            return function(*args, **kwargs)
        found: R = await_only(self._from_a_task(function, args, kwargs))
        return found

    def settle(self, function: Callable[[], object]) -> None:
        """See :meth:`Home.settle`."""
        if not in_greenlet():
            self._submit(function, (), {}).result()
        elif self._is_inside():
            function()
        else:
            await_only(asyncio.shield(asyncio.wrap_future(self._submit(function, (), {}))))

    def later(self, function: Callable[[], object]) -> None:
        """See :meth:`Home.later`."""
        self._submit(function, (), {})

    async def awaited(self, function: Callable[[], Awaitable[object]]) -> None:
        """See :meth:`Home.awaited`."""
        await self._from_a_task(lambda: await_only(function()), (), {})

    async def _from_a_task(self, function: Callable[..., R], args: Any, kwargs: Any) -> R:
        if asyncio.get_running_loop() is self.loop:
            return await self._call(function, args, kwargs)
        return await asyncio.wrap_future(self._submit(function, args, kwargs))

    def _submit(self, function: Callable[..., R], args: Any, kwargs: Any) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(self._call(function, args, kwargs), self.loop)

    def _is_inside(self) -> bool:
        """Whether a call that is made here is part of one that is under way."""
        return self._inside is not None and self._inside is running()[1]

    async def _call(self, function: Callable[..., R], args: Any, kwargs: Any) -> R:
        async with self._one_at_a_time:
            self._inside = asyncio.current_task()
            try:
                return await greenlet_spawn(function, *args, **kwargs)
            finally:
                self._inside = None


class LoopThread:
    """A thread with a loop of its own, for the connections of tests, whose own loops come and go."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="respool-home", daemon=True)
        self._thread.start()
        self.home = LoopHome(self._loop)

    def close(self) -> None:
        """End the loop, as ``asyncio.run`` does, and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()
