"""A whole pool without threads or tasks: callers, a database and a clock, moved one step at a time by whoever drives.

The state machine and the algorithms are the real ones.  The driver here keeps what a real one would do next (wake a
caller, finish a connect, let an alarm go off) in lists, so that it can happen in any order and at any time.  After every
step the world is compared with a model that knows two things only: who came when, and what is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import inf
from typing import Any

from respool.config import PoolConfig
from respool.errors import PoolClosed, PoolQueueFull, PoolTimeout
from respool.pool.core import algorithms
from respool.pool.core.algorithms import Check, Describe, Effect, Park, Reset
from respool.pool.core.entries import Alarm, CloseReason, Closing, EntryState, Look, Open, PoolEntry, Waiter, Wake
from respool.pool.core.state import PoolState

OUTAGE = ConnectionRefusedError("nobody listens")
REFUSAL = PermissionError("wrong password")
_EXPECTED = (PoolTimeout, PoolClosed, PoolQueueFull, PermissionError, asyncio.CancelledError)


@dataclass(eq=False, slots=True)
class Caller:
    """Somebody who asks for a connection, has one, or gives it back."""

    number: int
    algorithm: Generator[Effect, Any, Any] | None = None
    effect: Effect | None = None
    entry: PoolEntry | None = None  #: what it holds
    woken: bool = False

    def __repr__(self) -> str:
        return f"caller {self.number}"

    @property
    def held(self) -> PoolEntry | None:
        """The entry that is its own, wherever it stands."""
        if isinstance(self.effect, Park):
            return self.effect.waiter.entry
        if isinstance(self.effect, Check | Reset):
            return self.effect.entry
        return self.entry


class Simulation:
    """See the head of the file.

    Args:
        jitter: gives the numbers in [0, 1).
        settings: of the pool.
    """

    def __init__(self, jitter: Callable[[], float], *, look_every: float = inf, **settings: Any) -> None:
        self.now = 0.0
        self.steps = 0
        self.state = PoolState(PoolConfig(**settings), jitter, object)
        self.state.look_every = look_every
        self.state.reconsider()
        self.callers: list[Caller] = []  #: those who are still in it
        self.line: list[Caller] = []  #: the model: who waits, in the order of arrival
        self.connects: list[PoolEntry] = []  #: under way, those that were given up included
        self.open: set[int] = set()  #: the model: the resources that are open
        self.alarms: list[float] = []
        self.looks: list[list[PoolEntry]] = []  #: under way: what is looked at
        self.condemned: set[int] = set()  #: the model: the entries that an eviction found
        self._resources = 0
        self._numbers = 0
        self._step(self.state.tick)

    # -- callers -----------------------------------------------------------------------------------------------------

    def ask(self, timeout: float) -> None:
        """Somebody comes: the short way first, as the drivers do it."""
        self._numbers += 1
        caller = Caller(self._numbers)
        self.callers.append(caller)
        caller.entry = self._step(self.state.take)
        if caller.entry is not None:
            assert not self.line, f"{caller} overtook {self.line}"
            self.check()
        else:
            self._begin(caller, algorithms.acquire(self.state, "shop", timeout, caller))

    def release(self, caller: Caller, reason: CloseReason | None = None) -> None:
        """A holder gives back without a reset, or throws away."""
        self.callers.remove(caller)
        entry, caller.entry = caller.entry, None
        if reason is None:
            self._checked(self.state.give, entry)
        else:
            self._checked(self.state.drop, entry, reason)

    def give_back(self, caller: Caller) -> None:
        """A holder gives back through a reset."""
        entry, caller.entry = caller.entry, None
        assert entry is not None
        self._begin(caller, algorithms.give_back(self.state, entry))

    def go_on(self, caller: Caller, error: BaseException | None = None) -> None:
        """What the caller waited for has happened (or the time is over); with an error, it failed or is cancelled."""
        assert caller.algorithm is not None
        if error is None:
            self._resume(caller, caller.algorithm.send, None)
        else:
            self._resume(caller, caller.algorithm.throw, error)

    @property
    def holders(self) -> list[Caller]:
        return [caller for caller in self.callers if caller.entry is not None]

    @property
    def at_work(self) -> list[Caller]:
        """Who checks or resets."""
        return [caller for caller in self.callers if isinstance(caller.effect, Check | Reset)]

    @property
    def inside(self) -> list[Caller]:
        """Who may be cancelled."""
        return [caller for caller in self.callers if caller.effect is not None]

    @property
    def ready(self) -> list[Caller]:
        """Who was woken, or has waited long enough."""
        return [
            caller
            for caller in self.callers
            if isinstance(caller.effect, Park) and (caller.woken or caller.effect.deadline <= self.now)
        ]

    # -- the database ------------------------------------------------------------------------------------------------

    def connected(self, entry: PoolEntry) -> None:
        self.connects.remove(entry)
        self._resources += 1
        self.open.add(self._resources)
        self._checked(self.state.opened, entry, self._resources)

    def refused(self, entry: PoolEntry, error: BaseException) -> None:
        self.connects.remove(entry)
        self._checked(self.state.failed, entry, error, outage=error is OUTAGE)

    def cancelled(self, entry: PoolEntry) -> None:
        self.connects.remove(entry)
        self._checked(self.state.cancelled, entry)

    def looked(self, look: list[PoolEntry], gone: list[PoolEntry]) -> None:
        """A look is over: the server has closed some of these; whoever has taken one meanwhile will find it out."""
        self.looks.remove(look)
        self._checked(self.state.found_closed, gone)

    # -- time --------------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float, *, late: bool = False) -> None:
        """Time passes; alarms go off at their moment, or late, all at the end."""
        end = self.now + seconds
        if late:
            self.now = end
        for n in range(10_000):
            due = min(self.alarms, default=inf)
            if due > end:
                break
            assert n < 9_000, f"alarms without end: the next is at {due}, now is {self.now}"
            self.alarms.remove(due)
            self.now = max(self.now, due)
            self._checked(self.state.tick, due)
        self.now = end
        self._check_what_is_due()

    # -- operating ---------------------------------------------------------------------------------------------------

    def operate(self, step: Callable[..., Any], *args: Any) -> None:
        """One step of an operator's."""
        self._checked(step, *args)

    def evict(self) -> None:
        self.condemned.update(self.state.entries)
        self._checked(self.state.evict)

    def resize(self, min_size: int, max_size: int) -> None:
        self._checked(self.state.resize, self.state.config.merged({"min_size": min_size, "max_size": max_size}))

    def close(self) -> None:
        self._checked(self.state.close, lambda: PoolClosed("closed"))

    # -- the driver --------------------------------------------------------------------------------------------------

    def _begin(self, caller: Caller, algorithm: Generator[Effect, Any, Any]) -> None:
        caller.algorithm = algorithm
        self._resume(caller, algorithm.send, None)

    def _resume(self, caller: Caller, resume: Callable[[Any], Effect], value: Any) -> None:
        assert caller.algorithm is not None
        had_its_turn = isinstance(caller.effect, Check)
        if caller in self.line:
            self.line.remove(caller)  # it timed out or is cancelled, else it was taken out when it was woken
        caller.effect, caller.woken = None, False
        try:
            effect = self._step(resume, value)
            while isinstance(effect, Describe):
                effect = self._step(caller.algorithm.send, [])
            caller.effect = effect
            if isinstance(effect, Park):
                self.line.insert(0 if had_its_turn else len(self.line), caller)
        except StopIteration as stop:
            caller.algorithm, caller.entry = None, stop.value
            if caller.entry is None:
                self.callers.remove(caller)
        except _EXPECTED:
            self.callers.remove(caller)
        self.check()

    def _step(self, transition: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.steps += 1
        self.state.now = self.now
        try:
            return transition(*args, **kwargs)
        finally:
            self._perform()

    def _checked(self, transition: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._step(transition, *args, **kwargs)
        self.check()

    def _perform(self) -> None:
        todo, self.state.todo = self.state.todo, []
        for item in todo:
            if isinstance(item, Open):
                assert self.state.outage is None or self.state.connecting == 1, "a stampede"
                self.connects.append(item.entry)
            elif isinstance(item, Wake):
                self._woken(item.waiter)
            elif isinstance(item, Closing):
                self.open.remove(item.entry.resource)  # KeyError: closed twice, or never opened
            elif isinstance(item, Look):
                assert all(entry.state is EntryState.IDLE for entry in item.entries), "looks at what is not at rest"
                self.looks.append(item.entries)
            elif isinstance(item, Alarm):
                self.alarms.append(item.at)

    def _woken(self, waiter: Waiter) -> None:
        caller = waiter.who
        if caller is None:
            return  # who waits for a warm-up or a close
        assert caller in self.line, f"{caller} was woken and is not in line"
        if waiter.entry is not None or waiter.error is not None:
            assert caller is self.line[0], f"{caller} was served before {self.line[0]}"
            assert waiter.entry is None or waiter.entry.number not in self.condemned, f"{waiter.entry} was handed on"
        self.line.remove(caller)
        caller.woken = True

    # -- the law -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Compare the pool with the model."""
        state = self.state
        state.check()
        line = [waiter.who for waiter in state.line]
        assert line == self.line, f"in line are {line}, and should be {self.line}"
        entries = state.entries.values()
        assert {entry.resource for entry in entries if entry.state is not EntryState.CONNECTING} == self.open
        held = [entry.number for caller in self.callers if (entry := caller.held) is not None]
        assert sorted(held) == sorted(entry.number for entry in entries if entry.state is EntryState.ACQUIRED)
        assert not [entry for entry in state.idle if entry.number in self.condemned], "evicted, and at rest"
        assert state.connecting <= state.config.max_connecting
        assert state.alarm_at == inf or state.alarm_at in self.alarms, "an alarm that nobody was asked for"
        self._check_that_somebody_cares()

    def _check_that_somebody_cares(self) -> None:
        """Whoever waits has a connect under way, or an alarm that will start one, or waits for others."""
        state = self.state
        if state.closed or state.suspended:
            return
        limit = state.config.max_connecting if state.outage is None else 1
        wanted = min(len(self.line), limit)
        if state.total < state.min_size:
            wanted = max(wanted, 1)  # the others follow when the first is done
        if state.connecting < wanted and state.total < state.max_size:
            assert state.alarm_at <= self.now + 5.0, f"{wanted} wanted, {state.connecting} connecting, nobody cares"

    def _check_what_is_due(self) -> None:
        state, config = self.state, self.state.config
        for entry in state.entries.values():
            if entry.state is EntryState.IDLE:
                assert entry.expires_at > self.now, f"{entry} rests beyond its life"
                assert max(state.look_at, entry.idle_since + state.look_every) > self.now, f"{entry} is not looked at"
                if config.max_idle is not None and state.total > state.min_size:
                    assert entry.idle_since + config.max_idle > self.now, f"{entry} rests too long"
            elif entry.state is EntryState.CONNECTING and config.connect_timeout is not None:
                assert entry.created_at + config.connect_timeout > self.now, f"{entry} connects too long"

    def finish(self) -> None:
        """From now on everything goes well: everybody in line must be served, and then nothing may stay open."""
        self._checked(self.state.resume)
        for _ in range(100_000):
            if self.connects:
                self.connected(self.connects[0])
            elif self.holders:
                self.release(self.holders[0])
            elif self.at_work:
                self.go_on(self.at_work[0])
            elif woken := [caller for caller in self.callers if caller.woken]:
                self.go_on(woken[0])
            elif self.line:
                assert self.alarms, f"{self.line} are forgotten"
                self.pass_time(max(0.0, min(self.alarms) - self.now))
            else:
                break
        assert self.callers == []
        self.close()
        assert self.open == set()
