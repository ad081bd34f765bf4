"""What a driver prepares on the server: no read fails over it after a migration, and no more is left than by stock."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tests.leases.stand import POSTGRES, Note, Side, Stand, Ware, names, raised, stock_of

#: But for pings, which with psycopg are a statement as any other.
_LEFT = "SELECT count(*) FROM pg_prepared_statements WHERE statement <> ';'"


def read(side: Side, times: int) -> list[Any]:
    """So many requests that read; the class of each one's error, if it has one."""
    outcomes: list[Any] = []
    for _ in range(times):
        with side.request() as session:
            outcomes.append(raised(lambda session=session: session.scalars(sa.select(Ware)).all()))
            session.rollback()
    return outcomes


MIGRATIONS = [
    "ALTER TABLE wares ALTER stock TYPE bigint",
    "ALTER TABLE wares ALTER name TYPE varchar(50)",
    "ALTER TABLE wares RENAME TO old; CREATE TABLE wares (id bigint, name text, stock int, tenant text)",
]


@pytest.mark.on("psycopg", "psycopg_async", "psycopg2")
@pytest.mark.parametrize("migration", MIGRATIONS, ids=["number", "text", "table"])
def test_reads_go_on_after_a_migration(stand: Stand, migration: str) -> None:
    def program(side: Side) -> Any:
        before = read(side, 8)
        stand.elsewhere(migration)
        return before, read(side, 3)

    assert stand.same(program, size=1) == ([None] * 8, [None] * 3)


@pytest.mark.on("psycopg", "psycopg_async", "psycopg2")
def test_a_migration_while_a_session_reads(stand: Stand) -> None:
    """No read holds a lock on the table, so that it can be changed between two of them."""

    def program(side: Side) -> Any:
        with side.request() as session:
            for _ in range(8):
                session.scalars(sa.select(Ware)).all()
            stand.elsewhere(MIGRATIONS[0])
            return raised(lambda: session.scalars(sa.select(Ware)).all()), stock_of(session)

    assert stand.run(program, size=1) == (None, 5)


@pytest.mark.on("asyncpg")
def test_asyncpg_says_the_same_after_a_migration(stand: Stand) -> None:
    """Its cache is its own, and SQLAlchemy's of it: stale once, with stock as well, and well again."""

    def program(side: Side) -> Any:
        before = read(side, 3)
        stand.elsewhere(MIGRATIONS[0])
        return before, read(side, 3)

    stand.same(program, size=1)


@pytest.mark.on("psycopg", "psycopg_async")
@pytest.mark.parametrize("threshold", [0, 1, 5, None])
def test_no_more_is_prepared_and_left_than_by_stock(stand: Stand, threshold: int | None) -> None:
    """``prepare_threshold`` as given counts for what runs in transactions, also after leased reads."""

    def program(side: Side) -> Any:
        read(side, 7)
        left = [left_on_the_server(side)]
        with side.request() as session:
            names(session)
            session.add(Note(text="held"))
            session.flush()
            for _ in range(6):
                stock_of(session)
            within = session.scalar(sa.text(_LEFT))
            session.commit()
        left.append(left_on_the_server(side))
        read(side, 2)
        left.append(left_on_the_server(side))
        raw = side.engine.raw_connection()
        given = raw.driver_connection.prepare_threshold
        raw.close()
        return left, bool(within), given

    options: dict[str, Any] = {"size": 1, "connect_args": {"prepare_threshold": threshold}}
    (theirs, *_), (ours, *rest) = stand.run(program, stock=True, **options), stand.run(program, **options)
    assert all(mine <= his for mine, his in zip(ours, theirs, strict=True)), (ours, theirs)
    assert rest == [threshold is not None, threshold]


def left_on_the_server(side: Side) -> Any:
    raw = side.engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute(_LEFT, prepare=False) if side.stand.driver == "psycopg" else cursor.execute(_LEFT)
    ((count,),) = cursor.fetchall()
    cursor.close()
    raw.close()
    return count


@pytest.mark.on("psycopg", "psycopg_async")
def test_nothing_is_prepared_for_reads_alone(stand: Stand) -> None:
    """Behind PgBouncer in transaction mode the next read may come to another server, which knows of nothing."""

    def program(side: Side) -> Any:
        with side.request() as session:
            for _ in range(12):
                names(session)
        return left_on_the_server(side)

    assert stand.same(program, size=1) == 0


@pytest.mark.on("asyncpg")
def test_with_names_for_asyncpgs_statements_reads_are_transactions(stand: Stand) -> None:
    """SQLAlchemy's recipe for PgBouncer: PREPARE and EXECUTE have to come to the same server, and only BEGIN sees to it."""

    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            session.get(Ware, 1)
            return side.out, stand.last_words()

    options = {
        "connect_args": {"prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__", "statement_cache_size": 0}
    }
    assert stand.run(program, **options) == (0, ["ROLLBACK"])


@pytest.mark.on(*POSTGRES)
def test_without_any_of_it_reads_run_alone(stand: Stand) -> None:
    """The measure of the test above."""

    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            return side.out, stand.last_words()

    assert stand.run(program) == (0, ["SELECT"])
