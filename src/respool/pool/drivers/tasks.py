"""The driver for asyncio."""

from __future__ import annotations

import asyncio
import logging
import weakref
from asyncio import current_task
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, TypeVar
from weakref import ref

from respool.config import PoolConfig
from respool.pool.core import algorithms
from respool.pool.core.algorithms import Check, Describe, Effect, Park, Reset
from respool.pool.core.connector import AsyncConnector
from respool.pool.core.entries import Claim, Closing, EntryState, PoolEntry
from respool.pool.drivers.clock import Clock
from respool.pool.drivers.forks import arrive, here
from respool.pool.drivers.keeper import keeper
from respool.pool.drivers.monitor import Monitor
from respool.pool.drivers.sections import Reentered, section
from respool.pool.telling.observer import PoolObserver
from respool.whereabouts import Who, get_label, line_here, stack, this_thread

__all__ = ["LoopMonitor", "run_awaited"]

R = TypeVar("R")

_NOTHING: Any = object()

#: Seconds that closing connections may take at the end of a loop.
_FAREWELL = 2.0


class LoopMonitor(Monitor):
    """Runs the algorithms in the caller's task, and connects in tasks of the pool's own, all on one event loop.

    Made in that loop. Only ``give`` may be called from elsewhere.
    """

    ends_here = True  # it would end the loop; and Ctrl-C comes as a cancellation here

    def __init__(self, connector: AsyncConnector, config: PoolConfig, name: str, observer: PoolObserver) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(config, name, observer)
        self.connector = connector
        self._thread = this_thread.thread
        self._keep_stacks = config.leak_after is not None
        self._tasks: set[asyncio.Task[None]] = set()
        self.done: asyncio.Future[None] = self.loop.create_future()  #: what is over at once may be awaited all the same
        self.done.set_result(None)

    @section
    def take(self, claim: Claim) -> PoolEntry | None:
        """See :meth:`Monitor.take`."""
        if not here[0]:
            arrive()
        if self._keep_stacks:
            who = self._who()
        else:
            task = current_task(self.loop)
            who = get_label(), self._thread, task and ref(task)
        lock, clock, state = self._lock, self.clock, self.state  # `self.clock()` would look for a method first
        try:
            if not lock.acquire(False):
                lock = self._wait_for_lock()
            if state.busy:
                self._odd(lock)
            state.busy = True
            state.now = clock()
            entry = state.take(who, claim)
            state.busy = False
            lock.release()
            if self._inbox:
                self._empty_inbox()
        except Reentered:
            raise
        except BaseException:
            self._cut_off([], claim)
            raise
        return entry

    def acquire_in_line(self, claim: Claim, timeout: float) -> Coroutine[Any, Any, PoolEntry]:
        """A connection's entry, after ``take`` gave none; see :func:`algorithms.acquire`."""
        self.open_forgotten()
        return self.run(algorithms.acquire(self.state, self.name, timeout, self._who(), claim))

    def run(self, algorithm: Generator[Effect, Any, R]) -> Coroutine[Any, Any, R]:
        """Run an algorithm to its end; see :func:`run_awaited`."""
        return run_awaited(self, self._do, algorithm)

    def tick(self, at: float | None = None) -> None:
        """Do what is due; ``at``: the time of the alarm that calls."""
        self.step(self.state.tick, at)

    async def warm_up(self, size: int, wait: float | None) -> None:
        """See ``ConnectionPool.warm_up``."""
        if wait is None:
            self.step(self.state.warm_up, size)
        else:
            await self.run(algorithms.warm_up(self.state, self.name, size, wait))

    async def close(self, timeout: float) -> None:
        """See ``ConnectionPool.close``."""
        deadline = self.clock() + timeout
        self.name_stragglers(await self.run(algorithms.close(self.state, self.name, timeout, line_here())))
        await self.wait_closings(max(0.0, deadline - self.clock()))

    async def dismiss(self) -> None:
        """The loop ends: close what nobody uses, as long as somebody can still wait for it."""
        self.step(self.state.dismiss)
        await self.wait_closings(_FAREWELL)

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in this monitor's loop."""
        return asyncio._get_running_loop() is self.loop

    async def wait_closings(self, timeout: float) -> None:
        """Wait until the pool's tasks are done: connections that are being closed, or made whole."""
        deadline = self.clock() + timeout
        while (tasks := [task for task in self._tasks if not task.done()]) and (left := deadline - self.clock()) > 0:
            await asyncio.wait(tasks, timeout=left)

    async def _do(self, effect: Effect) -> Any:
        if type(effect) is Park:
            with self.watch(effect):
                await self._park(effect.waiter.signal, effect.deadline)
        elif type(effect) is Check:
            seconds = max(0.0, min(self.check_limit, effect.deadline - self.clock()))
            async with asyncio.timeout(seconds):
                await self.connector.check(effect.entry.resource, seconds)
        elif type(effect) is Reset:
            await self.connector.reset(effect.entry.resource)
        elif type(effect) is Describe:
            return self.describe(effect.entries)
        return None

    async def _park(self, signal: asyncio.Future[None], deadline: float) -> None:
        if deadline == inf:
            await signal
            return
        timer = self.loop.call_later(max(0.0, deadline - self.clock()), _set, signal)
        try:
            await signal
        finally:
            timer.cancel()

    def _who(self) -> Who:
        task = current_task(self.loop)
        return get_label(), self._thread, task and ref(task), stack() if self._keep_stacks else ()

    def _note(self, resource: Any) -> str | None:
        return self.connector.note(resource)

    def _dead(self, resources: list[Any]) -> list[Any]:
        return self.connector.dead(resources)

    def _signal(self) -> Any:
        return self.loop.create_future()

    def _wake(self, signal: Any) -> None:
        self._in_loop(_set, signal)

    def _open(self, entry: PoolEntry) -> None:
        self._in_loop(self._spawn_connect, entry)

    def _spawn_connect(self, entry: PoolEntry) -> None:
        self._spawn(self._connect, entry).add_done_callback(partial(self._connected, entry))

    async def _connect(self, entry: PoolEntry) -> None:
        if not self.step(self.state.begin, entry, asyncio.current_task()):
            return
        resource = _NOTHING
        try:
            limit = self.state.connect_limit
            async with asyncio.timeout(None if limit == inf else limit):
                resource = await self.connector.connect()
            self.step(self.state.opened, entry, resource)
        except BaseException as error:
            if resource is not _NOTHING:
                if entry.resource is not resource:
                    self.step(self.state.opened, entry, resource)
                raise
            if isinstance(error, Exception):
                self.connect_failed(entry, error, self.connector.is_outage)
            else:
                self.step(self.state.cancelled, entry)
                raise

    def _connected(self, entry: PoolEntry, task: asyncio.Task[None]) -> None:
        """A connect has come to its end; one that was cut off before it could say so is made again."""
        cut_off = task.cancelled() or task.exception() is not None
        if cut_off and entry.state is EntryState.CONNECTING and entry.started in (None, task):
            self.step(self.state.cancelled, entry)

    def _close(self, closing: Closing) -> None:
        self.spawn(self._close_now, closing)

    async def _close_now(self, closing: Closing) -> None:
        if closing.begun:
            return
        closing.begun = True
        try:
            await self.connector.close(closing.entry.resource, closing.reason)
        except Exception:
            self.say(logging.WARNING, "pool %r: closing a connection failed", failed=True)

    def _alarm(self, at: float) -> None:
        self._in_loop(self._set_timer, at)

    def _set_timer(self, at: float) -> None:
        if abs(self.loop.time() - Clock.now()) > 1.0:  # a loop of its own time, or of frozen time
            keeper.at(Clock.now() + at - self.clock(), partial(_tick_in_loop, weakref.ref(self), at))
        else:
            self.loop.call_later(max(0.0, at - self.clock()), _tick, weakref.ref(self), at, context=Context())

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a coroutine function in a task of the pool's own, which knows nothing of the request at hand.

        Whatever is opened there would keep that request's context for as long as it is open.
        """
        self._in_loop(self._spawn, function, *args)

    def _spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> asyncio.Task[None]:
        # not by the loop's factory: it may know no context, or begin at once, here, in whatever greenlet this is
        task = asyncio.Task(function(*args), loop=self.loop, name=f"respool-{self.name}", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _in_loop(self, function: Callable[..., object], *args: Any) -> None:
        """Call now when we are in the loop's thread, else have the loop call; a loop that is closed needs nothing."""
        if this_thread.thread is self._thread:
            if not self.loop.is_closed():
                function(*args)
            return
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            self.say(logging.DEBUG, "pool %r: its event loop is closed")


def _set(signal: asyncio.Future[None]) -> None:
    if not signal.done():
        signal.set_result(None)


def _tick(monitor: weakref.ref[LoopMonitor], at: float) -> None:
    """Tick a pool that is still there; none is kept alive by its alarm."""
    there = monitor()
    if there is not None:
        there.tick(at)


def _tick_in_loop(monitor: weakref.ref[LoopMonitor], at: float) -> None:
    there = monitor()
    if there is not None:
        there._in_loop(there.tick, at)


async def run_awaited(
    monitor: Monitor, do: Callable[[Effect], Awaitable[Any]], algorithm: Generator[Effect, Any, R]
) -> R:
    """Run an algorithm to its end: its steps under the monitor's lock, its effects awaited, as ``do`` has them."""
    try:
        effect = monitor.step(algorithm.send, None)
        while True:
            try:
                answer = await do(effect)
            except BaseException as error:
                effect = monitor.step(algorithm.throw, error)
            else:
                effect = monitor.step(algorithm.send, answer)
    except StopIteration as stop:
        result: R = stop.value
        return result
