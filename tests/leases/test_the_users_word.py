"""``read_only()`` and ``respool_read=True`` are the user's word; one that was not true poisons no connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from respool import Session
from respool.errors import ReadOnly
from tests.leases.stand import POSTGRES, Note, Side, Stand, names, raised

INSERT = sa.text("INSERT INTO notes (text) VALUES ('untrue')")
RETURNING = sa.text("INSERT INTO notes (text) VALUES ('untrue') RETURNING id")


def by_option(session: orm.Session, statement: sa.TextClause) -> None:
    session.execute(statement, execution_options={"respool_read": True})


def by_option_of_the_statement(session: orm.Session, statement: sa.TextClause) -> None:
    session.execute(statement.execution_options(respool_read=True))


def by_block(session: orm.Session, statement: sa.TextClause) -> None:
    assert isinstance(session, Session)
    with session.read_only():
        session.execute(statement)


Word = Callable[[orm.Session, sa.TextClause], None]
WORDS: list[Word] = [by_option, by_option_of_the_statement, by_block]


@pytest.mark.on("pysqlite", "aiosqlite")
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("statement", [INSERT, RETURNING], ids=["insert", "returning"])
def test_sqlite_refuses_to_write(stand: Stand, word: Word, statement: sa.TextClause) -> None:
    """No idle connection is left in a transaction, whose rows the next request would save: nobody else could write."""

    def program(side: Side) -> Any:
        with side.request() as session:
            refused = raised(lambda: word(session, statement))
            free = side.out, stand.is_writable()
            seen = names(session)
        with side.request(commit="on_success") as session:
            names(session)
            session.add(Note(text="next"))
        return refused, free, seen, stand.notes()

    assert stand.run(program, size=1) == (ReadOnly.__name__, (0, True), ["tea", "rum"], ["next"])


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("word", WORDS)
def test_postgresql_is_left_in_order(stand: Stand, word: Word) -> None:
    """Whether it was saved or refused: by the end of the statement it is decided, for all."""

    def program(side: Side) -> Any:
        with side.request() as session:
            refused = raised(lambda: word(session, INSERT))
            saved = stand.notes()
            free = stand.is_writable(), set(stand.backends()) <= {"idle"}
            session.rollback()
        with side.request(commit="on_success") as session:
            names(session)
            session.add(Note(text="next"))
        return refused in (None, ReadOnly.__name__), free, stand.notes() == [*saved, "next"]

    assert stand.run(program, size=1) == (True, (True, True), True)


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_true_word_is_taken(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            found = []
            for word in WORDS:
                word(session, sa.text("SELECT 1"))
                found.append(side.out)
            return found

    assert stand.run(program, size=1) == [0, 0, 0]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_word_inside_of_a_transaction_changes_nothing(stand: Stand) -> None:
    """The transaction is there: what is written in it is its own, whatever was said."""

    def program(side: Side) -> Any:
        with side.request() as session:
            session.add(Note(text="held"))
            session.flush()
            session.execute(INSERT, execution_options={"respool_read": True})
            session.rollback()
        return stand.notes(), stand.is_writable()

    assert stand.same(program, size=1) == ([], True)


@pytest.mark.on("pysqlite")
def test_a_temporary_table_and_a_pragma_by_word(stand: Stand) -> None:
    """What SQLite does outside of transactions is nobody's to take back; the connection is in order all the same."""

    def program(side: Side) -> Any:
        with side.request() as session:
            by_option(session, sa.text("PRAGMA cache_size"))
            raised(lambda: by_option(session, sa.text("CREATE TEMP TABLE mine (x INTEGER)")))
            free = side.out, stand.is_writable()
            return free, names(session)

    assert stand.run(program, size=1) == ((0, True), ["tea", "rum"])
