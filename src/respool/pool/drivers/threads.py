"""The driver for threads."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from respool.config import PoolConfig
from respool.pool.core import algorithms
from respool.pool.core.algorithms import Check, Describe, Effect, Park, Reset
from respool.pool.core.connector import Connector
from respool.pool.core.entries import Claim, CloseReason, Closing, EntryState, PoolEntry, Tell
from respool.pool.drivers.clock import Clock
from respool.pool.drivers.forks import arrive, here
from respool.pool.drivers.keeper import keeper
from respool.pool.drivers.monitor import Monitor
from respool.pool.drivers.sections import Reentered, section
from respool.pool.telling.observer import PoolObserver
from respool.whereabouts import Who, get_label, line_here, stack, this_thread

__all__ = ["ThreadMonitor"]

R = TypeVar("R")

_NOTHING: Any = object()


class ThreadMonitor(Monitor):
    """Runs the algorithms in the caller's thread, and connects in threads of the pool's own.

    Args:
        connector: opens, closes, checks and resets connections.
        inline: connect in the thread that asks, for connections that only work in the thread which made them.
    """

    #: Whether a caller connects in its own thread if it need not wait for that; it cannot give up then.
    by_caller = False

    def __init__(
        self, connector: Connector, config: PoolConfig, name: str, observer: PoolObserver, *, inline: bool = False
    ) -> None:
        super().__init__(config, name, observer)
        self.connector = connector
        self._inline = inline
        self._caller = _Caller()
        self._keep_stacks = config.leak_after is not None

    @section
    def take(self, claim: Claim) -> PoolEntry | None:
        """See :meth:`Monitor.take`."""
        if not here[0]:
            arrive()
        who = self._who() if self._keep_stacks else (get_label(), this_thread.thread)
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

    def acquire(self, claim: Claim, timeout: float) -> PoolEntry:
        """A connection's entry, after ``take`` gave none; see :func:`algorithms.acquire`."""
        self.open_forgotten()
        self._caller.connects = self.by_caller
        try:
            return self.run(algorithms.acquire(self.state, self.name, timeout, self._who(), claim))
        finally:
            self._caller.connects = False

    def run(self, algorithm: Generator[Effect, Any, R]) -> R:
        """Run an algorithm to its end: its steps under the lock, its effects outside."""
        try:
            effect = self.step(algorithm.send, None)
            while True:
                try:
                    answer = self._do(effect)
                except BaseException as error:
                    effect = self.step(algorithm.throw, error)
                else:
                    effect = self.step(algorithm.send, answer)
        except StopIteration as stop:
            result: R = stop.value
            return result

    def warm_up(self, size: int, wait: float | None) -> None:
        """See :meth:`ConnectionPool.warm_up`."""
        if wait is None:
            self.step(self.state.warm_up, size)
        else:
            self.run(algorithms.warm_up(self.state, self.name, size, wait))

    def close(self, timeout: float) -> None:
        """See :meth:`ConnectionPool.close`."""
        self.name_stragglers(self.run(algorithms.close(self.state, self.name, timeout, line_here())))

    def tick(self, at: float | None = None) -> None:
        """Do what is due; ``at``: the time of the alarm that calls."""
        self.step(self.state.tick, at)

    def _who(self) -> Who:
        if self._keep_stacks:
            return get_label(), this_thread.thread, None, stack()
        return get_label(), this_thread.thread

    def _do(self, effect: Effect) -> Any:
        if type(effect) is Park:
            with self.watch(effect):
                seconds = min(effect.deadline - self.clock(), threading.TIMEOUT_MAX)
                effect.waiter.signal.acquire(timeout=max(0.0, seconds))
        elif type(effect) is Check:
            self._check(effect.entry, min(self.check_limit, effect.deadline - self.clock()))
        elif type(effect) is Reset:
            self.connector.reset(effect.entry.resource)
        elif type(effect) is Describe:
            return self.describe(effect.entries)
        return None

    def _check(self, entry: PoolEntry, seconds: float) -> None:
        """Check in a thread that can be left behind: a stalled network must not keep the caller past its deadline."""
        if self._inline:
            self.connector.check(entry.resource, seconds)
            return
        check = _Checking(self, entry.resource, seconds)
        if not check.done.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX))) and check.abandon():
            entry.resource = None
            raise TimeoutError(f"the check of a connection took over {seconds:.1f} s")
        if check.error is not None:
            raise check.error

    def _note(self, resource: Any) -> str | None:
        return self.connector.note(resource)

    def _dead(self, resources: list[Any]) -> list[Any]:
        return self.connector.dead(resources)

    def _signal(self) -> Any:
        signal = threading.Lock()
        signal.acquire()
        return signal

    def _wake(self, signal: Any) -> None:
        with suppress(RuntimeError):  # it has been woken
            signal.release()

    def _open(self, entry: PoolEntry) -> None:
        if self._inline or self._caller.connects:
            self._caller.connects = False  # what its end starts is for somebody else
            try:
                self._connect(entry)
            except BaseException:
                if entry.state is EntryState.CONNECTING:
                    self.step(self.state.cancelled, entry)
                raise
        else:
            keeper.start(copy_context().run, self._connect, entry)

    def _connect(self, entry: PoolEntry) -> None:
        me = object()
        resource = _NOTHING
        try:
            if not self.step(self.state.begin, entry, me):
                return
            resource = self.connector.connect()
            self.step(self.state.opened, entry, resource)
        except BaseException as error:
            if entry.started is not me:
                raise
            if resource is not _NOTHING:
                if entry.resource is not resource:
                    self.step(self.state.opened, entry, resource)
                raise
            if keeper.is_ours or self.connector.is_databases(error):
                self.connect_failed(entry, error, self.connector.is_outage)
            else:  # it is meant for whoever runs here, not for the first in line
                self.step(self.state.cancelled, entry)
                raise

    def _close(self, closing: Closing) -> None:
        if keeper.is_current:
            keeper.start(self._close_once, closing)
        else:
            self._close_once(closing)

    def _close_once(self, closing: Closing) -> None:
        if not closing.begun:
            closing.begun = True
            self.close_now(closing.entry.resource, closing.reason)

    def close_now(self, resource: Any, reason: CloseReason) -> None:
        """Close a connection that is no longer part of the pool; a failure is of no interest to the caller."""
        try:
            self.connector.close(resource, reason)
        except Exception:
            self.say(logging.WARNING, "pool %r: closing a connection failed", failed=True)

    def _alarm(self, at: float) -> None:
        keeper.at(Clock.now() + at - self.clock(), partial(_tick, weakref.ref(self), at))

    def tell_all(self, told: list[Tell], *, first: bool) -> None:
        """As :meth:`Telling.tell_all`; nobody who may block is told in the keeper's thread."""
        if keeper.is_current:
            keeper.start(partial(super().tell_all, told, first=first))
        else:
            super().tell_all(told, first=first)


class _Caller(threading.local):
    """Whether this thread is about to wait for a connect, and may as well do it."""

    connects = False


class _Checking:
    """A check in a thread of its own. Whoever comes later, its end or its abandonment, closes the connection."""

    def __init__(self, monitor: ThreadMonitor, resource: Any, seconds: float) -> None:
        self._monitor = monitor
        self._resource = resource
        self._seconds = seconds
        self._claim = threading.Lock()
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()
        # not started here: an exception that is thrown into the caller's thread may hit a thread that it is starting, and
        # whoever starts one waits until it has begun
        keeper.start(self._run)

    def abandon(self) -> bool:
        """Leave the connection to the check's thread; ``False`` when the check has just ended."""
        return self._claim.acquire(blocking=False)

    def _run(self) -> None:
        try:
            self._monitor.connector.check(self._resource, self._seconds)
        except BaseException as error:
            self.error = error
        if self._claim.acquire(blocking=False):
            self.done.release()
        else:
            self._monitor.close_now(self._resource, CloseReason.FAILED_CHECK)


def _tick(monitor: weakref.ref[ThreadMonitor], at: float) -> None:
    """Tick a pool that is still there; none is kept alive by its alarm."""
    there = monitor()
    if there is not None:
        there.tick(at)
