"""What is left open on a connection, under every driver: also under those that cannot tell."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from respool.engine.dialects.signs import driver_of, is_closed, transaction_state
from respool.engine.pools.leases import LeaseRule
from tests.drivers.driver import Driver, Shop

#: Writes; to MySQL's drivers, which read on what the server says after rows as little as they can, the look of a read.
_WRITES = {
    "postgres": "INSERT INTO t VALUES (2) RETURNING x",
    "mariadb": "SELECT put()",
    "sqlite": "INSERT INTO t VALUES (2) RETURNING x",
}


def make(shop: Shop, driver: Driver) -> sa.Engine:
    engine = shop.engine(max_size=1)
    shop.make_table(engine)
    if driver.backend == "mariadb":
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION put() RETURNS INT BEGIN INSERT INTO t VALUES (2); RETURN 2; END"
            )
    return engine


def test_what_an_old_cursor_does_after_a_commit_is_rolled_back(shop: Shop, driver: Driver) -> None:
    engine = make(shop, driver)
    raw = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("INSERT INTO t VALUES (1)")
    raw.commit()
    cursor.execute(_WRITES[driver.backend])
    cursor.fetchall()
    cursor.close()
    raw.close()
    with engine.begin() as connection:
        assert list(connection.scalars(sa.text("SELECT x FROM t"))) == [1, 1]


def test_what_a_connect_listener_left_open_is_whose_connection_it_is(shop: Shop, driver: Driver) -> None:
    make(shop, driver)
    engine = shop.engine(max_size=1)

    @sa.event.listens_for(engine, "connect")
    def greet(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute(_WRITES[driver.backend])
        cursor.fetchall()
        cursor.close()

    LeaseRule(engine).kind()
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (3)"))
    with shop.engine().connect() as connection:
        assert list(connection.scalars(sa.text("SELECT x FROM t ORDER BY x"))) == [1, 2, 3]


def test_a_closed_connection_has_no_transaction(shop: Shop, driver: Driver) -> None:
    engine = make(shop, driver)
    raw: Any = engine.raw_connection()
    raw.cursor().execute(_WRITES[driver.backend])
    raw.detach()
    dbapi_connection = raw.dbapi_connection
    dbapi_connection.close()
    assert transaction_state(dbapi_connection)[0] is None
    assert is_closed(driver_of(dbapi_connection)) or driver.backend == "sqlite"
