"""What an operator does to a running pool: close, evict, resize, suspend, warm up. State, event, state."""

from __future__ import annotations

from typing import Any

import pytest

from respool.config import PoolConfig
from respool.errors import PoolClosed
from tests.pool.rig import OUTAGE, REFUSAL, Rig


def close(rig: Rig) -> None:
    rig.do(rig.state.close, lambda: PoolClosed("closed"))


def resize(rig: Rig, **sizes: Any) -> None:
    rig.do(rig.state.resize, PoolConfig(**sizes))


# -- close -------------------------------------------------------------------------------------------------------------


def test_close_fails_who_waits_and_closes_what_rests() -> None:
    rig = Rig(max_size=2)
    a, b = rig.grown("a", "b")
    rig.give(a)
    waiters = [rig.ask("gets a"), rig.ask(), rig.ask()]
    close(rig)
    assert waiters[0].entry is a.entry
    errors = [waiter.error for waiter in waiters[1:]]
    assert [type(error) for error in errors] == [PoolClosed, PoolClosed]
    assert errors[0] is not errors[1]  # each thread raises its own
    assert rig.woken[-2:] == waiters[1:]
    assert rig.counts == "0 idle, 2 acquired, 0 connecting, 0 waiting"
    assert b.entry in rig.state.entries.values()


def test_after_close_what_is_held_or_under_way_is_closed_when_it_comes() -> None:
    rig = Rig(max_size=3)
    a, b = rig.grown("a", "b")
    rig.ask()
    close(rig)
    rig.give(a)
    rig.drop(b)
    rig.connect()
    assert rig.reasons == ["pool_closed", "broken", "pool_closed"]
    assert rig.state.total == 0
    rig.advance(1e6)
    assert rig.opening == []


def test_who_waits_for_the_end_is_woken_by_the_last_one() -> None:
    rig = Rig(max_size=2)
    a, b = rig.grown("a", "b")
    close(rig)
    waiter = rig.do(rig.state.wait_drained)
    rig.give(a)
    assert waiter not in rig.woken
    rig.give(b)
    assert rig.woken[-1] is waiter


@pytest.mark.parametrize("end", ["fail", "cancel", "hang"])
def test_a_connect_that_comes_to_nothing_ends_the_wait_too(end: str) -> None:
    rig = Rig(max_size=1, connect_timeout=10)
    rig.ask()
    close(rig)
    waiter = rig.do(rig.state.wait_drained)
    {"fail": rig.fail, "cancel": rig.cancel, "hang": lambda: rig.advance(10)}[end]()
    assert rig.woken[-1] is waiter


def test_an_empty_pool_is_drained_at_once_and_closing_twice_is_allowed() -> None:
    rig = Rig(min_size=0)
    close(rig)
    close(rig)
    assert rig.do(rig.state.wait_drained) in rig.woken


# -- evict -------------------------------------------------------------------------------------------------------------


def test_evict_closes_what_rests_now_and_what_is_held_when_it_comes() -> None:
    rig = Rig(max_size=2)
    idle, held = rig.grown("idle", "held")
    rig.give(idle)
    rig.do(rig.state.evict)
    assert rig.closed[0][0] is idle.entry
    rig.give(held)
    assert rig.reasons == ["evicted", "evicted"]


def test_evict_replaces_what_is_under_way_too() -> None:
    rig = Rig(max_size=1)
    waiter = rig.ask()
    rig.do(rig.state.evict)
    rig.connect()
    assert rig.reasons == ["evicted"]
    assert rig.connect() is waiter.entry


def test_evict_keeps_min_size() -> None:
    rig = Rig(min_size=2, max_connecting=2)
    rig.connect()
    rig.connect()
    rig.do(rig.state.evict)
    assert rig.counts == "0 idle, 0 acquired, 2 connecting, 0 waiting"


