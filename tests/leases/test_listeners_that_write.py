"""A listener that writes while a session reads: what it wrote is the session's, saved by its commit and gone without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.pool import StaticPool

from tests.leases.stand import Note, Side, Stand, Ware, names, raised

_INSERT = "INSERT INTO notes (text) VALUES ('seen')"


def by_sql(conn: sa.Connection, cursor: Any) -> None:
    conn.exec_driver_sql(_INSERT)


def by_core(conn: sa.Connection, cursor: Any) -> None:
    conn.execute(sa.insert(Note).values(text="seen"))


def on_another_cursor(conn: sa.Connection, cursor: Any) -> None:
    other = conn.connection.cursor()
    other.execute(_INSERT)
    other.close()


def on_the_same_cursor(conn: sa.Connection, cursor: Any) -> None:
    cursor.execute(_INSERT)


def on_the_drivers_connection(conn: sa.Connection, cursor: Any) -> None:
    conn.connection.driver_connection.execute(_INSERT)


Write = Callable[[sa.Connection, Any], None]
BEFORE: list[Write] = [by_sql, by_core, on_another_cursor, on_the_same_cursor]
AFTER: list[Write] = [by_sql, by_core, on_another_cursor]


def writing(side: Side, when: str, write: Write) -> Callable[[], None]:
    """Write a note for each read of wares; returns what ends it."""

    def note(conn: sa.Connection, *what: Any) -> None:
        statement = str(what[1] if "cursor" in when else what[0])
        if "FROM wares" in statement:
            write(conn, what[0] if "cursor" in when else None)

    event.listen(side.engine, when, note)
    return lambda: event.remove(side.engine, when, note)


def closed(session: orm.Session) -> None:
    session.close()


def committed(session: orm.Session) -> None:
    session.commit()


def rolled_back(session: orm.Session) -> None:
    session.rollback()


def left(session: orm.Session) -> None:
    """The end of the request is the end."""


def notes_at_ends(side: Side) -> list[Any]:
    """What is saved when requests that read have ended, each in its way; and whether anybody else can write then."""
    found: list[Any] = []
    for end in (left, closed, rolled_back, committed, rolled_back):
        with side.request() as session:
            names(session)
            end(session)
        found.append((end.__name__, len(side.stand.notes()), side.stand.is_writable()))
    with side.request(commit="on_success") as session:
        session.get_one(Ware, 1)
        names(session)
    found.append((len(side.stand.notes()), side.stand.is_writable()))
    return found


RIGHT = [
    ("left", 0, True),
    ("closed", 0, True),
    ("rolled_back", 0, True),
    ("committed", 1, True),
    ("rolled_back", 1, True),
    (3, True),
]


@pytest.mark.on("pysqlite", "psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("write", BEFORE)
def test_before_a_statement(stand: Stand, write: Write) -> None:
    def program(side: Side) -> Any:
        writing(side, "before_cursor_execute", write)
        return notes_at_ends(side)

    assert stand.same(program, size=1) == RIGHT


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
@pytest.mark.parametrize("write", AFTER)
def test_after_a_statement(stand: Stand, write: Write) -> None:
    def program(side: Side) -> Any:
        writing(side, "after_cursor_execute", write)
        return notes_at_ends(side)

    assert stand.same(program, size=1) == RIGHT


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("when", ["before_execute", "after_execute"])
@pytest.mark.parametrize("write", [by_sql, on_another_cursor])
def test_around_an_element(stand: Stand, when: str, write: Write) -> None:
    def program(side: Side) -> Any:
        writing(side, when, write)
        return notes_at_ends(side)

    assert stand.same(program, size=1) == RIGHT


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("when", ["before_cursor_execute", "after_cursor_execute"])
def test_with_the_drivers_own_methods(stand: Stand, when: str) -> None:
    def program(side: Side) -> Any:
        writing(side, when, on_the_drivers_connection)
        return notes_at_ends(side)

    assert stand.same(program, size=1) == RIGHT


@pytest.mark.on("pysqlite")
@pytest.mark.parametrize("write", BEFORE)
def test_in_the_one_connection_of_a_static_pool(stand: Stand, write: Write) -> None:
    def program(side: Side) -> Any:
        writing(side, "before_cursor_execute", write)
        return notes_at_ends(side)

    options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    assert stand.same(program, **options) == RIGHT


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_one_session_that_goes_on_reading_and_writing(stand: Stand) -> None:
    """What the listener wrote is seen by the session's later reads, and goes with a later rollback."""

    def program(side: Side) -> Any:
        stop = writing(side, "before_cursor_execute", by_sql)
        found: list[Any] = []
        with side.request() as session:
            count = sa.select(sa.func.count()).select_from(Note)
            names(session)
            found.append(session.scalar(count))
            session.add(Note(text="by hand"))
            session.flush()
            found.append((session.scalar(count), stand.notes()))
            session.rollback()
            found.append((session.scalar(count), stand.notes()))
            names(session)
            stop()
            found.append((names(session), session.scalar(count)))
            session.commit()
        return [*found, stand.notes()]

    assert stand.same(program, size=1) == [1, (2, []), (0, []), (["tea", "rum"], 1), ["seen"]]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")  # by SQLite's driver a RELEASE commits, with ours it does not
