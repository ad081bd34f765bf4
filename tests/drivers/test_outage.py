"""A server that is away, and a server that says no, under every driver."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from respool.engine.dialects.outage import is_outage
from respool.errors import PoolTimeout
from respool.pool import PoolObserver
from tests.drivers.driver import ONE, Driver, Shop, pool_of


class Failures(PoolObserver):
    """Sets an event at the first failed connect."""

    def __init__(self) -> None:
        self.first = threading.Event()

    def connect_failed(self, error: BaseException) -> None:
        self.first.set()


@pytest.mark.drivers(server=True)
def test_promise_10_callers_wait_through_an_outage(shop: Shop) -> None:
    failures = Failures()
    engine = shop.engine(max_size=5, pool_observer=failures)

    def read() -> object:
        with engine.connect() as connection:
            return connection.scalar(ONE)

    assert read() == 1
    shop.aside(shop.server.stop)
    readers = [shop.start(read) for _ in range(12)]
    shop.until(failures.first.is_set)
    assert pool_of(engine).stats().database_away
    shop.aside(shop.server.start)
    assert [reader.result() for reader in readers] == [1] * 12


@pytest.mark.drivers(server=True)
def test_promise_10_a_server_that_is_not_there_is_waited_for(shop: Shop) -> None:
    engine = shop.engine(shop.url.set(port=1), pool_timeout=0.2)
    with pytest.raises(PoolTimeout) as timeout:
        engine.connect()
    cause = timeout.value.__cause__
    assert cause is not None
    assert is_outage(engine.dialect, cause)
    assert timeout.value.facts["database_away"]


@pytest.mark.drivers(server=True)
def test_an_unknown_database_is_told_at_once(shop: Shop) -> None:
    refused_at_once(shop, shop.engine(shop.url.set(database="nowhere")), "nowhere")


@pytest.mark.drivers(backend="mariadb")
def test_a_wrong_password_is_told_at_once(shop: Shop) -> None:
    right, wrong = (shop.url.set(username="shopper", password=word) for word in ("secret", "guess"))
    with shop.engine(right).connect() as connection:
        assert connection.scalar(ONE) == 1
    refused_at_once(shop, shop.engine(wrong), "denied")


@pytest.mark.drivers(backend="postgres")
def test_an_unknown_user_is_told_at_once(shop: Shop) -> None:
    refused_at_once(shop, shop.engine(shop.url.set(username="stranger")), "stranger")


@pytest.mark.drivers(backend="sqlite")
def test_a_missing_folder_is_told_at_once(shop: Shop, driver: Driver) -> None:
    refused_at_once(shop, shop.engine(shop.url.set(database=shop.database + "/nowhere/shop.db")), "unable to open")


def refused_at_once(shop: Shop, engine: sa.Engine, word: str) -> None:
    """Refused by the database's own error, not by the pool's patience, which is the default of 30 s."""
    with pytest.raises(Exception, match=word) as refused:
        engine.connect()
    assert not isinstance(refused.value, PoolTimeout)
    assert not pool_of(engine).stats().database_away
