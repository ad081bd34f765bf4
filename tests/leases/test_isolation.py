"""An isolation level that only the connection knows of: what a session has read stays as it was until its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.leases.stand import POSTGRES, Side, Stand, Ware, raised, stock_of

_STRICT = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ"


def two_reads(side: Side) -> Any:
    """What a session reads before and after another client's change, and behind a rollback; twice, on one connection."""
    seen: list[Any] = []
    for number in (5, 6):
        side.stand.stock_is(number)
        with side.request() as session:
            first = stock_of(session), session.get_one(Ware, 1).stock
            side.stand.stock_is(number + 1)
            second = stock_of(session), session.scalars(sa.select(Ware.stock).where(Ware.id == 1)).all()
            session.rollback()
            seen.append((first, second, stock_of(session)))
    return seen


#: Repeatable reads, and those that see each change at once.
STRICT = [((5, 5), (5, [5]), 6), ((6, 6), (6, [6]), 7)]
LOOSE = [((5, 5), (6, [6]), 6), ((6, 6), (7, [7]), 7)]


def said(dbapi_connection: Any, statement: str = _STRICT) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute(statement)
    cursor.close()


def at_connect(side: Side) -> None:
    @event.listens_for(side.engine, "connect")
    def strict(dbapi_connection: Any, record: Any) -> None:
        said(dbapi_connection)
        dbapi_connection.commit()


def at_connect_of_the_pool(side: Side) -> None:
    @event.listens_for(side.pool, "connect")
    def strict(dbapi_connection: Any, record: Any) -> None:
        said(dbapi_connection, "SET default_transaction_isolation = 'repeatable read'")
        dbapi_connection.commit()


def at_first_connect(side: Side) -> None:
    @event.listens_for(side.engine, "first_connect")
    def strict(dbapi_connection: Any, record: Any) -> None:
        said(dbapi_connection)
        dbapi_connection.commit()


