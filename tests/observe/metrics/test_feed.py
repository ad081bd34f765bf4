"""Single values for those who want them: each once, in the right bucket, and nothing is kept when nobody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from respool import Database, PoolConfig
from respool.errors import ConfigError
from respool.observe import observe
from respool.observe.metrics.feed import Exported, Values, feed
from respool.observe.metrics.readings import Reading
from respool.observe.observation import observation
from respool.pool.core.histogram import Histogram

LABELS = ("shop",)


def histogram(*values: float) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


def test_values_that_are_known_are_handed_on_as_they_are() -> None:
    values, made = Values(), histogram(0.2, 0.003)
    assert values.missing("m", LABELS, made.value(), [0.2, 0.003]) == [0.2, 0.003]
    made.add(0.7)
    assert values.missing("m", LABELS, made.value(), [0.7]) == [0.7]
    assert values.missing("m", LABELS, made.value(), []) == []


def test_callers_that_got_one_at_once_are_values_of_nothing() -> None:
    values, made = Values(), histogram(0.2)
    assert sorted(values.missing("m", LABELS, made.value(zeros=3), [0.2])) == [0, 0, 0, 0.2]
    assert values.missing("m", LABELS, made.value(zeros=5), []) == [0, 0]


def test_of_values_that_are_not_known_the_bucket_is_right() -> None:
    given = [0.00005, 0.0003, 0.004, 0.004, 0.3, 70.0]
    made = histogram(*given)
    found = histogram(*Values().missing("m", LABELS, made.value(), [0.004]))
    assert found.value().counts == made.value().counts


def test_a_histogram_that_began_anew_is_handed_on_from_its_beginning() -> None:
    values = Values()
    values.missing("m", LABELS, histogram(0.2, 0.2).value(), [0.2, 0.2])
    assert sorted(values.missing("m", LABELS, histogram(0.3).value(zeros=0), [])) == [0.3]


@pytest.fixture
def db(sqlite_file: str) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=2))
    yield db
    observation.remove(db)
    db.close()


def work(db: Database) -> None:
    with db.scope("work") as session:
        session.execute(text("SELECT 1"))


def test_every_taker_gets_each_value_once(db: Database) -> None:
    taken: dict[str, list[float]] = {"one": [], "two": []}
    exported, takers = Exported(), []
    for name, values in taken.items():

        def take(reading: Reading, name: str = name, values: list[float] = values) -> None:
            values += reading.times["respool.hold_time"].get(("shop", "work"), [])

        takers.append(take)
        feed.add(take, exported, [db])
    try:
        for _ in range(3):
            work(db)
        feed.pump()
        feed.pump()
    finally:
        for taker in takers:
            feed.remove(taker, exported, [db])
    assert len(taken["one"]) == 3
    assert taken["one"] == taken["two"]


def test_values_are_kept_only_while_somebody_takes_them(db: Database) -> None:
    exported = Exported()
    observe(db)
    work(db)
    assert not db.pool.ledger.keeps_times

    def take(reading: Reading) -> None: ...

    feed.add(take, exported, [db])
    work(db)
    assert len(db.pool.fetch_totals()[1].use_time) == 1
    db.engine.dispose()  # the new pool goes on with it
    work(db)
    assert len(db.pool.fetch_totals()[1].use_time) == 1
    feed.remove(take, exported, [db])
    work(db)
    assert db.pool.fetch_totals()[1].use_time == []
    assert feed.tick not in observation._ticks


def test_what_is_kept_is_bounded(db: Database) -> None:
    made = Histogram()
    made.keeps = True
    made.add_all([0.5] * 9_000)
    made.add_all([0.5] * 9_000)
    made.add(0.5)
    assert len(made.fetch()) == 10_000
    made.add(0.25)
    assert made.fetch() == [0.25]
    assert made.fetch() == []


def test_only_databases_are_exported() -> None:
    wrong: Any = "sqlite://"
    with pytest.raises(ConfigError, match="observe"):
        Exported().add([wrong])
