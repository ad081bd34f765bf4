"""What the pool's errors say: the numbers of the moment, who holds what, and the cause."""

from __future__ import annotations

from respool.errors import PoolQueueFull, PoolTimeout
from respool.pool.algorithms import Park
from tests.pool.rig import OUTAGE, Rig, acquire


def test_a_timeout_gives_the_numbers_of_the_moment_and_the_holders() -> None:
    rig = Rig(max_size=2)
    rig.grown("GET /slow", "GET /slower")
    other = acquire(rig, "also waiting")
    run = acquire(rig, timeout=1.5)
    run.answer()
    error = run.error
    assert isinstance(error, PoolTimeout)
    assert isinstance(other.effect, Park)
    assert (error.pool, error.timeout) == ("shop", 1.5)
    for fact, value in {"max_size": 2, "acquired": 2, "idle": 0, "connecting": 0, "waiting": 1}.items():
        assert error.facts[fact] == value
    text = str(error)
    assert "no connection from pool 'shop' within 1.5 s" in text
    assert "GET /slow has it" in text
    assert "max_size=2" in text
    assert error.__cause__ is None


def test_a_timeout_in_an_outage_has_the_last_connect_error_as_its_cause() -> None:
    rig = Rig()
    run = acquire(rig, timeout=1)
    rig.fail(OUTAGE)
    run.answer()
    assert isinstance(run.error, PoolTimeout)
    assert run.error.__cause__ is OUTAGE
    assert run.error.facts["database_away"] is True
    assert "ConnectionRefusedError" in str(run.error)


def test_a_timeout_names_the_three_who_hold_longest() -> None:
    rig = Rig(max_size=5)
    for name in ("first", "second", "third", "fourth", "fifth"):
        rig.grown(name)
        rig.advance(1)
    run = acquire(rig, timeout=1)
    run.answer()
    assert [name in str(run.error) for name in ("first has", "third has", "fourth has")] == [True, True, False]


def test_a_full_line_is_told_with_its_limit_and_the_holders() -> None:
    rig = Rig(max_size=1, max_waiting=1)
    rig.grown("GET /slow")
    waiting = acquire(rig)
    error = acquire(rig).error
    assert isinstance(error, PoolQueueFull)
    assert (error.max_waiting, error.facts["waiting"]) == (1, 1)
    assert "GET /slow has it" in str(error)
    assert isinstance(waiting.effect, Park)