def at_checkout(side: Side) -> None:
    @event.listens_for(side.engine, "checkout")
    def strict(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        said(dbapi_connection)
        dbapi_connection.commit()


def of_each_transaction_at_checkout(side: Side) -> None:
    @event.listens_for(side.engine, "checkout")
    def strict(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        said(dbapi_connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def of_each_transaction(side: Side) -> None:
    @event.listens_for(side.engine, "begin")
    def strict(conn: sa.Connection) -> None:
        conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


WAYS: list[Callable[[Side], None]] = [
    at_connect,
    at_connect_of_the_pool,
    at_first_connect,
    at_checkout,
    of_each_transaction_at_checkout,
    of_each_transaction,
]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("way", WAYS)
def test_said_to_the_server_by_a_listener(stand: Stand, way: Callable[[Side], None]) -> None:
    def program(side: Side) -> Any:
        way(side)
        return two_reads(side)

    assert stand.same(program, size=1) == STRICT


def attribute(dbapi_connection: Any, driver: str) -> None:
    strict = psycopg.IsolationLevel.REPEATABLE_READ
    if driver == "asyncpg":
        dbapi_connection.isolation_level = "repeatable_read"
    elif driver == "psycopg2":
        dbapi_connection.set_session(isolation_level="REPEATABLE READ")
    elif driver == "psycopg":
        dbapi_connection.isolation_level = strict
    else:
        dbapi_connection.run_async(lambda connection: connection.set_isolation_level(strict))


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("when", ["connect", "checkout"])
def test_said_to_the_driver(stand: Stand, when: str) -> None:
    def program(side: Side) -> Any:
        event.listen(side.engine, when, lambda dbapi_connection, *args: attribute(dbapi_connection, stand.driver))
        return two_reads(side)

    assert stand.same(program, size=1) == STRICT


@pytest.mark.on(*POSTGRES)
def test_said_in_the_connects_arguments(stand: Stand) -> None:
    """The server tells SQLAlchemy, which asks for its default at the first connection."""
    setting = {"default_transaction_isolation": "repeatable read"}
    arguments = (
        {"server_settings": setting}
        if stand.driver == "asyncpg"
        else {"options": "-c default_transaction_isolation=repeatable\\ read"}
    )
    assert stand.same(two_reads, connect_args=arguments) == STRICT


@pytest.mark.on("psycopg", "asyncpg")
def test_said_on_the_server_after_the_application_has_started(stand: Stand) -> None:
    """``ALTER ROLE``: new connections are stricter than the one that SQLAlchemy asked."""

    def program(side: Side) -> Any:
        stand.elsewhere("ALTER ROLE postgres RESET default_transaction_isolation")
        with side.request() as session:
            stock_of(session)
        stand.elsewhere("ALTER ROLE postgres SET default_transaction_isolation = 'repeatable read'")
        try:
            side.pool.dispose()
            side.engine.pool = side.pool.recreate()
            return two_reads(side)
        finally:
            stand.elsewhere("ALTER ROLE postgres RESET default_transaction_isolation")

    assert stand.same(program) == STRICT


@pytest.mark.on("psycopg", "asyncpg")
def test_said_to_one_connection_of_two(stand: Stand) -> None:
    """The rule is the connection's: one is strict, the other is not."""

    def program(side: Side) -> Any:
        connected: list[Any] = []

        @event.listens_for(side.engine, "connect")
        def every_other_one(dbapi_connection: Any, record: Any) -> None:
            connected.append(record)
            if len(connected) % 2 == 0:
                said(dbapi_connection)
                dbapi_connection.commit()

        with side.engine.connect() as kept:
            kept.exec_driver_sql("SELECT 1")
            strict = two_reads(side)
        with side.engine.connect() as first, side.engine.connect() as second:
            levels = sorted(each.exec_driver_sql("SHOW transaction_isolation").scalar() for each in (first, second))
        return strict, levels

    assert stand.same(program, size=2) == (STRICT, ["read committed", "repeatable read"])


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_said_to_sqlalchemy(stand: Stand) -> None:
    assert stand.same(two_reads, isolation_level="REPEATABLE READ") == STRICT
    assert stand.same(two_reads, execution_options={"isolation_level": "REPEATABLE READ"}) == STRICT


@pytest.mark.on("psycopg", "asyncpg")
def test_said_for_one_transaction(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            seen = [stock_of(session)]
            stand.stock_is(6)
            seen.append(stock_of(session))
            session.rollback()
            seen.append(stock_of(session))
            stand.stock_is(7)
            return [*seen, stock_of(session)]

    assert stand.same(program, size=1) == [5, 5, 6, 7]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_read_only_transactions_stay_read_only(stand: Stand) -> None:
    """Not a level, but the same kind: a connection that refuses writes does so after leased reads as well."""

    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "connect")
        def read_only(dbapi_connection: Any, record: Any) -> None:
            if stand.driver == "psycopg2":
                dbapi_connection.set_session(readonly=True)
            elif stand.driver == "psycopg":
                dbapi_connection.read_only = True
            else:
                dbapi_connection.readonly = True

        with side.request() as session:
            seen = stock_of(session)
            refused = raised(lambda: session.execute(sa.update(Ware).values(stock=1)))
            session.rollback()
            again = stock_of(session)
        return seen, refused, again

    assert stand.same(program, size=1)[::2] == (5, 5)


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_without_any_of_it_each_read_sees_what_is_committed(stand: Stand) -> None:
    assert stand.same(two_reads) == LOOSE


@pytest.mark.on("pysqlite")
def test_sqlite_that_begins_for_certain(stand: Stand) -> None:
    """SQLAlchemy's recipe, a BEGIN of one's own: what is read keeps others from committing until the end."""

    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "connect")
        def no_begin_of_the_drivers(dbapi_connection: Any, record: Any) -> None:
            dbapi_connection.isolation_level = None

        @event.listens_for(side.engine, "begin")
        def begin(conn: sa.Connection) -> None:
            conn.exec_driver_sql("BEGIN")

        with side.request() as session:
            stock_of(session)
            meanwhile = stand.is_writable()
        return meanwhile, stand.is_writable()

    assert stand.same(program) == (False, True)


@pytest.mark.on("pysqlite")
def test_sqlite_in_a_transaction_that_a_checkout_began(stand: Stand) -> None:
    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "checkout")
        def begin(dbapi_connection: Any, record: Any, proxy: Any) -> None:
            dbapi_connection.execute("BEGIN")

        seen = []
        with side.request() as session:
            seen.append((stock_of(session), stand.is_writable()))
            session.rollback()
            seen.append(stand.is_writable())
            seen.append((stock_of(session), stand.is_writable()))
        return seen, stand.is_writable()

    assert stand.same(program, size=1) == ([(5, False), True, (5, False)], True)
