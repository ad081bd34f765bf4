"""What a pool counts and measures."""

from __future__ import annotations

import dataclasses
import json

import pytest

from respool.pool.core.histogram import BOUNDS, Histogram
from respool.pool.telling.stats import PoolStats, fetched, stats_of
from tests.pool.rig import OUTAGE, Rig


def stats(rig: Rig) -> PoolStats:
    return rig.do(stats_of, "shop", rig.state)


def test_an_unused_pool() -> None:
    figures = stats(Rig(max_size=3))
    assert str(figures) == "pool 'shop': 0 acquired, 0 idle, 0 connecting, 0 waiting, max_size 3"
    assert (figures.acquired_total, figures.wait_time.total, figures.oldest_wait) == (0, 0, 0.0)
    json.dumps(figures.as_dict())
    with pytest.raises(dataclasses.FrozenInstanceError):
        figures.idle = 1  # type: ignore[misc]


def test_waiting_using_and_opening_are_measured() -> None:
    rig = Rig(max_size=1)
    first = rig.ask()
    rig.advance(2)
    rig.connect()
    rig.advance(3)
    second = rig.ask()
    rig.advance(4)
    assert stats(rig).oldest_wait == 4
    rig.give(first)
    rig.advance(5)
    rig.give(second)
    rig.give(rig.ask())
    figures = stats(rig)
    assert (figures.create_time.total, figures.create_time.sum) == (1, 2)
    assert (figures.wait_time.total, figures.wait_time.sum, figures.wait_time.max) == (3, 6, 4)
    assert (figures.use_time.total, figures.use_time.sum, figures.use_time.max) == (3, 12, 7)
    assert (figures.acquired_total, figures.waited_total, figures.peak) == (3, 2, 1)


def test_saturation_is_the_time_in_which_every_connection_is_held() -> None:
    rig = Rig(max_size=2)
    a, b = rig.grown("a", "b")
    rig.advance(3)
    assert stats(rig).saturated_seconds == 3
    rig.give(a)
    rig.advance(10)
    a = rig.ask()
    rig.advance(4)
    rig.drop(b)
    rig.advance(10)
    assert stats(rig).saturated_seconds == 7
    assert stats(rig).peak == 2


def test_saturation_goes_on_through_a_hand_over_and_ends_with_a_resize() -> None:
    rig = Rig(max_size=1)
    (holder,) = rig.grown("holder")
    rig.ask()
    rig.advance(2)
    rig.give(holder)
    rig.advance(2)
    rig.do(rig.state.resize, rig.state.config.merged({"max_size": 2}))
    rig.advance(50)
    assert stats(rig).saturated_seconds == 4


def test_events_are_counted() -> None:
    rig = Rig(max_size=2)
    a, b = rig.grown("a", "b")
    rig.give(a)
    rig.drop(b)
    rig.ask()
    rig.ask()
    rig.fail(OUTAGE)
    figures = stats(rig)
    assert (figures.connects, figures.connect_errors, figures.database_away) == (2, 1, True)
    assert figures.closes == {"broken": 1}


def test_more_uses_than_one_batch_are_all_counted() -> None:
    rig = Rig(max_size=1)
    rig.give(*rig.grown("a"))
    for _ in range(1000):
        rig.give(rig.ask())
    assert (stats(rig).use_time.total, stats(rig).acquired_total) == (1001, 1001)


def test_times_of_use_are_not_kept_for_long_where_connections_are_closed_soon() -> None:
    rig = Rig(max_size=1)
    for _ in range(20):
        rig.give(*rig.grown("a"))
        rig.give(rig.ask())
        rig.do(rig.state.evict)
    assert len(rig.state._used) == 0
    assert stats(rig).use_time.total == 40


def test_a_histogram_knows_counts_sum_max_and_bounds_of_quantiles() -> None:
    histogram = Histogram()
    for seconds in [0.0001] * 90 + [0.02] * 9 + [60.0]:
        histogram.add(seconds)
    value = histogram.value()
    assert (value.total, value.max) == (100, 60.0)
    assert value.mean == pytest.approx((0.009 + 0.18 + 60) / 100)
    assert dict(zip(value.bounds, value.counts, strict=False))[0.0001] == 90
    assert value.counts[-1] == 1
    assert [value.quantile(share) for share in (0.5, 0.95, 1.0)] == [0.0001, 0.05, 60.0]
    assert len(value.counts) == len(BOUNDS) + 1
    assert Histogram().value().quantile(0.99) == Histogram().value().mean == 0.0


def test_the_time_of_use_goes_on_while_a_connection_is_held_and_is_all_there_afterwards() -> None:
    rig = Rig(max_size=2)
    a, b = rig.grown("a", "b")
    rig.advance(3)
    assert stats(rig).used_seconds == 6
    rig.give(a)
    rig.advance(2)
    assert stats(rig).used_seconds == 8
    rig.drop(b)
    rig.advance(9)
    assert stats(rig).used_seconds == stats(rig).use_time.sum == 8


def test_single_values_are_kept_when_somebody_fetches_them() -> None:
    rig = Rig(max_size=1)
    rig.state.keeps_times = True
    first = rig.ask()
    rig.advance(2)
    rig.connect()
    rig.ask()
    rig.advance(3)
    rig.give(first)
    figures, times = rig.do(fetched, "shop", rig.state)
    assert times == ([2, 3], [3], [2])
    assert (figures.wait_time.total, figures.use_time.total, figures.create_time.total) == (2, 1, 1)
    assert rig.do(fetched, "shop", rig.state)[1] == ([], [], [])
    rig.state.keeps_times = False
    rig.drop(first)
    assert rig.do(fetched, "shop", rig.state)[1] == ([], [], [])
