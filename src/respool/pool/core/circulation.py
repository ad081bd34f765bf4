"""How connections go round: opened, at rest, in somebody's hands, handed on, closed.

Two rules.  Everything that changes the state of a pool stands here and in ``state.py``, which adds what an operator
does to a running pool.  And neither knows a clock, lock, loop, socket, log, chance or database: the driver that calls
a method holds its own lock, has written the time into ``now``, and afterwards carries out what it finds in ``todo``,
outside the lock.

An entry is one connection's place in the pool, from the moment when it is asked for::

    CONNECTING ──opened──▶ IDLE ──take──▶ ACQUIRED ──give──▶ IDLE
        │ failed             │ expire        │ drop
        ▼                    ▼               ▼
      CLOSED               CLOSED          CLOSED

``give`` hands a connection straight to the longest waiting caller when there is one (ACQUIRED ──hand──▶ ACQUIRED), so a
newcomer can never overtake.  Whatever frees a slot (a drop, a failed connect, an expiry) starts a connect for whoever
waits, in the same step: a freed slot that nobody notices cannot be written.

``idle + acquired + connecting == total <= max_size`` after every method; ``PoolState.check`` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from respool.config import PoolConfig
from respool.pool.core.backoff import Outage
from respool.pool.core.entries import (
    MOVES,
    Alarm,
    CloseReason,
    Closing,
    EntryState,
    Open,
    PoolEntry,
    Tell,
    Waiter,
    Wake,
)
from respool.pool.core.figures import BATCH, Audience
from respool.pool.core.line import Line

__all__ = ["Circulation"]

CONNECTING, IDLE, ACQUIRED, CLOSED = EntryState


class Circulation(Audience):
    """See the head of the file.

    Args:
        config: the settings.
        jitter: gives a number in [0, 1) for whatever should not happen everywhere at once.
        signal: makes the driver's means of waking one caller.
    """

    __slots__ = (
        "_ceiling",
        "_jitter",
        "_numbers",
        "_signal",
        "alarm_at",
        "busy",
        "calm",
        "check_after",
        "closed",
        "closed_by",
        "config",
        "generation",
        "hosts",
        "idle",
        "keep",
        "last_error",
        "leak_after",
        "line",
        "look_at",
        "look_every",
        "max_idle",
        "min_size",
        "most_recent_first",
        "notable_rest",
        "outage",
        "refill_at",
        "suspended",
    )

    def __init__(self, config: PoolConfig, jitter: Callable[[], float], signal: Callable[[], Any]) -> None:
        super().__init__()
        self.config = config
        self.max_size = config.max_size
        self.min_size = config.min_size
        self.check_after = inf if config.check_after is None else config.check_after
        self.max_idle = inf if config.max_idle is None else config.max_idle
        self.look_every = inf  #: seconds of rest after which, and then so often, the other end may have closed it
        self.look_at = -inf  #: the next look is not before
        self.keep = inf  #: idle connections kept; one that comes back beyond is closed
        self.most_recent_first = True
        self.leak_after = inf if config.leak_after is None else config.leak_after
        self.idle: deque[PoolEntry] = deque()  #: the longest rested on the left, the most recently used on the right
        self.line, self.generation = Line(), 0
        self.hosts = 1  #: how many a connect tries, one after the other; each has its time
        self.outage: Outage | None = None
        self.refill_at = -inf  #: no connect for ``min_size`` before, after one that failed for good
        self.last_error: BaseException | None = None
        self.closed, self.closed_by = False, ""  #: and by which line of code, for people
        self.suspended = False
        self.alarm_at = inf
        self.busy = False  #: the driver is in the midst of a step
        self._ceiling = 0  #: after a shrinking resize: what is still open above the new limit
        self._jitter, self._signal = jitter, signal
        self._numbers = 0
        self.calm = True  #: nothing is out of the ordinary: see :meth:`reconsider`
        self.reconsider()

    def reconsider(self) -> None:
        """Whether the common case may be the common case; to be asked when one of these has changed."""
        odd = self.closed or self.suspended or self._ceiling or self.keep < inf or self.leak_after < inf
        self.calm = self.most_recent_first and not odd
        self.notable_rest = min(self.max_idle, self.look_every)  #: seconds after which a rest calls for something

    @property
    def connect_limit(self) -> float:
        """Seconds that a connect may take."""
        seconds = self.config.connect_timeout
        return inf if seconds is None else seconds * self.hosts

    @property
    def _kept(self) -> int:
        """How many connections are opened although nobody asks for one."""
        return max(self.min_size, self.warm_size)

    @property
    def connects_at_once(self) -> bool:
        """Whether a connect is made for one more caller in line, without waiting for anybody or anything."""
        at_work = not self.suspended and (self.outage is None or self.outage.retry_at <= self.now)
        return at_work and self.line.waiting < self.connecting + self.max_size - self.total

    # -- taking ----------------------------------------------------------------------------------------------------

    def take(self, who: Any = None, claim: Any = None) -> PoolEntry | None:
        """The common case, written out: the connection used last, when all is calm and it needs no second look."""
        idle = self.idle
        if not idle or not self.calm:  # while one rests, nobody is in line, unless the pool is suspended
            return None
        entry = idle.pop()
        now = self.now
        if entry.check_at <= now:
            idle.append(entry)
            return None
        entry.holder = who
        if claim is not None:
            claim._who = who
            claim._entry = entry  # from here on it is the caller's; see mend()
        entry.state = ACQUIRED
        entry.acquired_at = now
        entry.uses += 1
        self.acquired = acquired = self.acquired + 1
        if acquired >= self._notable:
            self._note_use()
        return entry

    def take_any(self, who: Any = None, claim: Any = None) -> PoolEntry | None:
        """As :meth:`take`, rested connections included (the caller checks them); ended ones are closed on the way."""
        while self.idle and not self.line.waiting and not self.suspended:
            entry = self.idle.pop() if self.most_recent_first else self.idle.popleft()
            reason = self._ended(entry)
            if reason is None:
                entry.rested = True
                entry.holder = who
                if claim is not None:
                    claim._who = who
                    claim._entry = entry
                return self._acquired(entry)
            self._remove(entry, reason)
            self._settle()
        return None

    def join(self, who: Any, *, first: bool = False, patient: bool = True, claim: Any = None) -> Waiter:
        """Get in line.

        Args:
            who: the caller, for people.
            claim: whose waiter it is.
            first: at its head, for a caller whose turn had come already.
            patient: ``False``: give up when the connect fails that is made for it.
        """
        waiter = Waiter(self.now, who, self._signal())
        waiter.patient = patient
        waiter.left = True  # it is not in line yet
        if claim is not None:
            claim._waiter = waiter
        self.line.join(waiter, first=first)
        self.count["waited"] += not first
        self._settle()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Give up waiting. A connection that was handed over meanwhile goes to the next in line."""
        if waiter.waiting:
            self.line.leave(waiter)
        elif (entry := waiter.entry) is not None:
            unchecked = self.needs_check(entry)
            self.give(entry)
            waiter.left, waiter.entry = True, None
            if unchecked:
                entry.rested = entry.doubted = True
                entry.check_at = self.now

    def needs_check(self, entry: PoolEntry) -> bool:
        """Whether this entry, just acquired, rested so long that it must be looked at first. Asked once, it is."""
        doubted, entry.doubted = entry.doubted, False
        return entry.rested and (doubted or entry.acquired_at - entry.idle_since >= self.check_after)

    def _acquired(self, entry: PoolEntry) -> PoolEntry:
        entry.state = ACQUIRED
        entry.acquired_at = self.now
        entry.uses += 1
        self.acquired += 1
        if self.acquired >= self._notable:
            self._note_use()
        if self.now + self.leak_after < self.alarm_at:
            self._plan()
        return entry

    # -- giving back -----------------------------------------------------------------------------------------------

    def give(self, entry: PoolEntry) -> None:
        """Take a connection back: it goes to the first in line, else to rest; an ended one is closed."""
        now, expires_at = self.now, entry.expires_at
        check_at = now + self.check_after
        if check_at >= expires_at or entry.state is not ACQUIRED or not self.calm or self.line.waiting:
            self._give(entry)
            return
        # the common case of what _give does, written out
        entry.idle_since = now
        entry.state = IDLE
        entry.holder = None
        entry.check_at = check_at
        self.idle.append(entry)
        self.acquired -= 1
        self._used.append(now - entry.acquired_at)
        if entry.use is not None:
            entry.end_use(now)
        if not entry.uses % BATCH:
            self.use_time.add_all(self._used)
        if now >= self.saturated_since:
            self._desaturate()
        alarm_at = self.alarm_at
        if now + self.notable_rest < alarm_at or expires_at < alarm_at:
            self._plan()

    def _give(self, entry: PoolEntry) -> None:
        if entry.forgotten:
            return
        self._require(entry, "give")
        reason = self._ended(entry)
        self._released(entry)
        if reason is None:
            self._rest(entry)
        else:
            self._remove(entry, reason)
            self._settle()

    def drop(self, entry: PoolEntry, reason: CloseReason) -> None:
        """Take a place back whose connection must not be used again (or is gone already)."""
        if entry.forgotten:
            return
        self._require(entry, "drop")
        self._released(entry)
        self._remove(entry, reason)
        self._settle()

    def _released(self, entry: PoolEntry) -> None:
        seconds = self.now - entry.acquired_at
        if self.now >= self.saturated_since:
            self._desaturate()
        self.acquired -= 1
        self.use_time.add(seconds)
        if entry.use is not None:
            entry.end_use(self.now)
        if entry.leaked:
            entry.leaked = False
            self.todo.append(Tell("leak_returned", (entry.holder, seconds)))

    def _rest(self, entry: PoolEntry) -> None:
        """A usable connection of nobody: to the first in line, else onto the stack."""
        entry.idle_since = now = self.now
        if self.line.waiting and not self.suspended:
            entry.rested = False
            self._hand(entry)
        elif len(self.idle) >= self.keep:
            self._remove(entry, CloseReason.SHRUNK)
        else:
            entry.state = IDLE
            entry.holder = None
            check_at, expires_at = now + self.check_after, entry.expires_at
            entry.check_at = check_at if check_at < expires_at else expires_at
            self.idle.append(entry)
            if now + self.notable_rest < self.alarm_at or expires_at < self.alarm_at:
                self._plan()

    def _hand(self, entry: PoolEntry) -> None:
        """Give this connection to the first in line."""
        waiter = self.line.first()
        self.wait_time.add(self.now - waiter.since)
        waiter.entry = entry  # from here on it is that caller's; see mend()
        entry.holder = waiter.who
        self._acquired(entry)
        self.todo.append(Wake(waiter))

    def _ended(self, entry: PoolEntry) -> CloseReason | None:
        """Why this connection must not be used any more, if so."""
        if entry.generation != self.generation:
            return CloseReason.EVICTED
        if entry.expires_at <= self.now:
            return CloseReason.MAX_LIFETIME
        if self.closed:
            return CloseReason.POOL_CLOSED
        if len(self.entries) > self.max_size:
            return CloseReason.SHRUNK
        return None

    def _remove(self, entry: PoolEntry, reason: CloseReason) -> None:
        entry.state = CLOSED
        self.todo.append(Closing(entry, reason))
        del self.entries[entry.number]
        entry.holder = None
        self._past_uses += entry.uses
        self.flush_figures()
        self.closes[reason] += 1
        if self._ceiling:
            self._ceiling = self.total if self.total > self.max_size else 0
            self.reconsider()
        self._tell_drained()

    # -- connecting ------------------------------------------------------------------------------------------------

    def opened(self, entry: PoolEntry, resource: Any) -> None:
        """A connect succeeded. One that was given up meanwhile is closed again."""
        entry.resource = resource
        if entry.state is CLOSED:
            self.todo.append(Closing(entry, CloseReason.BROKEN))
            return
        self._require(entry, "opened")
        self.connecting -= 1
        self.count["connects"] += 1
        self.create_time.add(self.now - entry.created_at)
        self.todo.append(Tell("connected", (self.now - entry.created_at,)))
        if self.outage is not None:
            self.todo.append(Tell("recovered", (self.now - self.outage.since,)))
        self.outage = self.last_error = None
        if self.config.max_lifetime is not None and entry.generation == self.generation:
            entry.expires_at = self.now + self.config.max_lifetime * (1 - 0.1 * self._jitter())
        reason = self._ended(entry)
        if reason is not None:
            self._remove(entry, reason)
        else:
            self._rest(entry)
        self._tell_warm()
        self._settle()

    def failed(self, entry: PoolEntry, error: BaseException, *, outage: bool) -> None:
        """A connect failed. In an ``outage`` callers wait on for the next attempt; else the first in line is told."""
        if entry.state is CLOSED:
            return
        self._require(entry, "failed")
        self.connecting -= 1
        entry.state = CLOSED
        del self.entries[entry.number]
        self.count["connect_errors"] += 1
        self.last_error = error
        self.todo.append(Tell("connect_failed", (error,)))
        if outage:
            self.outage = self.outage or Outage(self.now)
            self.outage.failed(self.now, self._jitter())
            for waiter in [waiter for waiter in self.line if not waiter.patient]:
                self.line.leave(waiter)
                self.todo.append(Wake(waiter))
        else:
            self.refill_at = self.now + Outage.LONGEST
            self._fail_warming(error)
            if self.line.waiting:
                self._fail(self.line.first(), error)
        self._tell_drained()
        self._settle()
        self._plan()

    def cancelled(self, entry: PoolEntry) -> None:
        """A connect was cancelled from outside. The next one starts a moment later: a loop that is ending ends first."""
        if entry.state is CLOSED:
            return
        self._require(entry, "failed")
        self.connecting -= 1
        entry.state = CLOSED
        del self.entries[entry.number]
        self._tell_drained()
        self.alarm_at = self.now + 0.01
        self.todo.append(Alarm(self.alarm_at))

    def _settle(self) -> None:
        """Start a connect for everyone in line whom none is under way for, and for ``min_size``, within the limits."""
        if self.closed or self.suspended:
            return
        limit = self.config.max_connecting
        kept = self._kept if self.refill_at <= self.now else 0
        if self.outage is not None:
            if self.outage.retry_at > self.now:
                self._plan()
                return
            limit = 1
        while (
            self.connecting < limit
            and self.total < self.max_size
            and (self.connecting < self.line.waiting or self.total < kept)
        ):
            self._numbers += 1
            entry = PoolEntry(self._numbers, self.now, self.generation)
            self.entries[entry.number] = entry
            self.connecting += 1
            self.todo.append(Open(entry))
            self._plan()
        if kept < self._kept:
            self._plan()

    def _expire(self, entry: PoolEntry, reason: CloseReason) -> None:
        self._require(entry, "expire")
        self.idle.remove(entry)
        self._remove(entry, reason)

    def _plan(self) -> None:
        """Ask for a tick at the next time when something is due; ``PoolState`` knows when that is."""
        raise NotImplementedError

    def _require(self, entry: PoolEntry, move: str) -> None:
        """Refuse an illegal move before anything has changed."""
        if entry.state is not MOVES[move][0]:
            raise RuntimeError(f"illegal move {move!r} of {entry!r}; this is a bug, of respool or of its caller")
