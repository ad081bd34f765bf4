"""Looks at idle connections: the other end may have closed one while nobody wants it. The clock is moved by hand."""

from __future__ import annotations

from typing import Any

from respool.pool.core.entries import PoolEntry
from tests.pool.rig import OUTAGE, Rig


def watching(**settings: Any) -> Rig:
    """A pool that may look once a second."""
    rig = Rig(**settings)
    rig.state.look_every = 1.0
    rig.state.reconsider()
    return rig


def found_closed(rig: Rig, *entries: PoolEntry) -> None:
    rig.do(rig.state.found_closed, list(entries))


def test_what_rests_is_looked_at_once_a_second_without_any_traffic() -> None:
    rig = watching(max_size=3)
    a, b = rig.grown("a", "b")
    rig.give(a)
    rig.give(b)
    rig.advance(0.99)
    assert rig.looks == []
    rig.advance(0.01)
    assert rig.looks == [[a.entry, b.entry]]
    rig.advance(3)
    assert rig.looks == [[a.entry, b.entry]] * 4


def test_what_was_just_used_is_not_looked_at() -> None:
    rig = watching(max_size=2)
    rested, used = rig.grown("rested", "used")
    rig.give(rested)
    for _ in range(10):
        rig.advance(0.5)
        rig.give(used)
        used = rig.ask()
    assert rig.looks == [[rested.entry]] * 5


def test_nobody_looks_while_nothing_rests() -> None:
    rig = watching(max_size=1)
    (caller,) = rig.grown("caller")
    rig.advance(100)
    rig.give(caller)
    rig.ask()
    rig.advance(100)
    assert rig.looks == []
    assert rig.closed == []


def test_promise_10_what_the_other_end_has_closed_leaves_the_pool_and_is_told() -> None:
    rig = watching(max_size=3)
    a, b = rig.grown("a", "b")
    rig.give(a)
    rig.give(b)
    rig.advance(1)
    found_closed(rig, a.entry)
    assert rig.reasons == ["server_closed"]
    assert rig.counts == "1 idle, 0 acquired, 0 connecting, 0 waiting"
    assert rig.ask().entry is b.entry


def test_min_size_is_filled_again_at_once() -> None:
    rig = watching(min_size=2, max_size=3)
    while rig.opening:
        rig.connect()
    rig.advance(1)
    found_closed(rig, *rig.looks[-1])
    assert rig.counts == "0 idle, 0 acquired, 2 connecting, 0 waiting"
    rig.fail(OUTAGE)
    rig.fail(OUTAGE)
    rig.advance(5)
    while rig.opening:
        rig.connect()
    assert rig.counts == "2 idle, 0 acquired, 0 connecting, 0 waiting"


def test_what_was_taken_while_somebody_looked_is_its_takers_matter() -> None:
    rig = watching(max_size=1)
    rig.give(*rig.grown("a"))
    rig.advance(1)
    (looked_at,) = rig.looks[-1]
    caller = rig.ask()
    found_closed(rig, looked_at)
    assert (caller.entry, rig.closed) == (looked_at, [])
    rig.drop(caller)
    found_closed(rig, looked_at)
    assert rig.reasons == ["broken"]


def test_a_pool_that_cannot_see_its_connections_asks_for_no_look() -> None:
    rig = Rig(max_idle=None, max_lifetime=None)
    rig.give(*rig.grown("a"))
    rig.advance(100)
    assert (rig.looks, rig.alarms) == ([], [])
