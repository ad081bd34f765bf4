"""A pool's state with a driver that does nothing by itself: the test reads what is to do, answers, and moves the clock."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from respool.config import PoolConfig
from respool.pool.core import algorithms
from respool.pool.core.algorithms import Check, Describe, Effect, Park
from respool.pool.core.entries import Alarm, CloseReason, Closing, Look, Open, PoolEntry, Tell, Waiter, Wake
from respool.pool.core.state import PoolState
from respool.testing import FakeClock

OUTAGE = ConnectionRefusedError("nobody listens")
REFUSAL = PermissionError("wrong password")


class Rig:
    """See the head of the file; ``state.check()`` runs after every step.

    Args:
        jitter: the number that the state gets whenever it asks for chance.
        settings: of the pool.
    """

    def __init__(self, *, jitter: float = 0.0, **settings: Any) -> None:
        self.clock = FakeClock()
        self.jitter = jitter
        self.state = PoolState(PoolConfig(**settings), lambda: self.jitter, object)
        self.opening: list[PoolEntry] = []  #: connects under way, the oldest first
        self.closed: list[tuple[PoolEntry, CloseReason]] = []
        self.looks: list[list[PoolEntry]] = []  #: the idle connections that were to be looked at, each time
        self.woken: list[Waiter] = []
        self.alarms: list[float] = []  #: that have not gone off yet
        self.told: list[tuple[Any, ...]] = []
        self.do(self.state.tick)

    def do(self, transition: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One step, and what it leaves to do."""
        self.state.now = self.clock()
        try:
            return transition(*args, **kwargs)
        finally:
            self._read_todo()
            self.state.check()

    def _read_todo(self) -> None:
        todo, self.state.todo = self.state.todo, []
        for item in todo:
            if isinstance(item, Open):
                self.opening.append(item.entry)
            elif isinstance(item, Closing):
                self.closed.append((item.entry, item.reason))
            elif isinstance(item, Wake):
                self.woken.append(item.waiter)
            elif isinstance(item, Look):
                self.looks.append(item.entries)
            elif isinstance(item, Alarm):
                self.alarms.append(item.at)
            elif isinstance(item, Tell):
                self.told.append((item.event, *item.facts))

    # -- callers -----------------------------------------------------------------------------------------------------

    def ask(self, who: str = "caller") -> Waiter:
        """Somebody asks for a connection; a waiter with an entry when there was one at once."""
        entry = self.do(self.state.take_any)
        if entry is None:
            waiter: Waiter = self.do(self.state.join, who)
            return waiter
        served = Waiter(self.clock(), who, None)
        served.entry = entry
        return served

    def give(self, caller: Waiter) -> None:
        self.do(self.state.give, caller.entry)

    def drop(self, caller: Waiter, reason: CloseReason = CloseReason.BROKEN) -> None:
        self.do(self.state.drop, caller.entry, reason)

    def grown(self, *names: str) -> list[Waiter]:
        """Callers of these names that hold a connection each, all newly opened."""
        callers = [self.ask(name) for name in names]
        while self.opening:
            self.connect()
        assert all(caller.entry is not None for caller in callers)
        return callers

    # -- the other end -----------------------------------------------------------------------------------------------

    def connect(self) -> PoolEntry:
        """The oldest connect succeeds."""
        entry = self.opening.pop(0)
        self.do(self.state.opened, entry, f"connection {entry.number}")
        return entry

    def fail(self, error: BaseException = REFUSAL) -> PoolEntry:
        """The oldest connect fails."""
        entry = self.opening.pop(0)
        self.do(self.state.failed, entry, error, outage=error is OUTAGE)
        return entry

    def cancel(self) -> PoolEntry:
        """The oldest connect is cancelled."""
        entry = self.opening.pop(0)
        self.do(self.state.cancelled, entry)
        return entry

    # -- time --------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Time passes; every alarm goes off at its moment."""
        end = self.clock() + seconds
        while self.alarms and min(self.alarms) <= end:
            at = min(self.alarms)
            self.alarms.remove(at)
            self.clock.advance(max(0.0, at - self.clock()))
            self.do(self.state.tick, at)
        self.clock.advance(end - self.clock())

    # -- what is -----------------------------------------------------------------------------------------------------

    @property
    def reasons(self) -> list[str]:
        """Why connections were closed so far."""
        return [reason.value for _, reason in self.closed]

    @property
    def counts(self) -> str:
        """``"1 idle, 2 acquired, 0 connecting, 3 waiting"``."""
        state = self.state
        return f"{len(state.idle)} idle, {state.acquired} acquired, {state.connecting} connecting, {state.line.waiting} waiting"


class Run:
    """One run of an algorithm: ``effect`` is what it wants done now; ``result`` or ``error`` is how it ended."""

    def __init__(self, rig: Rig, algorithm: Generator[Effect, Any, Any]) -> None:
        self.rig = rig
        self.effect: Effect | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._algorithm = algorithm
        self.answer(None)

    def answer(self, value: Any = None) -> None:
        """What it wanted is done."""
        self._step(self._algorithm.send, value)

    def throw(self, error: BaseException) -> None:
        """It failed, or the caller was cancelled."""
        self._step(self._algorithm.throw, error)

    def _step(self, resume: Any, value: Any) -> None:
        self.effect = None
        try:
            effect = self.rig.do(resume, value)
            while isinstance(effect, Describe):
                effect = self.rig.do(self._algorithm.send, [f"{entry.holder} has it" for entry in effect.entries])
            self.effect = effect
        except StopIteration as stop:
            self.result = stop.value
        except BaseException as error:
            self.error = error

    @property
    def deadline(self) -> float:
        assert isinstance(self.effect, Park | Check)
        return self.effect.deadline


def acquire(rig: Rig, who: str = "caller", timeout: float = 30.0) -> Run:
    """Somebody acquires a connection, by the real algorithm."""
    return Run(rig, algorithms.acquire(rig.state, "shop", timeout, who))
