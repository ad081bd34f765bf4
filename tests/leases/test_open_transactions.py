"""A listener that leaves a transaction open on its connection: no read runs inside of it for good."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from tests.leases.stand import POSTGRES, Note, Side, Stand, names


def says(target: Any, when: str, statement: str) -> None:
    """Have something said to the driver's connection, and the transaction that it begins left open."""

    @event.listens_for(target, when)
    def say(dbapi_connection: Any, *args: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute(statement)
        cursor.close()


def times(side: Side) -> list[Any]:
    """What time the server says it is, request by request, by a plain read."""
    side.stand.elsewhere("CREATE VIEW clock AS SELECT now() AS time")
    clock = sa.select(sa.table("clock", sa.column("time")).c.time)
    found = []
    for _ in range(3):
        with side.request() as session:
            found.append(session.scalar(clock))
    return found


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("when", ["connect", "first_connect", "checkout", "checkin", "reset"])
def test_the_clock_goes_on_and_tables_can_be_changed(stand: Stand, when: str) -> None:
    def program(side: Side) -> Any:
        says(side.engine, when, "SELECT count(*) FROM wares")
        clock = len(set(times(side)))
        free = stand.is_writable()
        with side.request() as session:
            seen = names(session)
        return clock, free, seen, stand.backends()

    found = stand.same(program, size=1, tidy=when != "checkin")
    if when == "checkin":  # which stock suffers from as well: a table that is locked while nobody is at work
        assert found == (3, False, ["tea", "rum"], ["idle in transaction"])
    else:
        assert found == (3, True, ["tea", "rum"], ["idle"])


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("when", ["connect", "first_connect"])
def test_no_connection_is_left_in_a_transaction(stand: Stand, when: str) -> None:
    """Whichever of them: the first one is looked at before all others, and is at work elsewhere here."""

    def program(side: Side) -> Any:
        says(side.engine, when, "SELECT count(*) FROM wares")
        found = []
        with side.request() as session:
            names(session)
        with side.engine.connect() as kept:
            kept.exec_driver_sql("SELECT 1")
            kept.rollback()
            for _ in range(2):
                with side.request() as session:
                    names(session)
                    names(session)
                found.append((stand.backends(), stand.is_writable()))
        return found

    assert stand.same(program, size=2) == [(["idle", "idle"], True)] * 2


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_what_it_set_is_the_first_transactions(stand: Stand, end: str) -> None:
    """A plain SET in a ``connect`` listener, without a commit: stays if the first transaction commits, else it does not."""

    def program(side: Side) -> Any:
        stand.elsewhere("CREATE SCHEMA IF NOT EXISTS other; CREATE OR REPLACE VIEW other.kept AS SELECT 1 AS one")
        says(side.engine, "connect", "SET search_path = other, public")
        with side.engine.connect() as connection:  # what the dialect asks at its first connection
            connection.rollback()
        side.pool.dispose()
        side.engine.pool = side.pool.recreate()
        found = []
        for _ in range(2):
            with side.request() as session:
                names(session)
                getattr(session, end)()
            with side.engine.connect() as connection:
                found.append(connection.exec_driver_sql("SHOW search_path").scalar())
        return found

    found = stand.same(program, size=1)
    assert found == ["other, public" if end == "commit" else '"$user", public'] * 2


@pytest.mark.on("pysqlite", "psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_what_it_wrote_is_the_first_transactions(stand: Stand, end: str) -> None:
    def program(side: Side) -> Any:
        side.engine.connect().close()
        side.pool.dispose()
        side.engine.pool = side.pool.recreate()
        says(side.engine, "connect", "INSERT INTO notes (text) VALUES ('connected')")
        found = []
        for _ in range(2):
            with side.request() as session:
                names(session)
                getattr(session, end)()
            found.append((stand.notes(), stand.is_writable()))
        return found

    saved = ["connected"] if end == "commit" else []
    assert stand.same(program, size=1) == [(saved, True)] * 2


@pytest.mark.on("psycopg2", "psycopg")
def test_with_a_pool_of_sqlalchemys(stand: Stand) -> None:
    """psycopg2 refuses to change its mode inside of a transaction."""

    def program(side: Side) -> Any:
        says(side.engine, "connect", "SELECT 1")
        found = []
        with side.request() as session:
            names(session)
        with side.engine.connect() as kept:
            kept.exec_driver_sql("SELECT 1")
            kept.rollback()
            for number in range(2):
                with side.request() as session:
                    found.append(names(session))
                    session.add(Note(text=str(number)))
                    session.commit()
                    found.append(names(session))
        return found, stand.notes(), stand.backends()

    found, notes, backends = stand.same(program, poolclass=QueuePool, pool_size=2, max_overflow=0)
    assert (len(found), notes, backends) == (4, ["0", "1"], ["idle", "idle"])


@pytest.mark.on("psycopg", "psycopg2")
def test_a_transaction_that_another_user_of_the_pool_left_open(stand: Stand) -> None:
    """``reset_on_return=None``: what somebody began is there for whoever comes next, reads included."""

    def program(side: Side) -> Any:
        raw = side.engine.raw_connection()
        raw.cursor().execute("INSERT INTO notes (text) VALUES ('left')")
        raw.close()
        with side.request() as session:
            seen = session.scalar(sa.select(sa.func.count()).select_from(Note))
            session.commit()
        return seen, stand.notes()

    assert stand.same(program, size=1, pool_reset_on_return=None) == (1, ["left"])


@pytest.mark.on("psycopg", "psycopg2", "pysqlite")
def test_a_pool_that_commits_what_is_given_back(stand: Stand) -> None:
    """``reset_on_return="commit"``: what a listener wrote during a read is saved by it, or not, as with stock."""

    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "checkout")
        def write(dbapi_connection: Any, record: Any, proxy: Any) -> None:
            dbapi_connection.cursor().execute("INSERT INTO notes (text) VALUES ('out')")

        found = []
        for end in ("close", "rollback", "commit"):
            with side.request() as session:
                names(session)
                getattr(session, end)()
            found.append(len(stand.notes()))
        return found

    stand.same(program, size=1, pool_reset_on_return="commit")


@pytest.mark.on("pysqlite")
def test_what_is_asked_of_sqlite_takes_no_lock(stand: Stand) -> None:
    """In a transaction that was begun by hand, for a function that nobody has called yet."""

    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "connect")
        def by_hand(dbapi_connection: Any, record: Any) -> None:
            dbapi_connection.isolation_level = None

        @event.listens_for(side.engine, "begin")
        def begin(conn: sa.Connection) -> None:
            conn.exec_driver_sql("BEGIN")

        with side.request() as session:
            session.execute(sa.select(sa.func.abs(-1), sa.func.upper("a")))
            return stand.is_writable()

    assert stand.same(program) is True
