"""What everybody expects of a pool, under every driver."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import plugins
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import FairPool
from tests.drivers.driver import ONE, Driver, Shop, pool_of


def test_promise_12_a_connection_goes_out_and_comes_back(shop: Shop) -> None:
    engine = shop.engine(max_size=2)
    numbers = []
    for _ in range(5):
        with engine.connect() as connection:
            assert connection.scalar(ONE) == 1
            numbers.append(shop.number(connection))
            assert pool_of(engine).stats().acquired == 1
    stats = pool_of(engine).stats()
    assert len(set(numbers)) == 1
    assert (stats.connects, stats.idle, stats.acquired) == (1, 1, 0)


def test_promise_12_by_the_url_alone(shop: Shop, driver: Driver) -> None:
    plugins.register("respool", "respool.engine.plugin", "RespoolPlugin")
    url = shop.url.update_query_dict({"plugin": "respool", "respool_max_size": "3"})
    engine = create_async_engine(url).sync_engine if driver.asynchronous else sa.create_engine(url)
    assert isinstance(engine.pool, FairPool)
    assert engine.pool.config.max_size == 3
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
    engine.dispose()


def test_promise_08_callers_wait_at_the_limit_and_are_served_in_order(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    served: list[int] = []

    def visit(number: int) -> None:
        with engine.connect() as connection:
            served.append(number)
            assert connection.scalar(ONE) == 1

    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
        visitors = []
        for number in range(8):
            visitors.append(shop.start(visit, number))
            shop.until(lambda count=number + 1: pool_of(engine).stats().waiting == count)
        assert served == []
    for visitor in visitors:
        visitor.result()
    assert served == list(range(8))
    assert pool_of(engine).stats().connects == 1


def test_what_was_not_committed_is_rolled_back(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    shop.make_table(engine)
    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (2)"))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM t")) == 1


def test_promise_09_idle_connections_are_closed(shop: Shop) -> None:
    engine = shop.engine(max_size=3, min_size=1, max_idle=0.02)
    shop.fill(engine, 3)
    shop.until(lambda: pool_of(engine).stats().total == 1)
    assert pool_of(engine).stats().closes["max_idle"] == 2


def test_an_invalidated_connection_is_replaced(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    with engine.connect() as connection:
        first = shop.number(connection)
        driver_connection = connection.connection.driver_connection  # kept, else another may get its id
        connection.invalidate()
    with engine.connect() as connection:
        assert shop.number(connection) != first
    assert pool_of(engine).stats().connects == 2
    del driver_connection


def test_dispose_begins_anew(shop: Shop) -> None:
    engine = shop.engine(max_size=2)
    before = pool_of(engine)
    with engine.connect() as held:
        first = shop.number(held)
        engine.dispose()
        with engine.connect() as connection:
            assert shop.number(connection) != first
        assert held.scalar(ONE) == 1
    assert pool_of(engine) is not before
    assert before.stats().total == 0, "what was held during dispose() is closed when it comes back"
    assert pool_of(engine).stats().idle == 1


def test_promise_11_it_is_told_who_sits_in_a_transaction(shop: Shop, driver: Driver) -> None:
    engine = shop.engine(max_size=1)
    shop.make_table(engine)
    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (2)"))
        assert ("in transaction" in str(note(engine))) is driver.notes
        connection.rollback()
        assert note(engine) is None


def note(engine: sa.Engine) -> str | None:
    (row,) = pool_of(engine).snapshot().connections
    return row.note


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.drivers(asynchronous=False, server=True)
def test_promise_07_after_a_fork_nobody_shares_a_connection(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    with engine.connect() as connection:
        before = shop.number(connection)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run; that is what is tested
        child = os.fork()
    if child == 0:
        try:
            with engine.connect() as connection:
                os.write(writing, str(shop.number(connection)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        in_child = int(pipe.read())
    os.waitpid(child, 0)
    with engine.connect() as connection:
        after = shop.number(connection)
    assert before == after != in_child


def test_settings_of_the_pool_are_sqlalchemys_own_words(shop: Shop) -> None:
    engine = shop.engine(pool_size=2, max_overflow=1, pool_timeout=3, pool_recycle=60, pool_pre_ping=True)
    wanted: dict[str, Any] = {"max_size": 3, "timeout": 3, "max_lifetime": 60, "check_after": 0}
    config = pool_of(engine).config
    assert config == replace(config, **wanted)
    shop.fill(engine, 3)
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