def test_soft_eviction_spreads_the_ends_by_chance() -> None:
    rig = Rig(max_size=3, max_idle=None)
    callers = rig.grown("a", "b", "c")
    rig.give(callers[0])
    rig.jitter = 0.5
    rig.do(rig.state.evict_softly, 60.0)
    rig.advance(29.9)
    rig.give(callers[1])
    assert rig.reasons == []
    rig.advance(0.2)
    assert rig.reasons == ["max_lifetime"] * 2
    rig.give(callers[2])
    assert rig.state.total == 0


# -- resize ------------------------------------------------------------------------------------------------------------


def test_growing_serves_who_waits() -> None:
    rig = Rig(max_size=1)
    rig.grown("holder")
    waiter = rig.ask("waiter")
    assert rig.opening == []
    resize(rig, max_size=2)
    rig.connect()
    assert waiter.entry is not None


def test_growing_min_size_opens_more() -> None:
    rig = Rig(max_size=5)
    resize(rig, min_size=2, max_size=5)
    assert rig.state.connecting == 2


def test_shrinking_closes_what_rests_at_once_and_what_is_held_later() -> None:
    rig = Rig(max_size=4)
    a, b, c, d = rig.grown(*"abcd")
    rig.give(a)
    resize(rig, max_size=2)
    assert rig.reasons == ["shrunk"]
    rig.give(b)
    assert rig.reasons == ["shrunk"] * 2
    rig.give(c)
    rig.give(d)
    assert rig.counts == "2 idle, 0 acquired, 0 connecting, 0 waiting"


def test_while_it_shrinks_who_waits_is_not_forgotten() -> None:
    rig = Rig(max_size=3)
    a, b, c = rig.grown(*"abc")
    waiter = rig.ask("waiter")
    resize(rig, max_size=1)
    rig.give(a)
    rig.give(b)
    assert waiter.entry is None
    rig.give(c)
    assert waiter.entry is c.entry


def test_while_it_shrinks_a_connect_under_way_may_be_the_one_too_many() -> None:
    rig = Rig(max_size=2)
    rig.grown("holder")
    rig.ask("waiter")
    resize(rig, max_size=1)
    rig.connect()
    assert rig.reasons == ["shrunk"]
    assert rig.counts == "0 idle, 1 acquired, 0 connecting, 1 waiting"


# -- suspend -----------------------------------------------------------------------------------------------------------


def test_a_suspended_pool_hands_nothing_out_and_opens_nothing() -> None:
    rig = Rig(max_size=2)
    (holder,) = rig.grown("holder")
    rig.do(rig.state.suspend)
    waiter = rig.ask()
    rig.give(holder)
    rig.advance(100)
    assert waiter.waiting
    assert rig.opening == []
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 1 waiting"


def test_resumed_it_serves_in_order_and_opens_for_the_others() -> None:
    rig = Rig(max_size=2, check_after=1)
    rig.give(*rig.grown("holder"))
    rig.do(rig.state.suspend)
    first, second = rig.ask("first"), rig.ask("second")
    rig.advance(10)
    rig.do(rig.state.resume)
    assert first.entry is not None
    assert rig.state.needs_check(first.entry)  # it rested all the while
    rig.connect()
    assert second.entry is not None


def test_what_ended_while_suspended_is_not_handed_out() -> None:
    rig = Rig(max_size=1, max_lifetime=60, max_idle=None)
    rig.give(*rig.grown("holder"))
    rig.do(rig.state.suspend)
    waiter = rig.ask()
    rig.clock.advance(60)  # and the alarm is late
    rig.do(rig.state.resume)
    assert rig.reasons == ["max_lifetime"]
    assert rig.connect() is waiter.entry


def test_a_rested_connection_that_its_first_taker_leaves_behind_still_needs_a_look() -> None:
    rig = Rig(max_size=1, check_after=1)
    rig.give(*rig.grown("holder"))
    rig.do(rig.state.suspend)
    first, second = rig.ask("first"), rig.ask("second")
    rig.advance(10)
    rig.do(rig.state.resume)
    rig.do(rig.state.leave, first)
    assert rig.state.needs_check(second.entry)


