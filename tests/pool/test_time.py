"""What time does to a pool: rest, age, hung connects, outages. The clock is moved by hand."""

from __future__ import annotations

import itertools

import pytest

from tests.pool.rig import OUTAGE, REFUSAL, Rig

# -- rest and age ------------------------------------------------------------------------------------------------------


def test_what_rested_for_max_idle_is_closed_without_any_traffic() -> None:
    rig = Rig(max_size=3, max_idle=300)
    a, b, c = rig.grown("a", "b", "c")
    for caller in (a, b, c):
        rig.give(caller)
        rig.advance(1)
    rig.advance(296.9)
    assert rig.closed == []
    rig.advance(0.1)
    assert [entry for entry, _ in rig.closed] == [a.entry]
    rig.advance(2)
    assert rig.reasons == ["max_idle"] * 3
    assert rig.state.total == 0


def test_min_size_stays_however_long_it_rests() -> None:
    rig = Rig(min_size=2, max_size=5, max_idle=300, max_lifetime=None)
    for caller in rig.grown(*"abcde"):
        rig.give(caller)
    rig.advance(10_000)
    assert rig.counts == "2 idle, 0 acquired, 0 connecting, 0 waiting"
    assert rig.reasons == ["max_idle"] * 3


def test_use_starts_the_rest_again() -> None:
    rig = Rig(max_size=1, max_idle=300)
    for caller in rig.grown("a"):
        rig.give(caller)
    for _ in range(10):
        rig.advance(200)
        rig.give(rig.ask())
    assert rig.closed == []


def test_max_idle_none_is_never() -> None:
    rig = Rig(max_idle=None, max_lifetime=None)
    rig.give(*rig.grown("a"))
    rig.advance(1e9)
    assert rig.closed == []


@pytest.mark.parametrize("jitter, life", [(0.0, 1000.0), (0.5, 950.0), (0.99, 901.0)])
def test_a_life_is_up_to_a_tenth_shorter_by_chance(jitter: float, life: float) -> None:
    rig = Rig(jitter=jitter, max_lifetime=1000, max_idle=None)
    rig.give(*rig.grown("a"))
    rig.advance(life - 0.01)
    assert rig.closed == []
    rig.advance(0.02)
    assert rig.reasons == ["max_lifetime"]


def test_a_life_that_ends_while_held_ends_when_it_is_given_back() -> None:
    rig = Rig(max_lifetime=1000)
    (holder,) = rig.grown("holder")
    rig.advance(5000)
    assert rig.closed == []
    rig.give(holder)
    assert rig.reasons == ["max_lifetime"]


@pytest.mark.parametrize("max_idle", [None, 300])
def test_an_end_that_comes_before_any_other_alarm_is_noticed(max_idle: float | None) -> None:
    """Whoever is given back shortly before its end does not wait for the alarm of the others."""
    rig = Rig(max_size=2, max_idle=max_idle, max_lifetime=1000)
    (old,) = rig.grown("old")
    rig.advance(800)
    (young,) = rig.grown("young")
    rig.give(young)
    rig.advance(190)
    rig.give(old)
    rig.advance(10)
    assert [entry for entry, _ in rig.closed] == [old.entry]


def test_min_size_is_replaced_when_its_life_ends() -> None:
    rig = Rig(min_size=1, max_lifetime=1000)
    rig.connect()
    rig.advance(1000)
    assert rig.reasons == ["max_lifetime"]
    rig.connect()
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"


def test_a_connection_needs_a_look_after_check_after_and_not_before() -> None:
    rig = Rig(check_after=0.5)
    rig.give(*rig.grown("a"))
    rig.advance(0.4)
    assert (entry := rig.do(rig.state.take)) is not None
    rig.do(rig.state.give, entry)
    rig.advance(0.6)
    assert rig.do(rig.state.take) is None
    caller = rig.ask()
    assert rig.state.needs_check(caller.entry)


def test_check_after_none_is_never() -> None:
    rig = Rig(check_after=None, max_lifetime=None, max_idle=None)
    rig.give(*rig.grown("a"))
    rig.advance(1e9)
    assert rig.do(rig.state.take) is not None


# -- connects that hang ------------------------------------------------------------------------------------------------


def test_a_connect_is_given_up_after_connect_timeout_and_counts_as_an_outage() -> None:
    rig = Rig(connect_timeout=10)
    waiter = rig.ask()
    rig.advance(9.9)
    assert rig.state.connecting == 1
    rig.advance(0.1)
    assert rig.state.connecting == 0
    assert isinstance(rig.state.last_error, TimeoutError)
    assert rig.state.outage is not None
    assert waiter.waiting


def test_connect_timeout_none_waits_for_ever() -> None:
    rig = Rig(connect_timeout=None)
    rig.ask()
    rig.advance(1e9)
    assert rig.state.connecting == 1


# -- an outage ---------------------------------------------------------------------------------------------------------


