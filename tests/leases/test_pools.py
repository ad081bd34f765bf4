"""Other pools than ours: what they promise is kept, and what they refuse is refused."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from tests.leases.stand import Note, Side, Stand, Ware, names, raised, stock_of

ONE_FILE = {"connect_args": {"check_same_thread": False}}


def at_work(side: Side) -> Any:
    """Reads, a write that is undone, one that is saved, and reads between and behind them."""
    found: list[Any] = []
    with side.request() as session:
        found += [names(session), stock_of(session)]
        session.add(Note(text="undone"))
        session.flush()
        found.append(side.stand.notes())
        session.rollback()
        found += [names(session), len(session.scalars(sa.select(Note)).all())]
        session.add(Note(text="saved"))
        session.commit()
        found += [session.get_one(Ware, 1).parts[0].name, side.stand.notes()]
    return [*found, side.stand.is_writable()]


RIGHT = [["tea", "rum"], 5, [], ["tea", "rum"], 0, "leaf", ["saved"], True]


@pytest.mark.on("pysqlite", "psycopg", "psycopg2", "asyncpg")
def test_a_request_connects_once_without_a_pool(stand: Stand) -> None:
    """NullPool: for each connection that a session needs a new one, and no more of them than with stock."""

    def program(side: Side) -> Any:
        opened: list[str] = []
        with side.engine.connect():  # what the dialect asks at its first connection
            pass
        event.listen(side.engine, "connect", lambda *args: opened.append("opened"))
        event.listen(side.engine, "close", lambda *args: opened.append("closed"))
        with side.request() as session:
            names(session)
            ware = session.get_one(Ware, 1)
            reads = [ware.parts[0].name, stock_of(session)]
        alone = list(opened)
        with side.request() as session:
            names(session)
            session.add(Note(text="written"))
            session.commit()
        return reads, alone, opened, stand.notes()

    once = ["opened", "closed"]
    assert stand.same(program, poolclass=NullPool) == (["leaf", 5], once, once * 2, ["written"])


@pytest.mark.on("psycopg", "psycopg2")
def test_a_result_that_is_dropped_half_read_leaves_no_autocommit_behind(stand: Stand) -> None:
    """Of SQLAlchemy's own pool, which nobody tells in which mode a connection comes back by its finalizer."""

    def program(side: Side) -> Any:
        with side.request() as session:
            first = session.scalars(sa.select(sa.func.generate_series(1, 1000))).fetchmany(1)
            session.get(Ware, 1)
            session.scalars(sa.select(sa.func.generate_series(1, 1000)))
            gc.collect()
        with side.engine.connect() as connection:
            connection.execute(sa.insert(Note).values(text="undone"))
            connection.rollback()
        return first, stand.notes()

    assert stand.same(program, poolclass=QueuePool, pool_size=1, max_overflow=0) == ([1], [])


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("poolclass", [StaticPool, SingletonThreadPool, AssertionPool, NullPool, QueuePool])
def test_a_session_at_work(stand: Stand, poolclass: Any) -> None:
    assert stand.same(at_work, poolclass=poolclass) == RIGHT


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("poolclass", [StaticPool, SingletonThreadPool, AssertionPool])
def test_two_sessions_at_once(stand: Stand, poolclass: Any) -> None:
    """With one connection for all, what one has written the other sees; an AssertionPool refuses the second."""

    def program(side: Side) -> Any:
        found: list[Any] = []
        with side.session() as first, side.session() as second:
            found.append(raised(lambda: names(first)))
            found.append(raised(lambda: second.execute(sa.update(Ware).values(stock=8))))
            found.append(raised(lambda: found.append(stock_of(first))))
            found.append(raised(lambda: second.rollback()))
            first.rollback()
            found.append(raised(lambda: found.append(stock_of(second))))
        return [*found, stand.elsewhere("SELECT stock FROM wares WHERE id = 1")]

    stand.same(program, poolclass=poolclass, tidy=False)


