"""What a caller goes through, written once for threads, tasks and greenlets.

Each algorithm is a generator.  Whatever it does between two ``yield`` is one step of the state machine, made by the
driver under its lock.  Whatever has to block or be awaited is yielded: the driver does it without the lock, and sends
the result back or throws the failure in, cancellation included.  So clean-up stands in one place, in plain ``except``.

The common case never gets here: an idle connection and nobody in line is one call of ``PoolState.take``.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from respool.errors import PoolError, PoolTimeout
from respool.pool.core import messages
from respool.pool.core.connector import CheckAborted
from respool.pool.core.entries import Claim, CloseReason, EntryState, PoolEntry, Waiter
from respool.pool.core.state import PoolState

__all__ = ["Check", "Describe", "Effect", "Park", "Reset", "acquire", "close", "give_back", "warm_up"]

_HOLDERS = 3


@dataclass(slots=True)
class Park:
    """Wait until the waiter is woken, or until the deadline."""

    waiter: Waiter
    deadline: float
    in_line: bool = False  #: for a connection: whoever waits on a client's behalf may leave


@dataclass(slots=True)
class Check:
    """Ask the connection whether it is alive; raise when it is not, or when the deadline or a limit comes first."""

    entry: PoolEntry
    deadline: float


@dataclass(slots=True)
class Reset:
    """Bring the connection into the state in which the next caller expects it; raise when that fails."""

    entry: PoolEntry


@dataclass(slots=True)
class Describe:
    """Say in words who holds these connections, and what the driver knows of them; the answer is a list of lines."""

    entries: list[PoolEntry]


Effect = Park | Check | Reset | Describe


def acquire(
    state: PoolState, name: str, timeout: float, who: Any, claim: Claim | None = None
) -> Generator[Effect, Any, PoolEntry]:
    """A connection for a caller: an idle one, or whichever comes first, a returned or a new one.

    Args:
        name: the pool's, for messages.
        timeout: seconds for everything: waiting, connecting, checking. 0: do not wait for others; a check, or the
            connect that is made while the limit is not reached, may then take ``connect_timeout``.
        who: the caller, for people.
        claim: where the caller finds what it has or waits for, whenever it is interrupted.

    Raises:
        PoolTimeout, PoolClosed, PoolQueueFull: as they say.
        Exception: the connect that was this caller's turn failed for good.
    """
    claim = claim or Claim()
    deadline = state.now + timeout
    turn_had_come = False
    while True:
        if state.closed:
            raise messages.pool_closed(name, state.closed_by)
        entry = state.take_any(who, claim)
        if entry is None:
            entry = yield from _wait(state, name, deadline, timeout, who, claim, first=turn_had_come)
        turn_had_come = True
        if not state.needs_check(entry):
            return entry
        entry.doubted = True  # until the check has passed
        try:
            yield Check(entry, deadline if timeout else state.now + state.connect_limit)
        except CheckAborted as aborted:
            state.drop(entry, CloseReason.FAILED_CHECK)
            raise (aborted.__cause__ or aborted) from None
        except Exception as error:
            if isinstance(error, TimeoutError) and state.now < deadline:  # its own limit, not the caller's
                state.forgotten_since(entry.idle_since)
            state.drop(entry, CloseReason.FAILED_CHECK)
            if timeout and state.now >= deadline:
                raise (yield from _timed_out(state, name, timeout)) from state.last_error
        except BaseException:
            _throw_away(state, entry, who)
            raise
        else:
            entry.doubted = False
            return entry


def _wait(
    state: PoolState, name: str, deadline: float, timeout: float, who: Any, claim: Claim, *, first: bool
) -> Generator[Effect, Any, PoolEntry]:
    limit = state.config.max_waiting
    if limit is not None and not first and _behind_others(state) >= limit:
        state.count["refused"] += 1
        raise messages.pool_queue_full(name, state, (yield from _oldest_holders(state)))
    if timeout == 0 and state.connects_at_once:
        deadline = state.now + state.connect_limit
    waiter = state.join(who, first=first, patient=timeout > 0, claim=claim)
    try:
        yield Park(waiter, deadline, in_line=True)
    except BaseException:
        state.leave(waiter)
        raise
    if (entry := waiter.entry) is not None:
        claim._who, claim._entry = who, entry
        waiter.left, waiter.entry = True, None
        claim._waiter = None
        return entry
    if waiter.error is not None:
        raise waiter.error
    state.leave(waiter)
    raise (yield from _timed_out(state, name, timeout)) from state.last_error


def _timed_out(state: PoolState, name: str, timeout: float) -> Generator[Effect, Any, PoolTimeout]:
    state.count["timeouts"] += 1
    return messages.pool_timeout(name, state, timeout, (yield from _oldest_holders(state)))


def _behind_others(state: PoolState) -> int:
    """How many wait for someone to give back, rather than for a connect that is, or can be, made for them."""
    return state.line.waiting - state.connecting - (state.max_size - state.total)


def _oldest_holders(state: PoolState) -> Generator[Effect, Any, list[str]]:
    held = [entry for entry in state.entries.values() if entry.state is EntryState.ACQUIRED]
    held.sort(key=lambda entry: entry.acquired_at)
    lines: list[str] = yield Describe(held[:_HOLDERS])
    return lines


def give_back(state: PoolState, entry: PoolEntry) -> Generator[Effect, Any, None]:
    """Take a connection back after its reset; one whose reset fails is closed, and its place is free all the same."""
    who = entry.holder
    try:
        yield Reset(entry)
    except Exception:
        state.drop(entry, CloseReason.FAILED_RESET)
    except BaseException:
        _throw_away(state, entry, who)
        raise
    else:
        state.give(entry)


def _throw_away(state: PoolState, entry: PoolEntry, who: Any) -> None:
    """Drop what this caller has, unless it has let go of it already: an algorithm may be closed long after its end."""
    if entry.state is EntryState.ACQUIRED and entry.holder is who:
        state.drop(entry, CloseReason.BROKEN)


def warm_up(state: PoolState, name: str, size: int, timeout: float) -> Generator[Effect, Any, None]:
    """Open connections until there are ``size``, and wait for it.

    Raises:
        ConnectFailed: a connect failed for good.
        PoolTimeout: they are not open within ``timeout`` seconds.
    """
    if state.closed:
        raise messages.pool_closed(name, state.closed_by)
    waiter = state.warm_up(size)
    yield Park(waiter, state.now + timeout)
    if isinstance(waiter.error, PoolError):
        raise waiter.error
    if waiter.error is not None:
        raise messages.connect_failed(name, waiter.error) from waiter.error
    if waiter in state.warming:
        raise (yield from _timed_out(state, name, timeout)) from state.last_error


def close(state: PoolState, name: str, timeout: float, by: str = "") -> Generator[Effect, Any, list[str]]:
    """End the pool: callers in line fail, connections are closed as they become free.

    Args:
        by: the line of code that asks for it, for those who come later.

    Returns:
        The stragglers, in words: what was still held, or being opened, after ``timeout`` seconds.
    """
    deadline = state.now + timeout
    state.closed_by = state.closed_by or by
    state.close(partial(messages.pool_closed, name, state.closed_by))
    if state.entries:
        yield Park(state.wait_drained(), deadline)
    if not state.entries:
        return []
    lines: list[str] = yield Describe(list(state.entries.values()))
    return lines