def outage(rig: Rig, seconds: float) -> list[float]:
    """Every connect is refused at once, for so long; returns when they were tried."""
    attempts = []
    end = rig.clock() + seconds
    while rig.clock() < end:
        while rig.opening:
            attempts.append(rig.clock())
            rig.fail(OUTAGE)
        coming = [at for at in rig.alarms if at < end]
        rig.advance((min(coming) if coming else end) - rig.clock())
    return attempts


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_a_database_that_is_away_is_tried_at_most_three_times_a_second(jitter: float) -> None:
    rig = Rig(jitter=jitter, max_size=20, max_connecting=1)
    for _ in range(100):
        rig.ask()
    attempts = outage(rig, 60)
    assert len(attempts) > 10
    for begin in attempts:
        assert sum(begin <= at < begin + 1 for at in attempts) <= 3


def test_the_pauses_grow_up_to_five_seconds() -> None:
    rig = Rig()
    rig.ask()
    attempts = outage(rig, 600)
    pauses = [round(after - before, 6) for before, after in itertools.pairwise(attempts)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.5
    assert pauses[-1] == pytest.approx(5.0)


def test_the_connects_that_are_under_way_when_it_begins_count_as_one_beginning() -> None:
    rig = Rig(max_size=10, max_connecting=5)
    for _ in range(10):
        rig.ask()
    for _ in range(5):
        rig.fail(OUTAGE)
    assert rig.opening == []
    rig.advance(0.5)
    assert len(rig.opening) == 1


def test_nobody_is_tried_for_when_nobody_waits() -> None:
    rig = Rig()
    waiter = rig.ask()
    rig.fail(OUTAGE)
    rig.do(rig.state.leave, waiter)
    assert outage(rig, 600) == []


def test_min_size_is_tried_for_although_nobody_waits() -> None:
    rig = Rig(min_size=1)
    assert len(outage(rig, 600)) > 100


def test_a_newcomer_does_not_speed_it_up() -> None:
    rig = Rig(max_size=10)
    rig.ask()
    rig.fail(OUTAGE)
    for _ in range(5):
        rig.ask()
        assert rig.opening == []


def test_when_it_is_back_all_are_served_at_once() -> None:
    rig = Rig(max_size=5, max_connecting=2)
    line = [rig.ask(str(n)) for n in range(20)]
    outage(rig, 30)
    rig.advance(5)
    rig.connect()
    assert rig.state.outage is None
    assert len(rig.opening) == 2
    assert any(event[0] == "recovered" for event in rig.told)
    served = 0
    while rig.state.line.waiting or rig.state.acquired:
        while rig.opening:
            rig.connect()
        rig.give(rig.woken[served])
        served += 1
    assert rig.woken == line


def test_a_connection_that_is_given_back_meanwhile_serves_the_line() -> None:
    rig = Rig(max_size=2)
    (holder,) = rig.grown("holder")
    waiter = rig.ask("waiter")
    rig.fail(OUTAGE)
    rig.give(holder)
    assert waiter.entry is holder.entry


def test_an_error_for_good_is_told_to_its_caller_also_in_an_outage() -> None:
    rig = Rig(max_size=2)
    first, second = rig.ask(), rig.ask()
    rig.fail(OUTAGE)
    rig.fail(REFUSAL)
    assert (first.error, second.error) == (REFUSAL, None)


# -- alarms ------------------------------------------------------------------------------------------------------------


def test_an_alarm_that_was_replaced_does_nothing() -> None:
    rig = Rig(max_idle=300)
    rig.give(*rig.grown("a"))
    rig.clock.advance(1000)
    asked = list(rig.alarms)
    rig.do(rig.state.tick, 123.0)
    assert rig.closed == []
    assert rig.alarms == asked
    rig.do(rig.state.tick, rig.state.alarm_at)
    assert rig.reasons == ["max_idle"]


@pytest.mark.parametrize("settings", [{}, {"min_size": 2}, {"max_idle": None}, {"leak_after": 5}], ids=str)
def test_alarms_do_not_pile_up(settings: dict[str, float | None]) -> None:
    rig = Rig(max_size=4, **settings)
    most = 0
    for n in range(10_000):
        caller = rig.ask()
        while rig.opening:
            rig.connect()
        rig.advance(0.05)
        rig.drop(caller) if n % 100 == 0 else rig.give(caller)
        most = max(most, len(rig.alarms))
    assert most <= 100  # one or two for each connect, and there were about a hundred


@pytest.mark.parametrize("settings", [{}, {"min_size": 2}, {"max_lifetime": None}], ids=str)
def test_a_pool_at_rest_asks_for_no_alarm_in_the_past(settings: dict[str, float | None]) -> None:
    rig = Rig(max_size=4, **settings)
    for caller in rig.grown("a", "b"):
        rig.give(caller)
    for _ in range(100):
        while rig.opening:
            rig.connect()
        rig.advance(100)
        assert all(at > rig.clock() for at in rig.alarms)
