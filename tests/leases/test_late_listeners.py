"""The rule is asked anew: listeners that come after a session's first read, or an engine's, or go again, count as well."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm

from tests.leases.stand import NAMED, OF_TENANT, Note, Side, Stand, Ware, names, stock_of

_TELL = "SET LOCAL app.tenant = 'a'"


@pytest.mark.on("psycopg", "asyncpg")
def test_after_begin_of_a_session_that_has_read(stand: Stand) -> None:
    def program(side: Side) -> Any:
        stand.elsewhere(NAMED)
        with side.request() as session:
            names(session)
            session.rollback()
            event.listen(session, "after_begin", lambda session, transaction, conn: conn.exec_driver_sql(_TELL))
            seen = [session.scalar(OF_TENANT), session.scalar(OF_TENANT)]
            session.rollback()
            return [*seen, session.scalar(OF_TENANT)]

    assert stand.same(program) == ["tea", "tea", "tea"]


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_after_begin_without_a_rollback_in_between(stand: Stand) -> None:
    """No transaction has begun at the first read: it begins, and is heard of, with what comes after the listener."""

    def program(side: Side) -> Any:
        begun: list[str] = []
        with side.request() as session:
            names(session)
            event.listen(session, "after_begin", lambda session, transaction, conn: begun.append("begun"))
            names(session)
            names(session)
            return begun, side.out

    assert stand.run(program) == (["begun"], 1)


@pytest.mark.on("pysqlite")
@pytest.mark.parametrize("target", ["session", "class", "maker"])
@pytest.mark.parametrize("name", ["after_begin", "after_transaction_create", "after_transaction_end"])
def test_whoever_listens_to_transactions_hears_of_one_for_each(stand: Stand, name: str, target: str) -> None:
    """Also through ``Session`` itself, or a user's own class of it."""

    def program(side: Side) -> Any:
        heard: list[str] = []

        def hear(*args: Any) -> None:
            heard.append(name)

        with side.request() as session:
            names(session)
            session.rollback()
            heard.clear()
            listened = session if target == "session" else type(session) if target == "class" else orm.Session
            event.listen(listened, name, hear)
            try:
                for end in (session.rollback, session.commit):
                    names(session)
                    stock_of(session)
                    end()
            finally:
                event.remove(listened, name, hear)
            return heard

    assert stand.same(program) == [name] * 2


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("name", ["before_cursor_execute", "before_execute", "begin", "engine_connect"])
def test_listeners_of_an_engine_that_has_served(stand: Stand, name: str) -> None:
    def program(side: Side) -> Any:
        stand.elsewhere(NAMED)

        def tell(conn: sa.Connection, *args: Any) -> None:
            conn.connection.cursor().execute(_TELL)

        seen: list[Any] = []
        for step in ("before", "with", "after"):
            if step == "with":
                event.listen(side.engine, name, tell)
            elif step == "after":
                event.remove(side.engine, name, tell)
            for _ in range(2):
                with side.request() as session:
                    seen.append(session.scalar(OF_TENANT))
        return seen

    assert stand.same(program, size=1) == [None, None, "tea", "tea", None, None]


@pytest.mark.on("psycopg", "asyncpg")
def test_a_listener_of_an_engine_within_one_session(stand: Stand) -> None:
    def program(side: Side) -> Any:
        stand.elsewhere(NAMED)
        with side.request() as session:
            seen = [session.scalar(OF_TENANT)]

            @event.listens_for(side.engine, "before_cursor_execute")
            def tell(conn: Any, cursor: Any, *args: Any) -> None:
                cursor.execute(_TELL)

            seen += [session.scalar(OF_TENANT), session.scalar(OF_TENANT)]
            event.remove(side.engine, "before_cursor_execute", tell)
            return [*seen, session.scalar(OF_TENANT)]  # of the same transaction

    assert stand.same(program) == [None, "tea", "tea", "tea"]


@pytest.mark.on("psycopg")
def test_a_checkout_listener_that_comes_late(stand: Stand) -> None:
    def program(side: Side) -> Any:
        stand.elsewhere(NAMED)
        seen: list[Any] = []
        for step in range(3):
            with side.request() as session:
                seen.append(session.scalar(OF_TENANT))
            if step == 0:

                @event.listens_for(side.pool, "checkout")
                def tell(dbapi_connection: Any, record: Any, proxy: Any) -> None:
                    dbapi_connection.cursor().execute(_TELL)

        return seen

    assert stand.same(program, size=1) == [None, "tea", "tea"]


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_where_all_listeners_are_gone_again_reads_are_leased_again(stand: Stand) -> None:
    def program(side: Side) -> Any:
        out = []
        for listens in (False, True, False):
            with side.request() as session:
                if listens:
                    event.listen(side.engine, "begin", _nothing)
                names(session)
                out.append(side.out)
            if listens:
                event.remove(side.engine, "begin", _nothing)
        return out

    assert stand.run(program) == [0, 1, 0]


def _nothing(conn: sa.Connection) -> None: ...


@pytest.mark.on("pysqlite", "psycopg")
def test_a_listener_that_comes_while_a_statement_runs(stand: Stand) -> None:
    """From within the first read: the next one is under the new rule already."""

    def program(side: Side) -> Any:
        def write(conn: sa.Connection, *args: Any) -> None:
            conn.connection.cursor().execute("INSERT INTO notes (text) VALUES ('seen')")

        def come(*args: Any) -> None:
            event.listen(side.engine, "before_cursor_execute", write)

        event.listen(side.engine, "after_cursor_execute", come, once=True)
        with side.request() as session:
            session.get(Ware, 1)
            stock_of(session)
            found = len(stand.notes())
            session.commit()
        return found, stand.notes()

    assert stand.same(program, size=1) == (0, ["seen"])


@pytest.mark.on("pysqlite", "psycopg")
def test_listeners_of_the_mapper_cost_nothing_and_are_heard(stand: Stand) -> None:
    """``load``, ``refresh`` and the like tell of objects, not of transactions; they may read once more."""

    def program(side: Side) -> Any:
        heard: list[Any] = []

        @event.listens_for(Ware, "load")
        def load(ware: Ware, context: Any) -> None:
            heard.append((ware.name, context.session.scalar(sa.select(sa.func.count()).select_from(Note))))

        try:
            with side.request() as session:
                session.get(Ware, 1)
                session.get(Ware, 2)
                return heard, None if side.stock else side.out
        finally:
            event.remove(Ware, "load", load)

    assert stand.run(program) == ([("tea", 0), ("rum", 0)], 0)
    assert stand.run(program, stock=True)[0] == [("tea", 0), ("rum", 0)]
