"""Cancelled tasks, under every asyncio driver: no connection is lost, none is left in a state, and nobody complains."""

from __future__ import annotations

import random
from asyncio import CancelledError

import pytest
import sqlalchemy as sa

from respool.engine.dialects import kill_query
from tests.drivers.driver import ONE, Driver, Shop, pool_of

pytestmark = pytest.mark.drivers(asynchronous=True)

CANCELS = 300


def test_promise_07_a_cancelled_query_costs_no_connection(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    shop.make_table(engine)

    def work() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("INSERT INTO t VALUES (2)"))
            connection.execute(shop.sleep(0.3 if shop.driver.backend == "sqlite" else 60))

    worker = shop.start(work)
    shop.until(lambda: uses(engine) == 2)
    shop.pause(0.02)  # into the sleep; a cancellation before it must do no harm either
    worker.cancel()
    with pytest.raises(CancelledError):
        worker.result()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM t")) == 1, "rolled back"
    assert pool_of(engine).stats().connects == 1


def test_promise_07_300_random_cancellations_leak_nothing(
    shop: Shop, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    engine = shop.engine(max_size=5)
    shop.make_table(engine)
    chance = random.Random(7)

    def work() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT x FROM t"))
            connection.execute(shop.sleep(0.003))
            connection.execute(ONE)
            connection.commit()

    shop.fill(engine, 5)
    opened = pool_of(engine).stats().connects
    assert opened == 5
    ends = []
    for _ in range(CANCELS // 10):
        workers = [(shop.start(work), chance.random() * 0.02) for _ in range(10)]
        for worker, patience in sorted(workers, key=lambda pair: pair[1]):
            shop.pause(patience / 10)
            worker.cancel()
        for worker, _ in workers:
            try:
                ends.append(worker.result())
            except CancelledError as cancelled:
                ends.append(cancelled)
    assert len([end for end in ends if end is not None]) > CANCELS / 3, "else it would prove nothing"
    shop.until(lambda: pool_of(engine).stats().acquired == 0)
    stats = pool_of(engine).stats()
    print(f"{driver.id}: {stats.connects - opened} reconnects, closes {dict(stats.closes)}")
    assert stats.connects - opened <= 3, f"closed: {stats.closes}"
    for worker in [shop.start(work) for _ in range(10)]:
        worker.result()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_cancelled_commit_is_settled(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    shop.make_table(engine)

    def insert() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("INSERT INTO t VALUES (2)"))
            connection.commit()

    for turns in range(40):
        worker = shop.start(insert)
        for _ in range(turns):
            shop.pause(0)
        worker.cancel()
        try:
            worker.result()
        except CancelledError:
            pass
    with engine.connect() as connection:
        assert 1 <= connection.scalar(sa.text("SELECT count(*) FROM t")) <= 41
    assert pool_of(engine).stats().acquired == 0


@pytest.mark.drivers(backend="mariadb", asynchronous=True)
@pytest.mark.parametrize("what", ["another server", "another number"])
def test_promise_07_nothing_is_killed_on_another_server(shop: Shop, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = shop.engine(max_size=1)
    if what == "another number":  # as a proxy gives them out: the first answer to it is what counts
        monkeypatch.setattr(kill_query, "_PLACE", "'no place'")
        monkeypatch.setattr(f"{engine.dialect.driver}.connection.Connection.thread_id", lambda driver: 0)

    def work() -> None:
        with engine.connect() as connection:
            connection.execute(shop.sleep(0.5))

    worker = shop.start(work)
    shop.until(lambda: uses(engine) == 1)
    shop.pause(0.02)
    if what == "another server":
        (row,) = engine.pool.running_monitors()[0].state.entries.values()  # type: ignore[attr-defined]
        row.resource.dbapi_connection.driver_connection.respool_place = ("elsewhere", 3306, 1)
    worker.cancel()
    with pytest.raises(CancelledError):
        worker.result()
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
    assert pool_of(engine).stats().connects == 2


def uses(engine: sa.Engine) -> int:
    return sum(row.uses for row in pool_of(engine).snapshot().connections)