def test_a_savepoint_of_the_listeners(stand: Stand) -> None:
    def program(side: Side) -> Any:
        def within(conn: sa.Connection, cursor: Any) -> None:
            with conn.begin_nested():
                conn.exec_driver_sql(_INSERT)
            nested = conn.begin_nested()
            conn.exec_driver_sql(_INSERT)
            nested.rollback()

        writing(side, "before_cursor_execute", within)
        with side.request() as session:
            found = [(raised(lambda: names(session)), len(stand.notes()))]
            session.commit()
        return [*found, stand.notes()]

    assert stand.same(program, size=1) == [(None, 0), ["seen"]]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_session_of_the_listeners_own_is_its_own(stand: Stand) -> None:
    """An audit on a second connection, committed by itself, whatever becomes of the request."""

    def program(side: Side) -> Any:
        def aside(conn: sa.Connection, cursor: Any) -> None:
            with side.session() as audit:
                audit.add(Note(text="audit"))
                audit.commit()

        writing(side, "before_cursor_execute", aside)
        with side.request() as session:
            seen = names(session)
            session.rollback()
        return seen, stand.notes()

    assert stand.same(program, size=2) == (["tea", "rum"], ["audit"])


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize(
    "says, left",
    [
        ("SELECT pg_advisory_lock(7)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
        ("CREATE TEMP TABLE mine (x int)", "SELECT count(*) FROM pg_class WHERE relname = 'mine'"),
        ("SET work_mem = '4321kB'", None),
        ("LISTEN wares", None),
    ],
    ids=["advisory lock", "temporary table", "setting", "listen"],
)
def test_what_a_listener_leaves_on_the_server_is_left_as_by_stock(stand: Stand, says: str, left: str | None) -> None:
    """A session's lock outlives its transaction, a temporary table of an open one does not: not ours to judge."""

    def program(side: Side) -> Any:
        once: list[bool] = []

        @event.listens_for(side.engine, "before_cursor_execute")
        def say(conn: sa.Connection, cursor: Any, statement: str, *args: Any) -> None:
            if not once and "wares" in statement:
                once.append(True)
                cursor.execute(says)

        with side.request() as session:
            seen = names(session)
            meanwhile = left and stand.elsewhere(left)
        with side.engine.connect() as connection:
            work_mem = connection.scalar(sa.text("SHOW work_mem"))
            channels = connection.scalars(sa.text("SELECT pg_listening_channels()")).all()
        return seen, meanwhile, left and stand.elsewhere(left), work_mem, channels

    stand.same(program, size=1)
