"""The lock around a pool's state, and what happens outside it.

Four laws.  No I/O, no ``await`` and no callback of a user while the lock is held.  Whoever changed the state carries
out what is to do, after the lock is released, and first what somebody waits for.  Giving back never waits for the lock: a
finalizer may do it at any bytecode, even inside this very code, so what comes while the lock is taken goes into an inbox,
which whoever holds the lock empties.  And an exception may come out of nowhere at any bytecode: see ``sections.py``.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar, cast

from respool.config import PoolConfig
from respool.errors import PoolError
from respool.pool.core import messages
from respool.pool.core.algorithms import Park
from respool.pool.core.entries import (
    Alarm,
    Claim,
    CloseReason,
    Closing,
    EntryState,
    Look,
    Open,
    PoolEntry,
    Tell,
    ToDo,
    Waiter,
    Wake,
)  # fmt: skip
from respool.pool.core.state import PoolState
from respool.pool.drivers.clock import Clock
from respool.pool.drivers.forks import arrive, here, in_a_child
from respool.pool.drivers.sections import Reentered, is_inside, section, somebody_is_inside, waits
from respool.pool.telling import snapshot
from respool.pool.telling.callbacks import Telling
from respool.pool.telling.observer import PoolObserver
from respool.pool.telling.stats import PoolStats, stats_of
from respool.whereabouts import Who, watched

__all__ = ["Monitor", "resized"]

#: Seconds between two looks at the connections that rest.
LOOK_EVERY = 1.0

#: Seconds that somebody waits for the lock before he looks who has it; a section takes microseconds.
_PATIENCE = 1.0

_RANK = attrgetter("rank")

#: What is in the inbox: an entry, why it is to be closed if so, and its holder; or a waiter that gives up.
Returned = tuple[PoolEntry | Waiter, CloseReason | None, Who | None]

P = ParamSpec("P")
R = TypeVar("R")


_live: weakref.WeakSet[Monitor] = weakref.WeakSet()
_orphans: list[Any] = []


def _after_fork() -> None:
    for monitor in list(_live):
        monitor.forget()


in_a_child(_after_fork)
_replacing = threading.Lock()


def resized(config: PoolConfig, min_size: int | None, max_size: int | None) -> PoolConfig:
    """These settings with other sizes. ``ConfigError`` when they are at odds with each other."""
    given = {"min_size": min_size, "max_size": max_size}
    return config.merged({name: size for name, size in given.items() if size is not None}, source="resize()")


class Monitor(Telling):
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
        clock: Callable[[], float] = Clock.now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(name, observer)
        self.clock = clock
        #: Seconds that a check may take: a network that has forgotten a connection says nothing at all.
        self.check_limit = 2.0
        self._jitter = jitter
        self.state = PoolState(config, jitter, self._signal)
        self._begin()
        _live.add(self)

    def _begin(self) -> None:
        self._lock: Any = threading.RLock()  # it knows whether it is held by the thread that asks
        self._inbox: deque[Returned] = deque()

    def forget(self) -> None:
        """Begin anew in the child of a fork: the connections are the parent's. They are not closed, only kept aside.

        Closing one would say goodbye on the socket that the parent goes on using.
        """
        state = self.state
        for entry in state.entries.values():
            entry.forgotten = True
            entry.state = EntryState.CLOSED
            _orphans.append(entry.resource)
        names = ("keep", "most_recent_first", "suspended", "look_every", "hosts", "keeps_times")
        kept = {name: getattr(state, name) for name in names}
        state.__init__(state.config, self._jitter, self._signal)  # type: ignore[misc]  # whoever knows it keeps it
        for name, value in kept.items():
            setattr(state, name, value)
        state.reconsider()
        self._begin()

    # -- steps -----------------------------------------------------------------------------------------------------

    @section
    def step(self, transition: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make one step of the state machine under the lock; then do what it left to do."""
        if not here[0]:
            arrive()
        lock, state = self._lock, self.state
        todo: list[ToDo] = []
        try:
            if not lock.acquire(False):
                lock = self._wait_for_lock()
            if state.busy:
                self._odd(lock)
            state.busy = True
            state.now = self.clock()
            result, answer = self._answer(transition, *args, **kwargs)
            todo, state.todo = state.todo, todo
            state.busy = False
            lock.release()
            self._perform(todo)
            if self._inbox:
                self._empty_inbox()
        except Reentered:
            raise
        except BaseException:
            self._cut_off(todo)
            raise
        if answer is None:
            return cast(R, result)
        try:
            raise answer
        finally:
            answer = None  # whoever catches it lets go of what this frame holds

    def _answer(
        self, transition: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[R | None, BaseException | None]:
        """A step's result, or what it raises: the one is as good an answer as the other, unless it was cut off."""
        try:
            return transition(*args, **kwargs), None
        except BaseException as error:
            if not isinstance(error, StopIteration | PoolError) and not any(error is one for one in args):
                self.state.mend()
            return None, error

    def take(self, claim: Claim) -> PoolEntry | None:
        """The common case: an idle connection and nobody in line. It leaves nothing to do, and its entry in the claim."""
        raise NotImplementedError  # each driver writes it out: here a call more is a tenth of the whole

    @section
    def give(self, entry: PoolEntry, reason: CloseReason | None = None, who: Who | None = None) -> None:
        """Take a connection back, from any thread at any moment; with a ``reason``, to be closed.

        Args:
            who: its holder, as the claim has it: if the entry is not that holder's any more, nothing is done.
        """
        lock, state, clock = self._lock, self.state, self.clock
        todo = None
        if who is None:
            who = entry.holder
        theirs = state.busy
        try:
            if theirs or not lock.acquire(False):
                self._inbox.append((entry, reason, who))
                self._empty_inbox()
                return
            state.busy = True
            state.now = clock()
            if entry.holder is who:
                if reason is None:
                    state.give(entry)
                else:
                    state.drop(entry, reason)
            if state.todo:
                todo, state.todo = state.todo, []
            state.busy = False
            lock.release()
            if todo:
                self._perform(todo)
            if self._inbox:
                self._empty_inbox()
        except BaseException:
            if not theirs:  # else it is held, if by this thread, by what this has come in the midst of
                self._cut_off(todo or [])
            self._inbox.append((entry, reason, who))  # once more, if it has not been done
            self._empty_inbox()
            raise

    @section
    def _empty_inbox(self) -> None:
        """Give back what came while the lock was taken. Whoever holds it now looks again when it is released."""
        inbox, state = self._inbox, self.state
        while inbox and not state.busy:
            todo: list[ToDo] = []
            try:
                if not self._lock.acquire(False):
                    return
                state.busy = True
                state.now = self.clock()
                while inbox:
                    self._take_back(*inbox[0])
                    inbox.popleft()
                todo, state.todo = state.todo, todo
                state.busy = False
                self._lock.release()
                self._perform(todo)
            except BaseException:
                self._cut_off(todo, empty=False)
                raise

    def _take_back(self, entry: PoolEntry | Waiter, reason: CloseReason | None, who: Who | None) -> None:
        if isinstance(entry, Waiter):
            self.state.leave(entry)
        elif entry.holder is who and entry.state is EntryState.ACQUIRED:
            if reason is None:
                self.state.give(entry)
            else:
                self.state.drop(entry, reason)

    def abandon(self, claim: Claim, reason: CloseReason | None = None) -> None:
        """Let go of what a claim has or waits for; of nothing if it has nothing. From any thread at any moment."""
        waiter, entry = claim._waiter, claim._entry
        if waiter is not None:
            self._inbox.append((waiter, None, None))
            self._empty_inbox()
            claim._waiter = None
        if entry is not None:
            self.give(entry, CloseReason.BROKEN if entry.doubted else reason, claim._who)
            claim._entry = None

    # -- the lock --------------------------------------------------------------------------------------------------

    @waits
    def _wait_for_lock(self) -> Any:
        """Wait for the lock; one that its holder has left behind is replaced. Returns the one that is held now."""
        while True:
            lock = self._lock
            if lock.acquire(timeout=_PATIENCE):
                if lock is self._lock:
                    return lock
                lock.release()
            with _replacing:
                if lock is self._lock and not somebody_is_inside(self):
                    self._lock = threading.RLock()

    def _odd(self, lock: Any) -> None:
        """The lock is held now, and a step is under way all the same: ours, or one that was cut off and left so."""
        if is_inside(self, sys._getframe(2)):
            lock.release()
            raise Reentered(self.name)
        self.state.mend()

    def _cut_off(self, todo: list[ToDo], claim: Claim | None = None, *, empty: bool = True) -> None:
        """After an exception in a section: mend what is half done, release the lock if it is held, do what is to do.

        Args:
            todo: what was to do already.
            claim: for whom a connection was being taken.
            empty: the inbox as well.
        """
        lock, state = self._lock, self.state
        if lock._is_owned():
            try:
                if claim is not None and claim._entry is not None:
                    claim._entry.state = EntryState.ACQUIRED
                if state.busy:
                    state.mend()
            finally:
                more, state.todo = state.todo, []
                if more is not todo:
                    todo.extend(more)
                state.busy = False
                lock.release()
        self._perform(todo)
        if self._inbox and empty:
            self._empty_inbox()

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
            self.say(logging.ERROR, "pool %r: the connector failed to judge an error", failed=True)
            outage = False
        self.step(self.state.failed, entry, error, outage=outage)

    def open_forgotten(self) -> None:
        """Open what was to be opened and was not: more than one exception from outside came in between."""
        if self.state.connecting:
            before = self.clock() - _PATIENCE
            for entry in list(self.state.entries.values()):
                if entry.state is EntryState.CONNECTING and entry.started is None and entry.created_at < before:
                    self._open(entry)

    # -- what is to do outside the lock ----------------------------------------------------------------------------

    def _perform(self, todo: list[ToDo]) -> None:
        """Do what is to do, first what others wait for. What is cut off stays there, and does no harm if done twice."""
        if len(todo) > 1:
            todo.sort(key=_RANK)
        while todo:
            item = todo[0]
            if type(item) is Wake:
                self._wake(item.waiter.signal)
            elif type(item) is Open:
                self._open(item.entry)
            elif type(item) is Alarm:
                self._alarm(item.at)
            else:
                break
            del todo[0]
        told: list[Tell] = []
        while todo:
            item = todo[0]
            if type(item) is Closing:
                if item.entry.resource is not None and here[0]:
                    self._close(item)
                todo.append(Tell("closed", (item.reason.value,)))
                del todo[0]
                continue
            del todo[0]
            if type(item) is Look:
                self._look(item.entries)
            elif type(item) is Tell:
                told.append(item)
        if told:
            outage = self.state.outage
            self.tell_all(told, first=outage is not None and outage.attempts <= 1)

    def _look(self, entries: list[PoolEntry]) -> None:
        try:
            dead = self._dead([entry.resource for entry in entries])
        except Exception:
            self.say(logging.ERROR, "pool %r: the connector failed to look at idle connections", failed=True)
            return
        if dead:
            self.step(self.state.found_closed, [e for e in entries if any(e.resource is one for one in dead)])

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

    def _close(self, closing: Closing) -> None:
        raise NotImplementedError

    def _alarm(self, at: float) -> None:
        raise NotImplementedError
