"""The lock around a pool's state, and what happens outside it.

Three laws.  No I/O, no ``await`` and no callback of a user while the lock is held.  Whoever changed the state carries
out what is to do, after the lock is released.  Giving back never waits for the lock: a finalizer may do it at any
bytecode, even inside this very code, so what comes while the lock is taken goes into an inbox, which whoever holds the
lock empties.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import Any, ParamSpec, TypeVar

from respool.config import PoolConfig
from respool.pool import messages, snapshot
from respool.pool.algorithms import Park
from respool.pool.entries import Alarm, CloseReason, Closing, EntryState, Look, Open, PoolEntry, Tell, ToDo, Wake
from respool.pool.holders import Holder, Who, watched
from respool.pool.observer import PoolObserver
from respool.pool.state import PoolState
from respool.pool.stats import PoolStats, stats_of
from respool.pool.words import words_of

__all__ = ["Monitor", "resized"]

#: Seconds between two looks at the connections that rest.
LOOK_EVERY = 1.0

logger = logging.getLogger("respool.pool")

_WORDS = {
    "recovered": "pool %r: the database is back after %.1f s",
    "leaked": "pool %r: a connection is not given back by %s, after %.1f s",
    "leak_returned": "pool %r: the connection of %s was given back after all, after %.1f s",
}

P = ParamSpec("P")
R = TypeVar("R")


_live: weakref.WeakSet[Monitor] = weakref.WeakSet()
_orphans: list[Any] = []


def _after_fork() -> None:
    for monitor in list(_live):
        monitor.forget()


os.register_at_fork(after_in_child=_after_fork)


def resized(config: PoolConfig, min_size: int | None, max_size: int | None) -> PoolConfig:
    """These settings with other sizes. ``ConfigError`` when they are at odds with each other."""
    given = {"min_size": min_size, "max_size": max_size}
    return config.merged({name: size for name, size in given.items() if size is not None}, source="resize()")


class Monitor:
    """One pool's state behind its lock; the drivers for threads and for asyncio build on it.

    Args:
        config: the settings.
        name: the pool's name, for people.
        observer: hears what happens.
        clock: gives monotonic seconds.
        jitter: gives a number in [0, 1).
    """

    def __init__(
        self,
        config: PoolConfig,
        name: str,
        observer: PoolObserver,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.observer = observer
        self.clock = clock
        self._jitter = jitter
        self._begin(PoolState(config, jitter, self._signal))
        _live.add(self)

    def _begin(self, state: PoolState) -> None:
        self.state = state
        self._lock = threading.Lock()
        self._inbox: deque[tuple[PoolEntry, CloseReason | None]] = deque()

    def forget(self) -> None:
        """Begin anew in the child of a fork: the connections are the parent's. They are not closed, only kept aside.

        Closing one would say goodbye on the socket that the parent goes on using.
        """
        old = self.state
        for entry in old.entries.values():
            entry.forgotten = True
            entry.state = EntryState.CLOSED
            _orphans.append(entry.resource)
        new = PoolState(old.config, self._jitter, self._signal)
        new.keep, new.most_recent_first, new.suspended = old.keep, old.most_recent_first, old.suspended
        new.look_every = old.look_every
        new.reconsider()
        self._begin(new)

    # -- steps -----------------------------------------------------------------------------------------------------

    def step(self, transition: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make one step of the state machine under the lock; then do what it left to do."""
        state = self.state
        todo = None
        try:
            with self._lock:
                state.now = self.clock()
                try:
                    return transition(*args, **kwargs)
                finally:
                    if state.todo:
                        todo, state.todo = state.todo, []
        finally:
            try:
                if todo:
                    self._perform(todo)
            finally:
                if self._inbox:
                    self._empty_inbox()

    def take(self) -> PoolEntry | None:
        """The common case: an idle connection and nobody in line. It leaves nothing to do."""
        raise NotImplementedError  # each driver writes it out: here a call more is a tenth of the whole

    def give(self, entry: PoolEntry, reason: CloseReason | None = None) -> None:
        """Take a connection back, from any thread at any moment; with a ``reason``, to be closed."""
        lock, clock = self._lock, self.clock
        if not lock.acquire(False):
            self._inbox.append((entry, reason))
            self._empty_inbox()
            return
        state = self.state
        todo = None
        try:
            state.now = clock()
            if reason is None:
                state.give(entry)
            else:
                state.drop(entry, reason)
        finally:
            if state.todo:
                todo, state.todo = state.todo, []
            lock.release()
        if todo:
            self._perform(todo)
        if self._inbox:
            self._empty_inbox()

    def _empty_inbox(self) -> None:
        """Give back what came while the lock was taken. Whoever holds it now looks again when it is released."""
        while self._inbox and self._lock.acquire(blocking=False):
            state = self.state
            state.now = self.clock()
            try:
                while self._inbox:
                    entry, reason = self._inbox.popleft()
                    if reason is None:
                        state.give(entry)
                    else:
                        state.drop(entry, reason)
            finally:
                todo, state.todo = state.todo, []
                self._lock.release()
            self._perform(todo)

    def resize(self, min_size: int | None, max_size: int | None) -> PoolConfig:
        """Change the limits, after checking them; returns the new settings."""
        config = resized(self.state.config, min_size, max_size)
        self.step(self.state.resize, config)
        return config

    def soft_evict(self, spread: float) -> None:
        """Replace every connection: at once as they become free, or each at its own moment within ``spread`` seconds."""
        if spread > 0:
            self.step(self.state.evict_softly, spread)
        else:
            self.step(self.state.evict)

    def look_at_idle(self, look: bool) -> None:
        """Whether the connector can see that the other end has closed an idle connection."""
        self.state.look_every = LOOK_EVERY if look else inf
        self.state.reconsider()

    def watch(self, park: Park) -> AbstractContextManager[None]:
        """For the length of a wait in line: have the caller leave it if its client goes away meanwhile."""
        if not park.in_line:
            return nullcontext()
        return watched(lambda: self.step(self.state.desert, park.waiter, messages.caller_gone(self.name)))

    def name_stragglers(self, lines: list[str]) -> None:
        """Say what was still held when the time for closing was over."""
        for line in lines:
            logger.warning("pool %r is closed, and still: %s", self.name, line)

    def stats(self) -> PoolStats:
        """The numbers of this moment."""
        return self.step(stats_of, self.name, self.state)

    def snapshot(self) -> snapshot.PoolSnapshot:
        """The rows of this moment: every connection, every caller in line."""
        now, entries, waiters = self.step(snapshot.copy_of, self.state)
        rows = snapshot.connection_rows(now, entries, self._note)
        return snapshot.PoolSnapshot(self.stats(), tuple(rows), tuple(snapshot.waiter_rows(now, waiters)))

    def describe(self, entries: list[PoolEntry]) -> list[str]:
        """These connections in words, a line each."""
        return [str(row) for row in snapshot.connection_rows(self.clock(), entries, self._note)]

    def connect_failed(
        self, entry: PoolEntry, error: BaseException, is_outage: Callable[[BaseException], bool]
    ) -> None:
        """Report a failed connect; a connector that cannot tell what it means says no outage."""
        try:
            outage = is_outage(error)
        except Exception:
            logger.exception("pool %r: the connector failed to judge an error", self.name)
            outage = False
        self.step(self.state.failed, entry, error, outage=outage)

    # -- what is to do outside the lock ----------------------------------------------------------------------------

    def _perform(self, todo: list[ToDo]) -> None:
        """Closing may block or be interrupted: it comes last, and one that fails does not keep the others open."""
        closings: list[Closing] = []
        for item in todo:
            if type(item) is Wake:
                self._wake(item.waiter.signal)
            elif type(item) is Open:
                self._open(item.entry)
            elif type(item) is Look:
                self._look(item.entries)
            elif type(item) is Alarm:
                self._alarm(item.at)
            elif type(item) is Tell:
                self._tell(item.event, *item.facts)
            elif type(item) is Closing:
                closings.append(item)
        while closings:
            closing = closings.pop()
            try:
                if closing.entry.resource is not None:
                    self._close(closing.entry.resource, closing.reason)
                self._tell("closed", closing.reason.value)
            except BaseException:
                self._perform([*closings])
                raise

    def _look(self, entries: list[PoolEntry]) -> None:
        try:
            dead = self._dead([entry.resource for entry in entries])
        except Exception:
            logger.exception("pool %r: the connector failed to look at idle connections", self.name)
            return
        if dead:
            self.step(self.state.found_closed, [e for e in entries if any(e.resource is one for one in dead)])

    def _tell(self, event: str, *facts: Any) -> None:
        if event == "connect_failed" and self.state.outage is not None and self.state.outage.attempts <= 1:
            logger.warning("pool %r: connect failed, trying again: %s", self.name, words_of(facts[0]))
        elif event in _WORDS:
            if event in ("leaked", "leak_returned"):
                facts = (Holder(*facts[0]), *facts[1:])
            logger.warning(_WORDS[event], self.name, *facts)
        try:
            getattr(self.observer, event)(*facts)
        except Exception:
            logger.exception("pool %r: the observer failed on %r", self.name, event)

    def _who(self) -> Who:
        raise NotImplementedError

    def _note(self, resource: Any) -> str | None:
        raise NotImplementedError

    def _dead(self, resources: list[Any]) -> list[Any]:
        raise NotImplementedError

    def _signal(self) -> Any:
        raise NotImplementedError

    def _wake(self, signal: Any) -> None:
        raise NotImplementedError

    def _open(self, entry: PoolEntry) -> None:
        raise NotImplementedError

    def _close(self, resource: Any, reason: CloseReason) -> None:
        raise NotImplementedError

    def _alarm(self, at: float) -> None:
        raise NotImplementedError
