"""A result that is not read to its end: no more is read than the caller asks for, and nothing is lost of the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm

from respool import Database
from tests.leases.stand import Note, Side, Stand, Ware, names, raised, stock_of

NUMBERS = sa.table("numbers", sa.column("n"))
ALL = sa.select(NUMBERS.c.n).order_by(NUMBERS.c.n)

#: More than is read in advance.
MANY = 1000


def numbered(stand: Stand, many: int = MANY) -> None:
    """A table with so many numbers, from one on."""
    stand.elsewhere("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
    counting = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {many})"
    stand.elsewhere(f"INSERT INTO numbers {counting} SELECT n FROM c")


class Steps:
    """How much SQLite has to do: calls for each hundred steps of its machine."""

    def __init__(self, engine: sa.Engine) -> None:
        self.calls = 0
        event.listen(engine, "connect", lambda dbapi_connection, record: self._watch(dbapi_connection))

    def _watch(self, dbapi_connection: Any) -> None:
        driver: sqlite3.Connection = dbapi_connection
        driver.set_progress_handler(self._step, 100)

    def _step(self) -> int:
        self.calls += 1
        return 0

    def taken(self) -> int:
        calls, self.calls = self.calls, 0
        return calls


LITTLE: dict[str, Callable[[orm.Session], Any]] = {
    "first": lambda s: s.execute(ALL).first(),
    "fetchone": lambda s: s.execute(ALL).fetchone(),
    "next": lambda s: next(iter(s.scalars(ALL))),
    "fetchmany": lambda s: s.execute(ALL).fetchmany(3),
    "partitions": lambda s: next(s.execute(ALL).partitions(5)),
    "break": lambda s: [row for row, _ in zip(s.execute(ALL), range(4), strict=False)],
    "mappings": lambda s: s.execute(ALL).mappings().first(),
    "unique": lambda s: s.execute(ALL).unique().first(),
    "nothing": lambda s: s.execute(ALL),
    "closed": lambda s: s.execute(ALL).close(),
    "scalar": lambda s: s.scalar(ALL),
}


@pytest.mark.on("pysqlite")
@pytest.mark.parametrize("read", LITTLE)
def test_a_few_rows_of_many_cost_a_few(stand: Stand, read: str) -> None:
    def program(side: Side) -> Any:
        numbered(stand, 5000)
        steps = Steps(side.engine)
        with side.request() as session:
            stock_of(session)
            steps.taken()
            LITTLE[read](session)
            few = steps.taken()
        with side.request() as session:
            session.execute(ALL).all()
        return few, steps.taken()

    for stock in (True, False):
        few, all_of_them = stand.run(program, stock=stock)
        assert few * 10 < all_of_them, "SQLAlchemy" if stock else "ours"


def read_on(result: Any) -> Any:
    """What comes of reading the rest: how many rows, or the error."""
    try:
        return len(result.all())
    except Exception as error:
        return type(error).__name__


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "psycopg2", "psycopg_async", "asyncpg")
def test_row_by_row_to_the_end(stand: Stand) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        found: list[Any] = []
        with side.request() as session:
            result = session.execute(ALL)
            found += [next(result)[0], len(result.fetchmany(7)), len(result.fetchmany()), result.fetchone()[0]]
            found += [len(part) for part in result.partitions(400)]
            found += [result.all(), result.fetchone(), raised(lambda: result.one())]
            if not side.stock:
                assert side.out == 0, "exhausted, and not given back"
        return found

    assert stand.same(program, size=1) == [1, 7, 1, 10, 400, 400, 190, [], None, "NoResultFound"]


def next_statement(side: Side, session: orm.Session, result: Any) -> None:
    assert names(session) == ["tea", "rum"]


def write(side: Side, session: orm.Session, result: Any) -> None:
    session.add(Note(text="written"))
    session.flush()


def lazy_load(side: Side, session: orm.Session, result: Any) -> None:
    assert session.get_one(Ware, 1).parts[0].name == "leaf"


def connection(side: Side, session: orm.Session, result: Any) -> None:
    session.connection()


def same_again(side: Side, session: orm.Session, result: Any) -> None:
    again = session.execute(ALL)
    assert next(again) == (1,)


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
@pytest.mark.parametrize("meanwhile", [next_statement, write, lazy_load, connection, same_again])
def test_the_rest_can_be_read_after_what_comes_in_between(stand: Stand, meanwhile: Any) -> None:
    """With one connection in the pool: whoever needs it gets it, and the rows are there all the same."""

    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            result = session.execute(ALL)
            first = next(result)[0], len(result.fetchmany(200))
            meanwhile(side, session, result)
            rest = read_on(result)
            session.rollback()
        return first, rest, stand.is_writable()

    assert stand.same(program, size=1) == ((1, 200), MANY - 201, True)


def close_result(session: orm.Session, result: Any) -> None:
    result.close()


def exhaust(session: orm.Session, result: Any) -> None:
    for _ in result:
        pass


def commit(session: orm.Session, result: Any) -> None:
    session.commit()


def rollback(session: orm.Session, result: Any) -> None:
    session.rollback()


def close(session: orm.Session, result: Any) -> None:
    session.close()


def expunge(session: orm.Session, result: Any) -> None:
    session.expunge_all()
    session.rollback()


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
@pytest.mark.parametrize("end", [close_result, exhaust, commit, rollback, close, expunge])
def test_the_connection_comes_back(stand: Stand, end: Any) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            result = session.execute(ALL)
            for _ in range(150):
                next(result)
            end(session, result)
            return side.out, stand.is_writable()

    assert stand.run(program, size=1) == (0, True)


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("end", [commit, rollback, close])
def test_what_is_read_after_the_end_of_its_transaction_is_as_with_stock(stand: Stand, end: Any) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            result = session.execute(ALL)
            next(result)
            end(session, result)
            return read_on(result), stand.is_writable()

    stand.same(program, size=1)


@pytest.mark.on("pysqlite", "psycopg")
def test_the_end_of_the_scope_gives_it_back(stand: Stand) -> None:
    """A generator that goes on reading after it is refused, as ever."""

    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            result = session.execute(ALL)
            next(result)
        return side.out, raised(lambda: result.all()), stand.is_writable()

    assert stand.run(program, size=1) == (0, "ScopeEnded", True)


@pytest.mark.on("pysqlite", "psycopg")
def test_released_gives_it_back_and_the_rest_is_there_afterwards(stand: Stand) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        database: Database = side.database
        with side.request() as session:
            result = session.execute(ALL)
            next(result)
            with database.released():
                out = side.out
                free = stand.is_writable()
            return out, free, read_on(result), side.out

    assert stand.run(program, size=1) == (0, True, MANY - 1, 0)


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
def test_a_pool_of_one_serves_what_is_read_while_rows_are_read(stand: Stand) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        found = 0
        with side.request() as session:
            for (number,) in session.execute(ALL):
                if number % 100 == 1:
                    session.expire_all()
                    found += len(session.get_one(Ware, 1).parts)
                    session.execute(sa.update(Ware).where(Ware.id == 2).values(stock=number))
            session.commit()
        return found, stand.elsewhere("SELECT stock FROM wares WHERE id = 2")

    assert stand.same(program, size=1) == (10, [901])


@pytest.mark.on("pysqlite", "psycopg")
def test_two_half_read_results_at_once(stand: Stand) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            first, second = session.execute(ALL), session.scalars(ALL)
            pairs = [(next(first)[0], next(second)) for _ in range(300)]
            return pairs[-1], read_on(first), read_on(second)

    assert stand.same(program, size=1) == ((300, 300), MANY - 300, MANY - 300)


@pytest.mark.on("pysqlite", "psycopg")
def test_results_that_nobody_looks_at_do_not_pile_up(stand: Stand) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            kept = [session.execute(ALL) for _ in range(4)]
            return [read_on(each) for each in kept]

    assert stand.same(program, size=1) == [MANY] * 4


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
@pytest.mark.parametrize("how", ["option", "method"])
def test_yield_per(stand: Stand, how: str) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            if how == "option":
                result = session.execute(ALL, execution_options={"yield_per": 300})
            else:
                result = session.execute(ALL).yield_per(300)
            sizes = [len(part) for part in result.partitions()]
            ores = [ware.name for ware in session.scalars(sa.select(Ware).execution_options(yield_per=1))]
        return sizes, ores

    assert stand.same(program, size=1) == ([300, 300, 300, 100], ["tea", "rum"])


@pytest.mark.on("pysqlite", "psycopg")
def test_changes_in_between_are_seen_as_the_database_has_it(stand: Stand) -> None:
    """Rows that another session deletes meanwhile were read by a statement that began before."""

    def program(side: Side) -> Any:
        numbered(stand)
        if stand.sqlite:
            stand.elsewhere("PRAGMA journal_mode = WAL")
        with side.request() as session:
            result = session.execute(ALL)
            next(result)
            stand.elsewhere("DELETE FROM numbers WHERE n > 500")
            return read_on(result), len(session.execute(ALL).all())

    found = stand.same(program, size=2)
    assert found[0] == MANY - 1


@pytest.mark.on("pysqlite", "psycopg")
def test_a_frozen_result_and_merged_ones(stand: Stand) -> None:
    def program(side: Side) -> Any:
        numbered(stand)
        with side.request() as session:
            frozen = session.execute(ALL).freeze()
            first, second = session.execute(ALL.limit(3)), session.execute(ALL.offset(998))
            return len(frozen().all()), len(frozen().all()), first.merge(second).scalars().all()

    assert stand.same(program, size=1) == (MANY, MANY, [1, 2, 3, 999, 1000])
