"""The pool's state machine: state, event, state. No clock, no thread, no loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from respool.pool.core.entries import MOVES, CloseReason, EntryState, PoolEntry
from respool.pool.core.state import PoolState
from tests.pool.rig import OUTAGE, REFUSAL, Rig

CONNECTING, IDLE, ACQUIRED, CLOSED = EntryState


def in_state(state: EntryState) -> tuple[Rig, PoolEntry]:
    """A pool whose only entry is in this state."""
    rig = Rig(max_size=2)
    caller = rig.ask()
    entry = rig.opening[0]
    if state is not CONNECTING:
        rig.connect()
    if state is IDLE:
        rig.give(caller)
    if state is CLOSED:
        rig.drop(caller)
    assert entry.state is state
    return rig, entry


# -- the table ---------------------------------------------------------------------------------------------------------


def opened(rig: Rig, entry: PoolEntry) -> None:
    rig.do(rig.state.leave, next(iter(rig.state.line)))  # else the caller in line gets it at once
    rig.do(rig.state.opened, entry, "connection")


def failed(rig: Rig, entry: PoolEntry) -> None:
    rig.do(rig.state.failed, entry, REFUSAL, outage=False)


def take(rig: Rig, entry: PoolEntry) -> None:
    assert rig.do(rig.state.take) is entry


def expire(rig: Rig, entry: PoolEntry) -> None:
    rig.advance(10_000)


def give(rig: Rig, entry: PoolEntry) -> None:
    rig.do(rig.state.give, entry)


def hand(rig: Rig, entry: PoolEntry) -> None:
    next_in_line = rig.do(rig.state.join, "next")
    rig.do(rig.state.give, entry)
    assert next_in_line.entry is entry


def drop(rig: Rig, entry: PoolEntry) -> None:
    rig.do(rig.state.drop, entry, CloseReason.BROKEN)


@pytest.mark.parametrize("move", [opened, failed, take, expire, give, hand, drop], ids=lambda move: move.__name__)
def test_every_move_goes_from_its_first_state_to_its_second(move: Callable[[Rig, PoolEntry], None]) -> None:
    first, second = MOVES[move.__name__]
    rig, entry = in_state(first)
    move(rig, entry)
    assert entry.state is second


def test_the_table_has_the_moves_that_are_tested() -> None:
    assert set(MOVES) == {"opened", "failed", "take", "expire", "give", "hand", "drop"}


def picture(state: PoolState) -> dict[str, Any]:
    """All that a move may change, to compare."""
    changing = ("alarm_at", "connecting", "acquired", "takes", "peak", "generation", "outage", "last_error")
    return {
        **{name: getattr(state, name) for name in changing},
        "entries": {number: entry.state for number, entry in state.entries.items()},
        "idle": [entry.number for entry in state.idle],
        "line": list(state.line),
        "todo": list(state.todo),
        "count": dict(state.count),
        "closes": dict(state.closes),
    }


ILLEGAL = [
    *[("give", state) for state in (CONNECTING, IDLE, CLOSED)],
    *[("drop", state) for state in (CONNECTING, IDLE, CLOSED)],
    *[("opened", state) for state in (IDLE, ACQUIRED)],
    *[("failed", state) for state in (IDLE, ACQUIRED)],
    *[("cancelled", state) for state in (IDLE, ACQUIRED)],
]


@pytest.mark.parametrize("event, start", ILLEGAL, ids=lambda value: getattr(value, "value", value))
def test_an_illegal_move_raises_and_changes_nothing(event: str, start: EntryState) -> None:
    rig, entry = in_state(start)
    events: dict[str, Callable[[], None]] = {
        "give": lambda: rig.state.give(entry),
        "drop": lambda: rig.state.drop(entry, CloseReason.BROKEN),
        "opened": lambda: rig.state.opened(entry, entry.resource),
        "failed": lambda: rig.state.failed(entry, REFUSAL, outage=True),
        "cancelled": lambda: rig.state.cancelled(entry),
    }
    before = picture(rig.state)
    with pytest.raises(RuntimeError, match=r"illegal move '\w+' of <PoolEntry 1 " + start.value):
        events[event]()
    assert picture(rig.state) == before
    assert entry.state is start


def test_what_comes_of_a_connect_that_was_given_up_is_closed_or_forgotten() -> None:
    rig = Rig(max_size=1, connect_timeout=10)
    rig.ask()
    late_success = rig.opening.pop()
    rig.advance(10)
    assert late_success.state is CLOSED
    rig.advance(1)
    late_failure = rig.opening.pop()
    rig.advance(10)
    assert late_failure.state is CLOSED
    before = rig.counts
    rig.do(rig.state.failed, late_failure, REFUSAL, outage=False)
    rig.do(rig.state.opened, late_success, "too late")
    assert [entry for entry, _ in rig.closed] == [late_success]
    assert rig.counts == before


# -- who gets what -----------------------------------------------------------------------------------------------------


def test_an_empty_pool_opens_nothing_until_somebody_asks() -> None:
    rig = Rig(max_size=3)
    assert (rig.opening, rig.alarms) == ([], [])
    rig.ask()
    assert rig.counts == "0 idle, 0 acquired, 1 connecting, 1 waiting"


def test_no_more_is_opened_than_is_asked_for_at_once() -> None:
    rig = Rig(max_size=5, max_connecting=5)
    for _ in range(10):
        caller = rig.ask()
        if rig.opening:
            rig.connect()
        rig.give(caller)
    assert rig.state.total == 1


def test_the_most_recently_used_goes_out_first_so_that_the_others_age() -> None:
    rig = Rig(max_size=3)
    a, b, c = rig.grown("a", "b", "c")
    for caller in (b, c, a):
        rig.give(caller)
        rig.advance(1)
    assert [rig.ask().entry for _ in range(3)] == [a.entry, c.entry, b.entry]


def test_callers_are_served_in_the_order_in_which_they_came() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    line = [rig.ask(name) for name in "abc"]
    served = []
    while rig.state.line.waiting:
        rig.give(holder)
        holder = rig.woken[-1]
        served.append(holder)
    assert served == line


def test_a_newcomer_cannot_overtake_the_one_who_was_handed_the_connection_but_sleeps_still() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    sleeper = rig.ask("sleeper")
    rig.give(holder)
    newcomer = rig.ask("newcomer")
    assert sleeper.entry is not None
    assert newcomer.entry is None
    assert rig.do(rig.state.take) is None


def test_a_newcomer_cannot_overtake_the_line_while_a_connect_is_under_way() -> None:
    rig = Rig(max_size=2, max_connecting=1)
    first, second = rig.ask("first"), rig.ask("second")
    rig.connect()
    third = rig.ask("third")
    rig.give(first)
    assert second.entry is not None
    assert third.entry is None


def test_a_waiter_takes_whichever_comes_first_and_the_connect_goes_on_into_the_pool() -> None:
    rig = Rig(max_size=2)
    (holder,) = rig.grown("holder")
    waiter = rig.ask("waiter")
    rig.give(holder)
    assert waiter.entry is holder.entry
    assert rig.connect().state is IDLE


def test_at_the_head_of_the_line_for_a_caller_whose_turn_had_come() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    rig.ask("patient")
    urgent = rig.do(rig.state.join, "urgent", first=True)
    rig.give(holder)
    assert urgent.entry is not None


def test_who_leaves_the_line_is_passed_over() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    gone, stays = rig.ask("gone"), rig.ask("stays")
    rig.do(rig.state.leave, gone)
    rig.give(holder)
    assert (gone.entry, stays.entry) == (None, holder.entry)


def test_who_is_taken_out_of_the_line_is_told_and_passed_over() -> None:
    rig = Rig(max_size=1)
    holder, gone, next_in_line = rig.ask(), rig.ask(), rig.ask()
    rig.connect()
    reason = LookupError("its client has hung up")
    rig.do(rig.state.desert, gone, reason)
    assert (gone.error, rig.state.line.waiting) == (reason, 1)
    rig.give(holder)
    assert gone.entry is None
    assert next_in_line.entry is not None


def test_who_is_served_already_is_not_taken_out() -> None:
    rig = Rig(max_size=1)
    caller = rig.ask()
    rig.connect()
    rig.do(rig.state.desert, caller, LookupError("too late"))
    assert caller.entry is not None
    assert caller.error is None


def test_who_leaves_with_a_connection_in_hand_gives_it_to_the_next() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    first, second = rig.ask("first"), rig.ask("second")
    rig.give(holder)
    rig.do(rig.state.leave, first)
    assert (first.entry, second.entry) == (None, holder.entry)
    rig.do(rig.state.leave, second)
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_the_line_forgets_those_who_left() -> None:
    rig = Rig(max_size=1)
    rig.grown("holder")
    for _ in range(10_000):
        rig.do(rig.state.leave, rig.ask())
    assert len(rig.state.line._queue) < 100


# -- a freed slot is never forgotten -----------------------------------------------------------------------------------


def test_a_dropped_connection_starts_a_connect_for_who_waits() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    waiter = rig.ask("waiter")
    rig.drop(holder)
    assert rig.counts == "0 idle, 0 acquired, 1 connecting, 1 waiting"
    assert rig.connect() is waiter.entry


def test_a_dropped_connection_starts_nothing_when_nobody_waits() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    rig.drop(holder)
    assert rig.counts == "0 idle, 0 acquired, 0 connecting, 0 waiting"


def test_a_connection_that_ended_while_held_starts_a_connect_for_who_waits() -> None:
    rig = Rig(max_size=1, max_lifetime=60)
    (holder,) = rig.grown("holder")
    rig.advance(60)
    waiter = rig.ask("waiter")
    rig.give(holder)
    assert rig.reasons == ["max_lifetime"]
    assert rig.connect() is waiter.entry


def test_a_connect_that_fails_for_good_tells_one_caller_and_starts_the_next() -> None:
    rig = Rig(max_size=1)
    first, second = rig.ask("first"), rig.ask("second")
    rig.fail(REFUSAL)
    assert (first.error, second.error) == (REFUSAL, None)
    assert rig.connect() is second.entry


def test_a_connect_that_fails_for_good_and_was_for_a_caller_who_left_still_starts_the_next() -> None:
    rig = Rig(max_size=1)
    gone, stays = rig.ask("gone"), rig.ask("stays")
    rig.do(rig.state.leave, gone)
    rig.fail(OUTAGE)
    rig.advance(1)
    assert rig.connect() is stays.entry


def test_a_cancelled_connect_is_started_again_a_moment_later() -> None:
    rig = Rig(max_size=1)
    waiter = rig.ask("waiter")
    rig.cancel()
    assert rig.counts == "0 idle, 0 acquired, 0 connecting, 1 waiting"
    rig.advance(0.1)
    assert rig.connect() is waiter.entry


def test_a_hung_connect_is_given_up_and_started_again() -> None:
    rig = Rig(max_size=1, connect_timeout=5)
    waiter = rig.ask("waiter")
    hung = rig.opening.pop()
    rig.advance(5)
    assert hung.state is CLOSED
    rig.advance(1)
    assert rig.connect() is waiter.entry


def test_an_ended_connection_that_is_found_at_checkout_leaves_room_for_a_new_one() -> None:
    rig = Rig(max_size=1, max_lifetime=60, max_idle=None)
    (holder,) = rig.grown("holder")
    rig.give(holder)
    rig.clock.advance(60)  # and the alarm is late
    caller = rig.ask("caller")
    assert rig.reasons == ["max_lifetime"]
    assert rig.connect() is caller.entry


def test_never_more_than_max_connecting_at_once() -> None:
    rig = Rig(max_size=10, max_connecting=3)
    for _ in range(10):
        rig.ask()
    open_at_once = []
    while rig.opening:
        open_at_once.append(rig.state.connecting)
        rig.connect()
    assert open_at_once == [3] * 8 + [2, 1]
    assert rig.state.acquired == 10


def test_never_more_than_max_size() -> None:
    rig = Rig(max_size=3, max_connecting=10)
    for _ in range(10):
        rig.ask()
    assert rig.counts == "0 idle, 0 acquired, 3 connecting, 10 waiting"


# -- min_size ----------------------------------------------------------------------------------------------------------


def test_min_size_is_opened_from_the_start_and_kept() -> None:
    rig = Rig(min_size=2, max_size=5, max_connecting=1)
    rig.connect()
    rig.connect()
    assert rig.counts == "2 idle, 0 acquired, 0 connecting, 0 waiting"
    rig.drop(rig.ask())
    rig.connect()
    assert rig.state.total == 2


def test_min_size_is_tried_again_some_seconds_after_a_connect_that_failed_for_good() -> None:
    rig = Rig(min_size=1)
    attempts = 0
    for _ in range(60):
        while rig.opening:
            attempts += 1
            rig.fail(REFUSAL)
        rig.advance(1)
    assert 6 <= attempts <= 13


def test_a_caller_does_not_wait_for_that() -> None:
    rig = Rig(min_size=1)
    rig.fail(REFUSAL)
    caller = rig.ask()
    assert rig.connect() is caller.entry
