"""What a caller goes through, driven by hand: each effect is answered by the test, the clock moves when told."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from respool.errors import ConnectFailed, PoolClosed, PoolQueueFull, PoolTimeout
from respool.pool.core import algorithms
from respool.pool.core.algorithms import Check, Park, Reset
from respool.pool.core.entries import PoolEntry
from tests.pool.rig import OUTAGE, REFUSAL, Rig, Run, acquire


def rested(**settings: Any) -> Rig:
    """A pool with two idle connections that need a look; the one that is taken first has the number 2."""
    rig = Rig(**{"max_size": 2, "check_after": 1, "max_idle": None, "max_lifetime": None, **settings})
    for caller in rig.grown("a", "b"):
        rig.give(caller)
    rig.advance(10)
    return rig


# -- getting one -------------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_had_at_once() -> None:
    rig = Rig()
    rig.give(*rig.grown("a"))
    run = acquire(rig)
    assert isinstance(run.result, PoolEntry)
    assert run.result.holder == "caller"


def test_a_caller_parks_until_the_connect_made_for_it_is_done() -> None:
    rig = Rig()
    run = acquire(rig)
    assert isinstance(run.effect, Park)
    entry = rig.connect()
    assert rig.woken == [run.effect.waiter]
    run.answer()
    assert run.result is entry


def test_the_error_of_a_connect_that_failed_for_good_reaches_its_caller() -> None:
    rig = Rig()
    run = acquire(rig)
    rig.fail(REFUSAL)
    run.answer()
    assert run.error is REFUSAL


def test_a_new_connection_is_not_checked_and_a_rested_one_is() -> None:
    rig = Rig(check_after=0)
    run = acquire(rig)
    rig.connect()
    rig.advance(5)  # the caller wakes late
    run.answer()
    rig.do(rig.state.give, run.result)
    assert isinstance(acquire(rig).effect, Check)


def test_a_connection_that_was_handed_over_is_not_checked() -> None:
    rig = Rig(max_size=1, check_after=0)
    (holder,) = rig.grown("holder")
    run = acquire(rig)
    rig.give(holder)
    rig.advance(5)
    run.answer()
    assert run.result is holder.entry


# -- one deadline over everything --------------------------------------------------------------------------------------


def test_waiting_and_checking_share_one_deadline() -> None:
    rig = rested()
    run = acquire(rig, timeout=30)
    assert isinstance(run.effect, Check)
    assert run.deadline == rig.clock() + 30
    deadline = run.deadline
    rig.do(rig.state.take_any)  # somebody has the other one
    rig.advance(12)
    run.throw(ConnectionError("dead"))
    assert isinstance(run.effect, Park)
    assert run.deadline == deadline
    rig.connect()
    rig.advance(1)
    run.answer()
    assert run.result is not None


def test_no_time_left_after_a_check_is_a_timeout_and_costs_one_connection() -> None:
    rig = rested()
    run = acquire(rig, timeout=3)
    rig.advance(3)
    run.throw(TimeoutError())
    assert isinstance(run.error, PoolTimeout)
    assert rig.reasons == ["failed_check"]
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_who_is_handed_a_connection_while_the_time_runs_out_has_it() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    run = acquire(rig, timeout=3)
    rig.advance(3)
    rig.give(holder)  # between the end of the wait and the next step
    run.answer()
    assert run.result is holder.entry


def test_a_caller_without_a_limit_parks_for_ever() -> None:
    assert acquire(Rig(), timeout=inf).deadline == inf


def test_timeout_0_waits_for_nobody() -> None:
    rig = Rig(max_size=1)
    rig.grown("holder")
    run = acquire(rig, timeout=0)
    assert run.deadline == rig.clock()
    run.answer()
    assert isinstance(run.error, PoolTimeout)


def test_timeout_0_still_gets_the_connect_that_is_made_for_it() -> None:
    rig = Rig(max_size=1, connect_timeout=10)
    run = acquire(rig, timeout=0)
    assert run.deadline == rig.clock() + 10
    rig.connect()
    run.answer()
    assert run.result is not None


def test_timeout_0_still_gets_its_check() -> None:
    rig = rested(connect_timeout=10)
    run = acquire(rig, timeout=0)
    assert isinstance(run.effect, Check)
    assert run.deadline == rig.clock() + 10
    run.answer()
    assert run.result is not None


@pytest.mark.parametrize("why", ["outage", "suspended"])
def test_timeout_0_does_not_wait_when_no_connect_is_made(why: str) -> None:
    rig = Rig(max_size=5)
    if why == "outage":
        rig.ask()
        rig.fail(OUTAGE)
    else:
        rig.do(rig.state.suspend)
    assert acquire(rig, timeout=0).deadline == rig.clock()


# -- a check that fails ------------------------------------------------------------------------------------------------


def test_after_a_failed_check_the_next_idle_one_is_tried() -> None:
    rig = rested()
    run = acquire(rig)
    assert isinstance(run.effect, Check)
    assert run.effect.entry.number == 2
    run.throw(ConnectionError("dead"))
    assert isinstance(run.effect, Check)
    assert run.effect.entry.number == 1
    run.answer()
    assert run.result.number == 1
    assert rig.reasons == ["failed_check"]


def test_after_a_failed_check_the_caller_is_at_the_head_of_the_line() -> None:
    rig = rested(max_size=2)
    rig.do(rig.state.take_any)
    run = acquire(rig, "unlucky")
    behind = acquire(rig, "behind")
    run.throw(ConnectionError("dead"))
    entry = rig.connect()
    run.answer()
    assert run.result is entry
    assert isinstance(behind.effect, Park)
    assert behind.effect.waiter.waiting


def test_it_keeps_its_turn_also_where_nobody_may_wait() -> None:
    rig = rested(max_waiting=0)
    rig.do(rig.state.take_any)
    run = acquire(rig, "unlucky")
    run.throw(ConnectionError("dead"))
    rig.connect()
    run.answer()
    assert run.result is not None


@pytest.mark.parametrize("interruption", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_check_that_is_interrupted_costs_the_connection_and_serves_the_next(interruption: BaseException) -> None:
    rig = rested(max_size=2)
    rig.do(rig.state.take_any)
    run, behind = acquire(rig), acquire(rig)
    run.throw(interruption)
    assert run.error is interruption
    assert rig.reasons == ["broken"]
    rig.connect()
    behind.answer()
    assert behind.result is not None


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_a_timeout_leaves_the_line() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    run = acquire(rig, timeout=3)
    rig.advance(3)
    run.answer()
    assert isinstance(run.error, PoolTimeout)
    assert rig.state.line.waiting == 0
    rig.give(holder)
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_a_timeout_leaves_the_connect_running_into_the_pool() -> None:
    rig = Rig()
    run = acquire(rig, timeout=3)
    rig.advance(3)
    run.answer()
    assert isinstance(run.error, PoolTimeout)
    rig.connect()
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_a_cancelled_caller_leaves_the_line() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    run = acquire(rig)
    run.throw(asyncio.CancelledError())
    assert isinstance(run.error, asyncio.CancelledError)
    rig.give(holder)
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_a_caller_that_is_cancelled_with_a_connection_in_hand_passes_it_on() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    run, behind = acquire(rig), acquire(rig)
    rig.give(holder)
    run.throw(asyncio.CancelledError())
    behind.answer()
    assert behind.result is holder.entry


def test_a_caller_that_is_cancelled_after_its_connect_failed_leaves_no_trace() -> None:
    rig = Rig(max_size=1)
    run, behind = acquire(rig), acquire(rig)
    rig.fail(REFUSAL)
    run.throw(asyncio.CancelledError())
    rig.connect()
    behind.answer()
    assert behind.result is not None


# -- a full line, a closed pool ----------------------------------------------------------------------------------------


def test_max_waiting_counts_those_who_wait_for_others() -> None:
    rig = Rig(max_size=2, max_waiting=1)
    first, second, third, fourth = (acquire(rig) for _ in range(4))
    assert all(isinstance(run.effect, Park) for run in (first, second, third))
    assert isinstance(fourth.error, PoolQueueFull)
    assert fourth.error.max_waiting == 1
    assert rig.state.count["refused"] == 1


def test_max_waiting_0_lets_nobody_wait_for_others_and_everybody_connect() -> None:
    rig = Rig(max_size=1, max_waiting=0)
    first, second = acquire(rig), acquire(rig)
    assert isinstance(first.effect, Park)
    assert isinstance(second.error, PoolQueueFull)
    rig.connect()
    first.answer()
    assert first.result is not None
    assert isinstance(acquire(rig).error, PoolQueueFull)
    rig.do(rig.state.give, first.result)
    assert acquire(rig).result is not None


def test_a_closed_pool_refuses() -> None:
    rig = Rig()
    Run(rig, algorithms.close(rig.state, "shop", 10))
    assert isinstance(acquire(rig).error, PoolClosed)


def test_a_pool_that_is_closed_meanwhile_refuses_who_waits() -> None:
    rig = Rig()
    run = acquire(rig)
    Run(rig, algorithms.close(rig.state, "shop", 10))
    run.answer()
    assert isinstance(run.error, PoolClosed)


# -- giving back -------------------------------------------------------------------------------------------------------


def give_back(rig: Rig) -> Run:
    (holder,) = rig.grown("holder")
    assert holder.entry is not None
    return Run(rig, algorithms.give_back(rig.state, holder.entry))


def test_a_connection_is_reset_before_it_is_given_back() -> None:
    rig = Rig(max_size=1)
    run = give_back(rig)
    assert isinstance(run.effect, Reset)
    assert rig.state.acquired == 1
    run.answer()
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_a_connection_that_cannot_be_reset_is_closed_and_the_caller_is_not_bothered() -> None:
    rig = Rig(max_size=1)
    run = give_back(rig)
    waiter = rig.ask()
    run.throw(ConnectionError("gone"))
    assert run.error is None
    assert rig.reasons == ["failed_reset"]
    assert rig.connect() is waiter.entry


def test_a_reset_that_is_interrupted_costs_the_connection() -> None:
    rig = Rig(max_size=1)
    run = give_back(rig)
    waiter = rig.ask()
    run.throw(asyncio.CancelledError())
    assert isinstance(run.error, asyncio.CancelledError)
    assert rig.reasons == ["broken"]
    assert rig.connect() is waiter.entry


# -- close and warm up -------------------------------------------------------------------------------------------------


def test_close_waits_for_what_is_held_and_names_what_stays() -> None:
    rig = Rig(max_size=2)
    a, _ = rig.grown("quick", "stubborn")
    run = Run(rig, algorithms.close(rig.state, "shop", 10))
    assert run.deadline == 10
    rig.give(a)
    rig.advance(10)
    run.answer()
    assert run.result == ["stubborn has it"]


def test_close_of_an_idle_pool_waits_for_nothing() -> None:
    rig = Rig()
    rig.give(*rig.grown("a"))
    assert Run(rig, algorithms.close(rig.state, "shop", 10)).result == []


def warm_up(rig: Rig, size: int = 2) -> Run:
    return Run(rig, algorithms.warm_up(rig.state, "shop", size, 10))


def test_a_warm_up_tells_which_error_ended_it() -> None:
    rig = Rig(max_connecting=1)
    run = warm_up(rig)
    rig.fail(REFUSAL)
    run.answer()
    assert isinstance(run.error, ConnectFailed)
    assert run.error.__cause__ is REFUSAL


def test_a_warm_up_that_is_not_done_in_time_tells_the_last_error() -> None:
    rig = Rig(max_connecting=1)
    run = warm_up(rig)
    rig.fail(OUTAGE)
    rig.advance(10)
    run.answer()
    assert isinstance(run.error, PoolTimeout)
    assert run.error.__cause__ is OUTAGE


def test_a_closed_pool_is_not_warmed_up() -> None:
    rig = Rig()
    Run(rig, algorithms.close(rig.state, "shop", 0))
    assert isinstance(warm_up(rig).error, PoolClosed)


def test_a_check_that_hears_nothing_costs_those_that_have_rested_longer_too() -> None:
    rig = rested()
    run = acquire(rig, timeout=30)
    assert isinstance(run.effect, Check)
    rig.advance(2)
    run.throw(TimeoutError())  # the limit of the check
    assert rig.reasons == ["failed_check", "failed_check"]
    assert isinstance(run.effect, Park)
    rig.connect()
    run.answer()
    assert run.result is not None
