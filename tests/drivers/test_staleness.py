"""Connections that the server hung up on, under every driver of a server."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from respool import Session
from respool.engine.dialects.signs import has_something_to_say
from tests.drivers.driver import ONE, Driver, Shop, pool_of

pytestmark = pytest.mark.drivers(server=True)


@pytest.fixture
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing shows before the first statement that the connection is dead."""
    monkeypatch.setattr("respool.engine.pools.staleness.has_something_to_say", lambda connection: False)
    monkeypatch.setattr("respool.engine.pools.connectors.hung_up", lambda records: [])


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is looked at before it is handed out, however short its rest."""
    monkeypatch.setattr("respool.engine.pools.fair.REST", -1.0)


def test_promise_10_a_dead_connection_shows_without_a_round_trip(shop: Shop, watched: None) -> None:
    engine = shop.engine(max_size=2, check_after=None)
    with engine.connect() as connection:
        connection.execute(ONE)
        assert not has_something_to_say(connection.connection.dbapi_connection)
        connection.rollback()
        assert not has_something_to_say(connection.connection.dbapi_connection)
        shop.terminate()
        shop.until(lambda: has_something_to_say(connection.connection.dbapi_connection))


def test_promise_10_a_dead_connection_shows_even_before_the_loop_has_read_it(shop: Shop, driver: Driver) -> None:
    engine = shop.engine(max_size=1)
    with engine.connect() as connection:
        connection.execute(ONE)
        connection.rollback()
        shop.server.terminate_backends(shop.database)  # blocks the loop, if there is one
        assert has_something_to_say(connection.connection.dbapi_connection)


def test_promise_09_a_dead_connection_is_let_go_while_it_rests(shop: Shop) -> None:
    engine = shop.engine(max_size=2)
    shop.fill(engine, 2)
    shop.terminate()
    shop.until(lambda: pool_of(engine).stats().total == 0)


def test_promise_10_killed_idle_connections_fail_nobody(shop: Shop, watched: None) -> None:
    engine = shop.engine(max_size=5, check_after=None)
    shop.make_table(engine)
    shop.fill(engine, 5)
    shop.terminate()
    for _ in range(6):
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO t VALUES (2)"))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM t")) == 7


def test_promise_10_a_first_read_is_run_again(shop: Shop, unwarned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = shop.engine(max_size=5, check_after=None)
    pings: list[object] = []
    ping = engine.dialect.do_ping
    monkeypatch.setattr(engine.dialect, "do_ping", lambda connection: pings.append(connection) or ping(connection))
    shop.fill(engine, 3)
    dead = [record.dbapi_connection for record in pool_of(engine)._idle_records()]
    pings.clear()  # a new connection may be asked how far its server is
    shop.terminate()
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
        assert connection.scalar(sa.text("SELECT 2")) == 2
    assert len([one for one in pings if one in dead]) <= 2, "only the others are doubted, once one was found dead"
    assert pool_of(engine).stats().acquired == 0


@pytest.mark.parametrize("statement", ["INSERT INTO t VALUES (1)", "SELECT x FROM t FOR UPDATE", "UPDATE t SET x = 1"])
def test_a_first_write_is_not_run_again(shop: Shop, unwarned: None, statement: str) -> None:
    engine = shop.engine(max_size=1, check_after=None)
    shop.make_table(engine)
    shop.terminate()
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as lost:
        connection.execute(sa.text(statement))
    assert lost.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM t")) == 1


def test_a_later_read_is_not_run_again(shop: Shop, unwarned: None) -> None:
    engine = shop.engine(max_size=1)
    with engine.connect() as connection:
        connection.execute(ONE)
        shop.terminate()
        with pytest.raises(sa.exc.DBAPIError) as lost:
            connection.execute(ONE)
    assert lost.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1


OWN = {
    "by the pool's proxy": lambda checkout: checkout.cursor(),
    "by the driver's connection": lambda checkout: checkout.dbapi_connection.cursor(),
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_first_read_after_somebodys_own_write_is_not_run_again(shop: Shop, unwarned: None, own: Any) -> None:
    """On another connection it would be executed, and committed, without what was written, or set, before."""
    engine = shop.engine(max_size=1, check_after=None)
    shop.make_table(engine)
    shop.fill(engine, 1)
    session = Session(engine)
    cursor = own(session.connection().connection)
    cursor.execute("INSERT INTO t VALUES (7)")
    cursor.close()
    shop.terminate()
    with pytest.raises(sa.exc.DBAPIError) as lost:
        session.scalar(ONE)
    assert lost.value.connection_invalidated
    session.rollback()
    assert session.scalar(sa.text("SELECT count(*) FROM t")) == 1
    session.close()


def test_a_first_read_after_the_drivers_connection_was_asked_for_is_not_run_again(shop: Shop, unwarned: None) -> None:
    engine = shop.engine(max_size=1, check_after=None)
    shop.fill(engine, 1)
    with engine.connect() as connection:
        assert connection.connection.driver_connection is not None
        shop.terminate()
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(ONE)


def test_a_rollback_on_a_lost_connection_bothers_nobody(shop: Shop) -> None:
    engine = shop.engine(max_size=1)
    with engine.connect() as connection:
        connection.execute(ONE)
        shop.terminate()
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
