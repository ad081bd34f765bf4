"""What hangs on "there was a transaction": after reads, ``rollback()`` and ``commit()`` do to objects what they ever did."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, inspect, orm

from tests.leases.stand import Note, Part, Side, Stand, Ware, names, raised


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
def test_a_loop_that_waits_for_a_change_sees_it(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            seen = [ware.stock]
            for number in (6, 7):
                stand.stock_is(number)
                seen.append(session.get_one(Ware, 1).stock)
                session.rollback()
                seen.append(session.get_one(Ware, 1).stock)
            return [*seen, ware.stock]

    assert stand.same(program) == [5, 5, 6, 6, 7, 7]


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_attributes_and_collections_are_read_anew_after_a_rollback(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            seen: list[Any] = [len(ware.parts), ware.stock]
            stand.stock_is(8)
            stand.elsewhere("INSERT INTO parts VALUES (3, 'bag', 1)")
            session.rollback()
            seen += [sorted(inspect(ware).unloaded), ware.stock, len(ware.parts)]
            return seen

    assert stand.same(program) == [1, 5, ["id", "name", "parts", "stock", "tenant"], 8, 2]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_row_that_is_gone_is_told_after_a_rollback(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            part = session.get_one(Part, 1)
            stand.elsewhere("DELETE FROM parts")
            before = raised(lambda: part.name)
            session.rollback()
            return before, raised(lambda: part.name)

    assert stand.same(program) == (None, "ObjectDeletedError")


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_what_was_not_flushed_is_taken_back(stand: Stand) -> None:
    """New objects leave the session, deleted ones stay, changes are gone."""

    def program(side: Side) -> Any:
        with side.request() as session:
            ware, part, note = session.get_one(Ware, 1), session.get_one(Part, 2), Note(text="new")
            with session.no_autoflush:
                session.add(note)
                session.delete(part)
                ware.name = "changed"
                names(session)
                session.rollback()
            seen = note in session, inspect(note).transient, part in session.deleted, ware.name
            session.commit()
            return seen, stand.notes(), stand.elsewhere("SELECT count(*) FROM parts"), names(session)

    assert stand.same(program) == ((False, True, False, "tea"), [], [2], ["tea", "rum"])


@pytest.mark.on("pysqlite", "psycopg")
def test_new_objects_and_a_rollback_with_nothing_but_reads_between(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            note = Note(text="new")
            session.add(note)
            session.rollback()
            session.add(note)
            session.expunge(note)
            session.rollback()
            session.add(note)
            session.commit()
            return stand.notes(), inspect(note).persistent

    assert stand.same(program) == (["new"], True)


EVENTS = (
    "after_begin",
    "after_transaction_create",
    "after_transaction_end",
    "before_commit",
    "after_commit",
    "after_rollback",
    "after_soft_rollback",
    "before_flush",
    "after_flush",
    "persistent_to_detached",
)


def heard_of(session: orm.Session, names_of_events: tuple[str, ...]) -> list[str]:
    heard: list[str] = []
    for name in names_of_events:
        event.listen(session, name, lambda *args, name=name: heard.append(name))
    return heard


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("end", ["rollback", "commit", "close", "reset", "invalidate"])
@pytest.mark.parametrize("listened", ["all", "ends"])
def test_the_events_of_an_end_after_reads(stand: Stand, end: str, listened: str) -> None:
    """With listeners of the beginning a read begins; without them it is leased, and the end is told all the same."""

    def program(side: Side) -> Any:
        events = EVENTS if listened == "all" else EVENTS[3:]
        found = []
        with side.request() as session:
            heard = heard_of(session, events)
            for _ in range(2):
                session.get(Ware, 1)
                names(session)
                getattr(session, end)()
                found.append(list(heard))
                heard.clear()
                getattr(session, end)()
                found.append(list(heard))
                heard.clear()
        return found

    stand.same(program)


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_rollback_is_told_once_for_each_transaction(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            heard = heard_of(session, ("after_rollback", "after_soft_rollback"))
            names(session)
            session.rollback()
            session.rollback()
            return heard

    assert stand.same(program) == ["after_rollback", "after_soft_rollback"]


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
def test_a_commit_after_reads_expires_where_it_is_asked_to(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.session(expire_on_commit=True) as session:
            ware = session.get_one(Ware, 1)
            seen = [ware.stock]
            stand.stock_is(6)
            seen.append(ware.stock)
            session.commit()
            return [*seen, ware.stock]

    assert stand.same(program) == [5, 5, 6]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_commit_after_reads_leaves_objects_alone_by_default(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            stand.stock_is(6)
            session.commit()
            return ware.stock, session.get_one(Ware, 1).stock, session.get_one(Ware, 1, populate_existing=True).stock

    assert stand.same(program) == (5, 5, 6)


@pytest.mark.on("pysqlite", "psycopg")
def test_a_rollback_without_a_transaction_does_nothing(stand: Stand) -> None:
    """After a commit nothing has been read: a rollback has nothing to end then, and expires nothing."""

    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            session.commit()
            stand.stock_is(6)
            session.rollback()
            seen = [ware.stock]
            names(session)
            session.rollback()
            return [*seen, ware.stock]

    assert stand.same(program) == [5, 6]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_close_after_reads_lets_go_of_objects(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            session.close()
            return inspect(ware).detached, ware.stock, session.get_one(Ware, 1) is ware

    assert stand.same(program) == (True, 5, False)


@pytest.mark.on("pysqlite", "psycopg")
def test_an_update_counts_from_what_a_rollback_made_to_be_read_anew(stand: Stand) -> None:
    """The lost update that an object of before the rollback would have made."""

    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            stand.stock_is(50)
            session.rollback()
            ware.stock -= 1
            session.commit()
        return stand.elsewhere("SELECT stock FROM wares WHERE id = 1")

    assert stand.same(program) == [49]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_failed_read_and_a_rollback_expire_as_well(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            ware = session.get_one(Ware, 1)
            refused = raised(lambda: session.execute(sa.select(sa.table("missing", sa.column("x")))).all())
            stand.stock_is(6)
            session.rollback()
            return refused is None, ware.stock

    assert stand.same(program) == (False, 6)
