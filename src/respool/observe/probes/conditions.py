"""The condition of one pool, read without its lock.

Nothing here waits: a number may be a step older than the one beside it, and a lock that somebody holds is no concern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from respool.engine import FairPool
from respool.pool.core.entries import EntryState
from respool.pool.core.messages import words_of
from respool.pool.core.state import PoolState

__all__ = ["SERVING", "STATES", "Condition", "Limits", "condition_of"]

#: Every state, the gravest first. The second half serves.
STATES = (
    *("closed", "suspended", "away", "blocked", "exhausted", "warming"),
    *("untried", "short", "full", "ok", "unmeasured", "unused"),
)
#: Those in which a request can be served.
SERVING = frozenset(STATES[6:])


@dataclass(frozen=True, slots=True)
class Limits:
    """What is put up with, in seconds."""

    exhausted_after: float = 5.0
    away_after: float = 0.0
    blocked_after: float = 2.0
    dead_after: float = 30.0


@dataclass(frozen=True, slots=True)
class Condition:
    """How a pool is, and the numbers that say so."""

    state: str
    reason: str
    figures: dict[str, float | int] = field(default_factory=dict)
    last_error: str | None = None  #: the driver's words, where connecting fails


def condition_of(pool: Any, blocked: float, limits: Limits) -> Condition:
    """The condition of a pool: of one that has several, one for each event loop, that of the worst.

    Args:
        pool: a database's.
        blocked: for how many seconds its event loop has stood still.
        limits: what is put up with.
    """
    if not isinstance(pool, FairPool):
        return Condition("unmeasured", f"its pool, a {type(pool).__name__}, does not tell how it is")
    parts = [_of_one(each.state, each.clock(), limits) for each in pool.running_monitors() if _runs(each)]
    if not parts:
        return Condition("unused", "nobody has used it yet", _numbers(pool.config.max_size, ()))
    worst = min(parts, key=lambda part: STATES.index(part.state))
    figures = _numbers(pool.config.max_size, [part.figures for part in parts])
    state, reason = worst.state, worst.reason
    if blocked >= min(limits.blocked_after, limits.dead_after) and STATES.index("blocked") < STATES.index(state):
        state, reason = "blocked", f"the event loop has stood still for {blocked:.1f} s"
    return Condition(state, reason, figures | {"blocked": blocked}, worst.last_error)


def _runs(monitor: Any) -> bool:
    """Whether it is of an event loop that runs, or of threads: what a loop that has ended knew is of no interest."""
    loop = getattr(monitor, "loop", None)
    return loop is None or bool(loop.is_running())


def _numbers(max_size: int, parts: Any) -> dict[str, float | int]:
    names = ("acquired", "idle", "connecting", "waiting")
    numbers: dict[str, float | int] = {name: sum(part[name] for part in parts) for name in names}
    longest = {name: max((part[name] for part in parts), default=0.0) for name in ("oldest_wait", "away")}
    return numbers | {"max_size": max_size} | longest


def _of_one(state: PoolState, now: float, limits: Limits) -> Condition:
    outage = state.outage
    figures: dict[str, float | int] = {
        "acquired": state.acquired,
        "idle": len(state.idle),
        "connecting": state.connecting,
        "waiting": state.line.waiting,
        "oldest_wait": _oldest_wait(state, now),
        "away": 0.0 if outage is None else max(0.0, now - outage.since),
    }
    error = state.last_error if outage is not None else None
    name, reason = next(said for judge in _JUDGES if (said := judge(state, figures, now, limits)) is not None)
    return Condition(name, reason, figures, None if error is None else words_of(error))


def _oldest_wait(state: PoolState, now: float) -> float:
    for _ in range(20):
        try:
            first = next(iter(state.line), None)
        except RuntimeError:  # the line has moved while it was looked at
            continue
        return 0.0 if first is None else max(0.0, now - first.since)
    return 0.0  # a line that moves as fast as this is served


Said = tuple[str, str] | None
Judge = Callable[[PoolState, dict[str, Any], float, Limits], Said]


def _closed(state: PoolState, figures: dict[str, Any], now: float, limits: Limits) -> Said:
    return ("closed", "it is closed") if state.closed else None


def _suspended(state: PoolState, figures: dict[str, Any], now: float, limits: Limits) -> Said:
    if not state.suspended:
        return None
    return "suspended", f"its pool is suspended, {figures['waiting']} in line: until resume() nothing is handed out"


def _away(state: PoolState, figures: dict[str, Any], now: float, limits: Limits) -> Said:
    outage = state.outage
    if outage is None:
        return None
    away, attempts = figures["away"], outage.attempts
    times = f"{attempts} attempt{'' if attempts == 1 else 's'}"
    if (usable := figures["acquired"] + figures["idle"]) and figures["oldest_wait"] < _patience(state, limits):
        return "short", f"new connections fail, for {away:.1f} s now ({times}); the {usable} that are open go on"
    tried = figures["waiting"] or figures["connecting"] or max(state.min_size, state.warm_size)
    if not tried and now >= outage.retry_at:
        return "untried", f"it did not answer when it was last asked, by {times}; nobody has asked since"
    if away < limits.away_after:
        return "short", f"it has not answered for {away:.1f} s ({times}); it is waited for"
    return "away", f"it does not answer, for {away:.1f} s now ({times}); {figures['waiting']} wait for it"


def _exhausted(state: PoolState, figures: dict[str, Any], now: float, limits: Limits) -> Said:
    acquired, patience = figures["acquired"], _patience(state, limits)
    if figures["oldest_wait"] >= patience:
        return "exhausted", (
            f"{acquired} of {state.max_size} connections are held, and the first of {figures['waiting']} in line has "
            f"waited for {figures['oldest_wait']:.1f} s"
        )
    if acquired < state.max_size:
        return None
    held = [entry.acquired_at for entry in list(state.entries.values()) if entry.state is EntryState.ACQUIRED]
    still = max(0.0, now - max(held, default=now))
    if still >= patience:
        return "exhausted", f"all {acquired} connections are held, and none has come back for {still:.1f} s"
    return None


def _warming(state: PoolState, figures: dict[str, Any], now: float, limits: Limits) -> Said:
    if not state.warming:
        return None
    there = figures["idle"] + figures["acquired"]
    return "warming", f"{there} of the {max(state.warm_size, state.min_size)} connections to begin with are open"


def _serving(state: PoolState, figures: dict[str, Any], now: float, limits: Limits) -> Said:
    acquired = figures["acquired"]
    if acquired >= state.max_size:
        return "full", f"all {acquired} connections are in use, and they come back in time"
    return "ok", f"{acquired} of {state.max_size} connections are in use"


def _patience(state: PoolState, limits: Limits) -> float:
    """A caller may be ready to wait for less than the limit: half of that, for then the others have left again."""
    timeout = state.config.timeout
    return min(limits.exhausted_after, timeout / 2) if timeout else limits.exhausted_after


_JUDGES: tuple[Judge, ...] = (_closed, _suspended, _away, _exhausted, _warming, _serving)
