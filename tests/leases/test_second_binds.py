"""A session with a second engine: each engine has a rule of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, event, orm
from sqlalchemy.pool import NullPool

from tests.leases.stand import NAMED, OF_TENANT, Note, Side, Stand, Ware, names, stock_of

_STOCK = sa.select(Ware.stock).where(Ware.id == 1)


@contextmanager
def second(stand: Stand, **options: Any) -> Iterator[sa.Engine]:
    """Another engine on the same database."""
    engine = create_engine(stand.url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def stock_there(session: orm.Session, bind: sa.Engine) -> Any:
    return session.scalar(_STOCK, bind_arguments={"bind": bind})


@pytest.mark.on("psycopg", "psycopg2")
@pytest.mark.parametrize("first", ["here", "there"])
def test_a_stricter_one_keeps_what_it_saw(stand: Stand, first: str) -> None:
    """The first engine sees each change as it is committed; the second one, at SERIALIZABLE, none until its end."""

    def program(side: Side) -> Any:
        with second(stand, isolation_level="SERIALIZABLE") as strict, side.request() as session:
            if first == "here":
                stock_of(session)
            seen = [stock_there(session, strict)]
            stand.stock_is(6)
            seen += [stock_of(session), stock_there(session, strict)]
            stand.stock_is(7)
            seen += [stock_of(session), stock_there(session, strict)]
            session.rollback()
            return [*seen, stock_there(session, strict)]

    assert stand.same(program) == [5, 6, 5, 7, 5, 7]


@pytest.mark.on("psycopg", "psycopg2")
def test_one_with_listeners_of_its_own(stand: Stand) -> None:
    def program(side: Side) -> Any:
        stand.elsewhere(NAMED)
        with second(stand) as other, side.request() as session:

            @event.listens_for(other, "before_cursor_execute")
            def tell(conn: Any, cursor: Any, *args: Any) -> None:
                cursor.execute("SET LOCAL app.tenant = 'b'")

            names(session)
            return [session.scalar(OF_TENANT, bind_arguments={"bind": other}), session.scalar(OF_TENANT)]

    assert stand.same(program) == ["rum", None]


@pytest.mark.on("pysqlite", "psycopg")
def test_one_without_a_pool_connects_once(stand: Stand) -> None:
    def program(side: Side) -> Any:
        opened: list[str] = []
        with second(stand, poolclass=NullPool) as other:
            event.listen(other, "connect", lambda *args: opened.append("opened"))
            with other.connect():  # what the dialect asks at its first connection
                opened.clear()
            with side.request() as session:
                seen = [names(session), *(stock_there(session, other) for _ in range(3))]
        return seen, opened

    assert stand.same(program) == ([["tea", "rum"], 5, 5, 5], ["opened"])


@pytest.mark.on("psycopg", "psycopg2")
def test_one_of_another_database(stand: Stand, tmp_path: Path) -> None:
    """Both are read, then both written; one commit saves all, one rollback none."""

    def program(side: Side) -> Any:
        found = []
        with closing(Stand("pysqlite", (tmp_path / "other.db").as_posix())) as there, second(there) as other:
            there.renew()
            for end in ("commit", "rollback"):
                with side.request() as session:
                    stand.stock_is(3)
                    there.stock_is(4)
                    seen = stock_of(session), stock_there(session, other)
                    session.add(Note(text=end))
                    session.flush()
                    session.execute(sa.insert(Note).values(text=end), bind_arguments={"bind": other})
                    getattr(session, end)()
                found.append((seen, stand.notes(), there.notes(), there.is_writable()))
        return found

    assert stand.same(program) == [((3, 4), ["commit"], ["commit"], True)] * 2


@pytest.mark.on("pysqlite", "psycopg")
def test_two_engines_by_binds(stand: Stand) -> None:
    """``Session(binds=…)``: a change made through one is seen through the other when it is committed, not before."""

    def program(side: Side) -> Any:
        with second(stand) as other, side.session(binds={Note: other}) as session:
            note = session.scalar(sa.select(sa.func.count(Note.id)))
            ware = session.get_one(Ware, 1)
            ware.stock = 9
            session.commit()
            session.add(Note(text="sold"))
            session.flush()
            saved = stand.notes()
            session.rollback()
            return note, stock_of(session), saved, stand.notes()

    assert stand.same(program) == (0, 9, [], [])


@pytest.mark.on("psycopg")
def test_an_engine_with_options_of_the_first_has_its_own_rule(stand: Stand) -> None:
    """``engine.execution_options()``: the same pool, another isolation level."""

    def program(side: Side) -> Any:
        strict = side.engine.execution_options(isolation_level="REPEATABLE READ")
        with side.request() as session:
            seen = [stock_of(session), stock_there(session, strict)]
            stand.stock_is(6)
            return [*seen, stock_of(session), stock_there(session, strict)]

    assert stand.same(program) == [5, 5, 6, 5]


@pytest.mark.on("pysqlite", "psycopg")
def test_a_connection_of_the_users_is_used_as_it_is(stand: Stand) -> None:
    """A test's outer transaction: the session reads what was written in it, and leaves it open."""

    def program(side: Side) -> Any:
        with side.engine.connect() as connection, connection.begin() as outer:
            connection.execute(sa.update(Ware).values(stock=8))
            with side.request() as session:
                seen = stock_there(session, connection)
            outer.rollback()
        return seen, stand.elsewhere("SELECT stock FROM wares WHERE id = 1")

    assert stand.same(program, size=2) == (8, [5])


@pytest.mark.on("psycopg", "psycopg2")
def test_options_are_too_late_for_the_one_that_was_read_from_whatever_has_begun_on_the_other(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with second(stand) as other, side.request() as session, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            stock_of(session)
            session.execute(sa.text("SELECT 1"), bind_arguments={"bind": other})
            level = session.connection(execution_options={"isolation_level": "SERIALIZABLE"}).get_isolation_level()
            session.rollback()
            return level, [str(warning.message) for warning in said]

    level, said = stand.same(program)
    assert (level, len(said)) == ("READ COMMITTED", 1)
