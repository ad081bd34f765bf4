"""A read that fails, on the server, in the client or in a listener: nothing of it is left on an idle connection."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.leases.stand import POSTGRES, Note, Side, Stand, Ware, names, raised, stock_of

#: Plain reads of a view that the server cannot compute, and of one that is not there.
BROKEN = sa.select(sa.table("broken", sa.column("x")))
MISSING = sa.select(sa.table("missing", sa.column("x")))


def make_broken(stand: Stand) -> None:
    stand.elsewhere("CREATE VIEW broken AS SELECT 1 / (stock - stock) AS x FROM wares")


class Picky(sa.types.TypeDecorator[str]):
    """Refuses what it reads, in Python."""

    impl = sa.Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str:
        raise LookupError(value)


REFUSED = {
    "an id too large": lambda s: s.get(Ware, 2**40),
    "a word for a number": lambda s: s.scalars(sa.select(Ware).where(Ware.id == sa.literal("tea", sa.Integer))).all(),
    "an object": lambda s: s.scalars(sa.select(Ware).where(Ware.name == sa.literal(object(), sa.Text))).all(),
    "too few parameters": lambda s: s.execute(sa.select(Ware.id).where(Ware.id == sa.bindparam("x"))).all(),
}


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("read", REFUSED)
def test_an_argument_that_the_client_or_the_server_refuses(stand: Stand, read: str) -> None:
    """The idle connection is idle: another client changes the table at once, also while the session is open."""

    def program(side: Side) -> Any:
        with side.request() as session:
            refused = raised(lambda: REFUSED[read](session))
            if not side.stock:
                assert (side.out, stand.backends(), stand.is_writable()) == (0, ["idle"], True)
            session.rollback()
            return refused, names(session)

    stand.same(program, size=1)


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("statement", [BROKEN, MISSING], ids=["division", "no such table"])
def test_a_statement_that_the_server_refuses(stand: Stand, statement: sa.Select[Any]) -> None:
    """With stock the transaction is doomed then; a leased read has none, and the session goes on: a documented difference."""

    def program(side: Side) -> Any:
        make_broken(stand)
        with side.request() as session:
            refused = raised(lambda: session.execute(statement).all())
            after = raised(lambda: names(session)), raised(lambda: session.execute(sa.insert(Note).values(text="on")))
            raised(session.commit)
            return refused, after, stand.notes()

    refused, after, notes = stand.run(program, stock=True)
    assert (None not in after, notes) == (True, [])
    assert stand.run(program) == (refused, (None, None), ["on"])


@pytest.mark.on(*POSTGRES)
def test_inside_of_a_transaction_it_dooms_it_as_with_stock(stand: Stand) -> None:
    def program(side: Side) -> Any:
        make_broken(stand)
        with side.request() as session:
            names(session)
            session.add(Note(text="lost"))
            session.flush()
            refused = raised(lambda: session.execute(BROKEN).all())
            after = raised(lambda: names(session))
            ended = raised(session.commit)
            raised(session.rollback)
            return refused, after, ended, names(session), stand.notes()

    found = stand.same(program, size=1)
    assert found[1] is not None
    assert found[3:] == (["tea", "rum"], [])


@pytest.mark.on("psycopg", "asyncpg")
def test_inside_of_a_savepoint_the_savepoint_is_the_way_out(stand: Stand) -> None:
    def program(side: Side) -> Any:
        make_broken(stand)
        with side.request() as session:
            session.add(Note(text="kept"))
            refused = raised(lambda: _within_a_savepoint(session))
            seen = names(session)
            session.commit()
            return refused, seen, stand.notes()

    assert stand.same(program, size=1)[1:] == (["tea", "rum"], ["kept"])


def _within_a_savepoint(session: Any) -> None:
    with session.begin_nested():
        session.execute(BROKEN).all()


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_rows_that_pythons_side_refuses(stand: Stand) -> None:
    def program(side: Side) -> Any:
        picky = sa.select(sa.type_coerce(Ware.name, Picky)).order_by(Ware.id)
        with side.request() as session:
            refused = raised(lambda: session.scalars(picky).all()), raised(lambda: session.scalars(picky).first())
            if not side.stock:
                assert side.out == 0
            return refused, names(session)

    assert stand.same(program, size=1) == (("LookupError", "LookupError"), ["tea", "rum"])


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
@pytest.mark.parametrize(
    "when", ["before_execute", "before_cursor_execute", "after_cursor_execute", "after_execute", "checkout"]
)
def test_a_listener_that_raises(stand: Stand, when: str) -> None:
    def program(side: Side) -> Any:
        with side.request() as session:
            names(session)
            session.rollback()

            def refuse(*args: Any) -> None:
                raise LookupError(when)

            event.listen(side.engine, when, refuse)
            refused = [raised(lambda: names(session)), raised(lambda: session.get(Ware, 1))]
            session.rollback()
            refused.append(raised(lambda: stock_of(session)))
            event.remove(side.engine, when, refuse)
            session.rollback()
            return refused, names(session), stock_of(session)

    found = stand.same(program, size=1)
    assert found[1:] == (["tea", "rum"], 5)


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_listener_that_makes_another_error_of_it(stand: Stand) -> None:
    """``handle_error``: what it raises is what comes, and the connection is in order."""

    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "handle_error")
        def translate(context: Any) -> BaseException:
            return LookupError("no such thing")

        with side.request() as session:
            refused = raised(lambda: session.execute(MISSING).all())
            session.rollback()
            return refused, names(session)

    assert stand.same(program, size=1) == ("LookupError", ["tea", "rum"])


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_after_a_change_a_read_that_fails_dooms_it_as_with_stock(stand: Stand) -> None:
    """A changed attribute begins the transaction, before anything of it is sent."""

    def program(side: Side) -> Any:
        with side.request() as session:
            session.get_one(Ware, 1).stock = 9
            with session.no_autoflush:
                refused = raised(lambda: session.execute(MISSING).all())
            ended = raised(session.commit)
            session.rollback()
            return refused, ended, stand.elsewhere("SELECT stock FROM wares WHERE id = 1")

    refused, ended, saved = stand.same(program, size=1)
    assert refused is not None
    assert (ended is None, saved) == ((True, [9]) if stand.sqlite else (False, [5]))