@pytest.mark.on("pysqlite")
@pytest.mark.parametrize("poolclass", [StaticPool, SingletonThreadPool])
def test_a_database_in_memory(stand: Stand, poolclass: Any) -> None:
    """Which is its connection: who reads from another one finds nothing there."""

    def program(side: Side) -> Any:
        Ware.metadata.create_all(side.engine)
        with side.request() as session:
            session.add(Ware(id=7, name="gin"))
            session.commit()
        with side.request() as session:
            seen = names(session)
            session.add(Ware(id=8, name="rye"))
            session.flush()
            session.rollback()
            return seen, names(session)

    assert stand.same(program, url=sa.make_url("sqlite://"), poolclass=poolclass, **ONE_FILE) == (["gin"], ["gin"])


@pytest.mark.on("pysqlite", "psycopg")
def test_each_thread_has_its_own(stand: Stand) -> None:
    """SingletonThreadPool: a session's reads are its thread's connection's, and see its settings."""

    def program(side: Side) -> Any:
        found: list[Any] = []

        def work() -> None:
            connections = []
            with side.session() as session:
                event.listen(side.engine, "before_cursor_execute", note := _noting(connections))
                names(session)
                names(session)
                event.remove(side.engine, "before_cursor_execute", note)
            found.append((len(set(connections)), len(connections)))

        for _ in range(2):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        work()
        return found

    assert stand.same(program, poolclass=SingletonThreadPool, tidy=False) == [(1, 2)] * 3


def _noting(connections: list[int]) -> Any:
    def note(conn: sa.Connection, *args: Any) -> None:
        connections.append(id(conn.connection.driver_connection))

    return note


TOUCHES: dict[str, Any] = {
    "conn.info": lambda conn: conn.info.setdefault("seen", 1),
    "conn.connection": lambda conn: conn.connection,
    "the driver's connection": lambda conn: conn.connection.driver_connection,
    "conn.get_isolation_level()": lambda conn: conn.get_isolation_level(),
    "its attributes": lambda conn: (conn.closed, conn.invalidated, conn.in_transaction(), conn.get_execution_options()),
}


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("when", ["before_cursor_execute", "after_execute"])
def test_a_listener_that_touches_its_connection_leaves_none_behind(stand: Stand, when: str, touch: str) -> None:
    def program(side: Side) -> Any:
        event.listen(side.engine, when, lambda conn, *args: TOUCHES[touch](conn) and None)
        found = []
        for _ in range(3):
            with side.request() as session:
                found.append((names(session), session.get_one(Ware, 2).name))
            found.append(side.out)
        return found

    assert stand.same(program, size=1) == [(["tea", "rum"], "rum"), 0] * 3


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("reset", ["rollback", "commit", None])
def test_a_queue_pool_of_the_users(stand: Stand, reset: Any) -> None:
    """Whatever it does with what is given back: ``rollback``, ``commit``, nothing."""

    def program(side: Side) -> Any:
        found = at_work(side)
        with side.request() as session:
            names(session)
            session.execute(sa.insert(Note).values(text="left"))
        return found[:-1], stand.notes()

    options = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_reset_on_return": reset}
    found, notes = stand.same(program, **options)
    assert (found, notes) == (RIGHT[:-1], ["saved"])


@pytest.mark.on("psycopg_async", "asyncpg", "aiosqlite")
def test_an_async_queue_pool_of_the_users(stand: Stand) -> None:
    assert stand.same(at_work, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0) == RIGHT


@pytest.mark.on("psycopg", "pysqlite")
def test_a_queue_pool_of_the_users_lends_as_well(stand: Stand) -> None:
    """And has one connection of each mode: what other users of the pool get is as they expect it."""

    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            out = side.out
            with side.engine.connect() as other:
                other.execute(sa.update(Ware).values(stock=99))
                other.rollback()
            return out, stock_of(session), side.out

    assert stand.run(program, poolclass=QueuePool, pool_size=1, max_overflow=0) == (0, 5, 0)
