"""What is only allowed before a transaction begins, after reads: as with stock, but for ``begin()``."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.exc import InvalidRequestError

from tests.leases.stand import POSTGRES, Note, Side, Stand, Ware, names, raised, stock_of


@pytest.mark.on("pysqlite", "aiosqlite", *POSTGRES)
def test_begin_after_reads_is_allowed(stand: Stand) -> None:
    """A documented difference: no transaction has begun, and ``in_transaction()`` says so."""

    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            begun = session.in_transaction()
            with session.begin():
                session.add(Note(text="begun"))
            return begun, stand.notes()

    assert stand.run(program) == (False, ["begun"])
    with pytest.raises(InvalidRequestError, match="already begun"):
        stand.run(program, stock=True)


@pytest.mark.on("psycopg", "asyncpg")
@pytest.mark.parametrize(
    "words",
    [
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION READ WRITE",
        "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
        "BEGIN",
        "VACUUM wares",
        "CREATE DATABASE never",
    ],
)
def test_words_for_the_beginning_of_a_transaction(stand: Stand, words: str) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            refused = raised(lambda: session.execute(sa.text(words)))
            doomed = raised(lambda: names(session))
            session.rollback()
            return refused, doomed, names(session)

    stand.same(program, size=1)


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_a_level_that_comes_too_late(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            return raised(lambda: session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")))

    assert stand.same(program) is not None


def with_options(session: orm.Session, **options: Any) -> list[str]:
    """What SQLAlchemy warns of when a connection is asked for with these options."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session.connection(execution_options=options)
    return [str(each.message) for each in caught]


@pytest.mark.on("pysqlite", *POSTGRES)
def test_autocommit_after_reads_is_ignored_with_a_warning(stand: Stand) -> None:
    """And a row that is rolled back is not kept."""

    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            said = with_options(session, isolation_level="AUTOCOMMIT")
            session.add(Note(text="rolled back"))
            session.flush()
            session.rollback()
        return said, stand.notes()

    said, notes = stand.same(program)
    assert len(said) == 1
    assert "execution_options ignored" in said[0]
    assert notes == []


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_a_stricter_level_after_reads_is_ignored_with_a_warning(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            said = with_options(session, isolation_level="REPEATABLE READ")
            seen = [session.connection().get_isolation_level(), stock_of(session)]
            stand.stock_is(6)
            return said, [*seen, stock_of(session)]

    assert stand.same(program)[1] == ["READ COMMITTED", 5, 6]


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_after_the_end_of_the_transaction_they_count_again(stand: Stand) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        for end in ("commit", "rollback", "close"):
            with side.request() as session:
                names(session)
                getattr(session, end)()
                said = with_options(session, isolation_level="AUTOCOMMIT")
                session.add(Note(text=end))
                session.flush()
                session.rollback()
                found.append((said, stand.notes()))
        return found

    kept = ["commit", "rollback", "close"]
    assert stand.same(program) == [([], kept[: many + 1]) for many in range(3)]


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_connection_after_reads_without_options_is_just_one(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            connection = session.connection()
            connection.execute(sa.update(Ware).values(stock=1))
            seen = stock_of(session), connection.in_transaction(), session.in_transaction()
            session.rollback()
            return seen, stock_of(session)

    assert stand.same(program) == ((1, True, True), 5)


@pytest.mark.on("psycopg", "asyncpg")
def test_settings_of_the_transaction_after_reads(stand: Stand) -> None:
    """``SET LOCAL`` by hand: it holds for what comes after it, until the end."""

    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            session.execute(sa.text("SET LOCAL statement_timeout = 4321"))
            names(session)
            session.get(Ware, 2)
            seen = [session.scalar(sa.text("SHOW statement_timeout"))]
            session.commit()
            names(session)
            return [*seen, session.scalar(sa.text("SHOW statement_timeout"))]

    assert stand.same(program, size=1) == ["4321ms", "0"]


@pytest.mark.on("pysqlite", "psycopg")
def test_two_phases_after_reads(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.session(twophase=not stand.sqlite) as session:
            names(session)
            session.add(Note(text="prepared"))
            session.commit()
            return stand.notes(), names(session)

    assert stand.same(program) == (["prepared"], ["tea", "rum"])


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_savepoint_after_reads(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            nested = session.begin_nested()
            ware.stock = 1
            session.flush()
            nested.rollback()
            seen = [ware.stock, names(session)]
            session.commit()
            return [*seen, stand.elsewhere("SELECT stock FROM wares WHERE id = 1")]

    assert stand.same(program) == [5, ["tea", "rum"], [5]]
