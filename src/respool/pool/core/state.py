"""The pool as a pure state machine: the circulation of its connections, and what is done to it from outside."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import inf

from respool.config import PoolConfig
from respool.pool.core.circulation import Circulation
from respool.pool.core.entries import Alarm, CloseReason, Closing, EntryState, Look, Open, PoolEntry, Tell, Waiter, Wake

__all__ = ["PoolState"]

CONNECTING, IDLE, ACQUIRED, CLOSED = EntryState


class PoolState(Circulation):
    """One pool. Every method is one step, for a driver that holds its lock; see ``circulation.py``."""

    __slots__ = ()

    # -- operating -------------------------------------------------------------------------------------------------

    def desert(self, waiter: Waiter, error: BaseException) -> None:
        """Have a caller give up waiting, on its behalf; one whose turn has just come goes on."""
        if waiter.waiting:
            self.line.leave(waiter)
            self._fail(waiter, error)

    def evict(self) -> None:
        """Replace every connection: idle ones now, held ones when they come back, those under way when they arrive."""
        self.generation += 1
        for entry in self.entries.values():
            entry.expires_at = -inf
        self.close_idle()
        self._settle()

    def close_idle(self) -> None:
        """Close what nobody uses now, ``min_size`` or not."""
        for entry in list(self.idle):
            self._expire(entry, CloseReason.EVICTED)

    def dismiss(self) -> None:
        """Close what nobody uses now, and open none any more that nobody asks for: the pool is being replaced."""
        self.min_size = self.warm_size = 0
        self._tell_warm()
        self.close_idle()

    def doubt(self) -> None:
        """A connection was found dead: check the idle ones, however short their rest, before they are handed out."""
        for entry in self.idle:
            entry.doubted = True
            entry.check_at = self.now

    def forgotten_since(self, moment: float) -> None:
        """The network says nothing on a connection that has rested since then: it has forgotten those of longer rest."""
        for entry in [entry for entry in self.idle if entry.idle_since <= moment]:
            self._expire(entry, CloseReason.FAILED_CHECK)

    def evict_softly(self, spread: float) -> None:
        """Replace every connection, each at a moment of its own within ``spread`` seconds, when nobody uses it."""
        for entry in self.entries.values():
            if entry.state is not CONNECTING:
                entry.expires_at = min(entry.expires_at, self.now + spread * self._jitter())
                entry.check_at = min(entry.check_at, entry.expires_at)
        self.tick()

    def resize(self, config: PoolConfig) -> None:
        """Change the limits. What is open above the new one is closed, idle ones now and held ones as they come."""
        self.config = config
        self.min_size = config.min_size
        self.max_size = max_size = config.max_size
        while self.idle and self.total > max_size:
            self._expire(self.idle[0], CloseReason.SHRUNK)
        self._ceiling = self.total if self.total > max_size else 0
        self.reconsider()
        if self.now >= self.saturated_since:
            self._desaturate()
        self._note_use()
        self.warm_size = min(self.warm_size, max_size)
        self._tell_warm()
        self._settle()
        self._plan()

    def suspend(self) -> None:
        """Hand out nothing until :meth:`resume`; callers wait in line, up to their deadlines."""
        self.suspended = True
        self.reconsider()

    def resume(self) -> None:
        """Go on: those in line are served in order."""
        self.suspended = False
        self.reconsider()
        while self.idle and self.line.waiting:
            entry = self.idle.pop()
            if (reason := self._ended(entry)) is None:
                entry.rested = True
                self._hand(entry)
            else:
                self._remove(entry, reason)
        self._settle()

    def warm_up(self, size: int) -> Waiter:
        """Open connections until there are ``size``; the waiter is woken then, or gets the error of a connect."""
        self.warm_size = min(size, self.max_size)
        self.refill_at = -inf
        waiter = Waiter(self.now, None, self._signal())
        self.warming.append(waiter)
        self._tell_warm()
        self._settle()
        return waiter

    def close(self, error: Callable[[], BaseException]) -> None:
        """End: callers in line get an ``error`` each, idle connections are closed, held ones when they come back."""
        if self.closed:
            return
        self._fail_warming(error())
        while self.line.waiting:
            self._fail(self.line.first(), error())
        for entry in list(self.idle):
            self._expire(entry, CloseReason.POOL_CLOSED)
        self.closed = True
        self.reconsider()
        self._tell_drained()

    def wait_drained(self) -> Waiter:
        """A waiter that is woken once nothing of a closed pool is open any more."""
        waiter = Waiter(self.now, None, self._signal())
        self.drained.append(waiter)
        self._tell_drained()
        return waiter

    # -- time passing ----------------------------------------------------------------------------------------------

    def tick(self, at: float | None = None) -> None:
        """Close what rested or lived too long, give up hung connects, start what is due; ask for the next alarm.

        Args:
            at: the time of the alarm that calls; one that an earlier alarm has replaced is let pass.
        """
        if at is not None and at != self.alarm_at:
            return
        self.alarm_at = inf
        self._expire_lives()
        self._expire_rests()
        self._look()
        self._expire_connects()
        self._report_leaks()
        self._settle()
        self._plan()

    def _expire_lives(self) -> None:
        ended = [entry for entry in self.idle if entry.expires_at <= self.now]
        for entry in ended:
            self._expire(entry, CloseReason.MAX_LIFETIME)

    def _expire_rests(self) -> None:
        while self.idle and self.total > self.min_size and self.idle[0].idle_since + self.max_idle <= self.now:
            self._expire(self.idle[0], CloseReason.MAX_IDLE)

    def _look(self) -> None:
        if self.idle and max(self.look_at, self.idle[0].idle_since + self.look_every) <= self.now:
            self.look_at = self.now + self.look_every
            self.todo.append(Look([e for e in self.idle if e.idle_since + self.look_every <= self.now]))

    def found_closed(self, entries: list[PoolEntry]) -> None:
        """The other end has closed these while they rested; those that were taken meanwhile are their taker's matter."""
        for entry in entries:
            if entry.state is IDLE:
                self._expire(entry, CloseReason.SERVER_CLOSED)
        self._settle()
        self._plan()

    def _expire_connects(self) -> None:
        if not self.connecting:
            return
        for entry in [e for e in self.entries.values() if e.state is CONNECTING]:
            if entry.created_at + self.connect_limit <= self.now:
                self.failed(entry, TimeoutError(f"connect took over {self.connect_limit:g} s"), outage=True)

    def _report_leaks(self) -> None:
        if self.leak_after == inf:
            return
        for entry in self.entries.values():
            if entry.state is ACQUIRED and not entry.leaked and entry.acquired_at + self.leak_after <= self.now:
                entry.leaked = True
                self.count["leaks"] += 1
                self.todo.append(Tell("leaked", (entry.holder, self.now - entry.acquired_at)))

    def _plan(self) -> None:
        """Ask for a tick at the next time when something is due, unless one comes before it anyway."""
        due = inf
        if self.idle:
            rested_since = self.idle[0].idle_since
            due = min(entry.expires_at for entry in self.idle)
            due = min(due, max(self.look_at, rested_since + self.look_every))
            due = min(due, (rested_since if self.total > self.min_size else self.now) + self.max_idle)
        if self.connecting:
            starts = (e.created_at for e in self.entries.values() if e.state is CONNECTING)
            due = min(due, min(starts) + self.connect_limit)
        if not self.connecting and not self.closed and not self.suspended and self.total < self.max_size:
            retry_at = -inf if self.outage is None else self.outage.retry_at
            if self.line.waiting and self.outage is not None:
                due = min(due, retry_at)
            elif self.total < self._kept:
                due = min(due, max(retry_at, self.refill_at))
        if self.leak_after < inf and self.acquired:
            held = (e.acquired_at for e in self.entries.values() if e.state is ACQUIRED and not e.leaked)
            due = min(due, min(held, default=inf) + self.leak_after)
        if due < self.alarm_at:
            self.alarm_at = due
            self.todo.append(Alarm(due))

    def begin(self, entry: PoolEntry, by: object) -> bool:
        """Whoever opens this connection begins now; ``False`` when somebody else has, or nobody need any more."""
        if entry.started is None and entry.state is CONNECTING:
            entry.started = by
        return entry.started is by

    # -- cut off ---------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """Bring all in line again, after an exception that came from outside in the midst of a step.

        What counts is what stands at the entries and with the callers; the rest is made anew from that. Each step writes
        in such an order that this is enough, and a caller whose own step was cut off lets go of what its claim says.
        """
        for entry in [entry for entry in self.entries.values() if entry.state is CLOSED]:
            del self.entries[entry.number]
            if not any(isinstance(item, Closing) and item.entry is entry for item in self.todo):
                self.todo.append(Closing(entry, CloseReason.BROKEN))
        for waiter in self.line.recount():
            if waiter.entry is not None:
                waiter.entry.state, waiter.entry.holder = ACQUIRED, waiter.who
            self.todo.append(Wake(waiter))
        entries = self.entries.values()
        self.idle = deque(sorted((e for e in entries if e.state is IDLE), key=lambda entry: entry.idle_since))
        for entry in self.idle:
            entry.holder = None
        self.acquired = sum(entry.state is ACQUIRED for entry in entries)
        connecting = [entry for entry in entries if entry.state is CONNECTING]
        self.connecting = len(connecting)
        self.todo.extend(Open(entry) for entry in connecting if entry.started is None)
        self.alarm_at = inf
        self._ceiling = self.total if self.total > self.max_size else 0
        self.reconsider()
        self._note_use()
        for entry in list(self.idle):
            if (reason := self._ended(entry)) is not None:
                self._expire(entry, reason)
        if not self.suspended:
            self.resume()
        self._tell_warm()
        self._tell_drained()
        self._plan()

    # -- law -------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ``AssertionError`` when something that is always true is not."""
        states = Counter(entry.state for entry in self.entries.values())
        assert states[CLOSED] == 0
        assert states[IDLE] == len(self.idle)
        assert states[CONNECTING] == self.connecting
        assert states[ACQUIRED] == self.acquired
        assert self.total == len(self.idle) + self.acquired + self.connecting
        assert self.total <= max(self.max_size, self._ceiling)
        assert self.line.waiting == sum(1 for _ in self.line)
        assert not (self.idle and self.line.waiting and not self.suspended), "an idle connection while someone waits"
        assert list(self.idle) == sorted(self.idle, key=lambda entry: entry.idle_since)