def test_a_suspended_pool_that_is_below_min_size_does_not_tick_for_it() -> None:
    rig = Rig(min_size=1, max_lifetime=60)
    rig.connect()
    rig.do(rig.state.suspend)
    rig.advance(60)
    assert rig.counts == "0 idle, 0 acquired, 0 connecting, 0 waiting"
    assert rig.alarms == []
    rig.do(rig.state.resume)
    assert rig.state.connecting == 1


# -- doubt -------------------------------------------------------------------------------------------------------------


def test_in_doubt_what_rests_is_looked_at_however_short_its_rest() -> None:
    rig = Rig(max_size=2, check_after=100)
    a, b = rig.grown("a", "b")
    rig.give(a)
    rig.do(rig.state.doubt)
    rig.give(b)
    assert rig.do(rig.state.take) is b.entry
    assert rig.do(rig.state.take) is None
    caller = rig.ask()
    assert rig.state.needs_check(caller.entry)
    rig.give(caller)
    assert rig.do(rig.state.take) is a.entry


# -- warm up -----------------------------------------------------------------------------------------------------------


def test_a_warm_up_opens_so_many_and_tells_when_it_is_done() -> None:
    rig = Rig(max_size=5, max_connecting=2)
    waiter = rig.do(rig.state.warm_up, 3)
    for _ in range(2):
        rig.connect()
    assert waiter not in rig.woken
    rig.connect()
    assert rig.woken == [waiter]
    assert rig.counts == "3 idle, 0 acquired, 0 connecting, 0 waiting"
    assert rig.opening == []


def test_a_warm_up_ends_with_the_first_error_that_is_for_good() -> None:
    rig = Rig(max_size=5, max_connecting=1)
    waiter = rig.do(rig.state.warm_up, 3)
    rig.connect()
    rig.fail(REFUSAL)
    assert waiter.error is REFUSAL
    assert rig.woken == [waiter]
    rig.advance(1000)
    assert rig.opening == []


def test_a_warm_up_that_failed_can_be_tried_again_at_once() -> None:
    rig = Rig(max_connecting=1)
    rig.do(rig.state.warm_up, 1)
    rig.fail(REFUSAL)
    waiter = rig.do(rig.state.warm_up, 1)
    rig.connect()
    assert rig.woken[-1] is waiter


def test_a_warm_up_goes_on_through_an_outage() -> None:
    rig = Rig(max_size=5, max_connecting=1)
    waiter = rig.do(rig.state.warm_up, 1)
    rig.fail(OUTAGE)
    rig.advance(1)
    rig.connect()
    assert rig.woken == [waiter]


def test_a_warm_up_wants_no_more_than_a_resize_leaves() -> None:
    rig = Rig(max_size=5, max_connecting=1)
    waiter = rig.do(rig.state.warm_up, 5)
    rig.connect()
    rig.connect()
    resize(rig, max_size=2)
    rig.connect()
    assert waiter in rig.woken
    assert all(at > rig.clock() for at in rig.alarms)


def test_closing_ends_a_warm_up() -> None:
    rig = Rig(max_size=5)
    waiter = rig.do(rig.state.warm_up, 5)
    close(rig)
    assert isinstance(waiter.error, PoolClosed)
    assert rig.woken == [waiter]


# -- leaks -------------------------------------------------------------------------------------------------------------


def test_a_connection_that_is_held_too_long_is_reported_once_and_again_when_it_comes_back() -> None:
    rig = Rig(leak_after=60)
    (holder,) = rig.grown("holder")
    rig.advance(59)
    assert [event for event, *_ in rig.told] == ["connected"]
    rig.advance(1000)
    rig.give(holder)
    assert rig.told[1:] == [("leaked", "holder", 60.0), ("leak_returned", "holder", 1059.0)]
    rig.advance(1000)
    assert len(rig.told) == 3
