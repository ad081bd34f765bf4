"""Until its first write a session leases a connection for each plain read, and holds none in between."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import selectinload
from sqlalchemy.pool import NullPool, QueuePool

from respool import Database, Session, SessionPhase
from respool.engine import only_looks
from respool.errors import ReadOnly
from tests.session.shop import SMALL, Order, Product, acquired, count, fill, opened, opened_async

TEA = select(Product).where(Product.id == 1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """A shop on each database."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("shop_url"))
    found = str(request.getfixturevalue("pg_url"))
    fill(found)
    return found


def asynchronous(url: str) -> str:
    return url.replace("sqlite:", "sqlite+aiosqlite:")


READS: dict[str, Any] = {
    "execute": lambda s: s.execute(TEA).one(),
    "scalars": lambda s: s.scalars(TEA).all(),
    "get": lambda s: s.get_one(Product, 1),
    "query": lambda s: s.query(Product).all(),
    "core": lambda s: s.execute(select(Product.__table__)).all(),
    "count": lambda s: s.scalar(select(func.count()).select_from(Product)),
    "selectinload": lambda s: s.scalars(TEA.options(selectinload(Product.orders))).all(),
    "lazy load": lambda s: s.get_one(Product, 1).orders,
    "refresh": lambda s: s.refresh(s.get_one(Product, 1)),
    "first of many": lambda s: s.scalars(select(Product).limit(5)).first(),
    "not fetched": lambda s: s.execute(TEA),
}


@pytest.mark.parametrize("read", READS)
def test_promise_02_a_plain_read_holds_no_connection(url: str, read: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        READS[read](session)
        assert (acquired(db), session.holds_connection, session.in_transaction()) == (0, False, False)
        assert session.phase is SessionPhase.WORKING
        assert db.pool.stats().total == 1


HOLDERS: dict[str, Any] = {
    "lock": lambda s: s.scalars(TEA.with_for_update()).one(),
    "get with a lock": lambda s: s.get(Product, 1, with_for_update=True),
    "text": lambda s: s.execute(text("SELECT 1")),
    "volatile function": lambda s: s.scalar(select(func.random())),
    "said to be more": lambda s: s.scalar(TEA, execution_options={"respool_read": False}),
    "connection": lambda s: s.connection(),
    "server-side cursor": lambda s: s.scalars(TEA, execution_options={"yield_per": 1}).all(),
    "update": lambda s: s.execute(sa.update(Product).values(stock=3)),
    "update that reads first": lambda s: s.execute(
        sa.update(Product).values(stock=3), execution_options={"synchronize_session": "fetch"}
    ),
    "flush": lambda s: (s.add(Product(id=2, name="milk")), s.flush()),
    "read that flushes": lambda s: (s.add(Product(id=2, name="milk")), s.scalars(TEA).all()),
}


@pytest.mark.parametrize("hold", HOLDERS)
def test_promise_02_all_else_begins_the_transaction_and_holds(url: str, hold: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        session.scalars(TEA).all()
        before = db.pool.stats().acquired_total
        HOLDERS[hold](session)
        assert (acquired(db), session.holds_connection) == (1, True)
        session.scalars(TEA).all()  # now in the same transaction
        assert db.pool.stats().acquired_total - before == 1
        session.rollback()
        assert acquired(db) == 0
        session.scalars(TEA).all()
        assert (acquired(db), db.pool.stats().acquired_total - before) == (0, 2)


def test_promise_02_a_begun_transaction_is_one(url: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        session.scalars(TEA).all()
        with session.begin():  # no transaction has begun before it
            tea = session.scalars(TEA).one()
            assert acquired(db) == 1
            tea.stock = 7
        assert acquired(db) == 0
        assert session.scalar(select(Product.stock)) == 7


def test_changed_objects_are_saved_as_ever(url: str) -> None:
    with opened(url, commit="on_success") as db:
        with db.scope("job") as session:
            session.get_one(Product, 1).stock = 9
            assert acquired(db) == 0  # nothing was sent yet
        with db.scope("look") as session:
            assert session.get_one(Product, 1).stock == 9


async def test_promise_02_asyncio_does_the_same(url: str) -> None:
    async with opened_async(asynchronous(url)) as db, db.scope("job") as session:
        tea = (await session.scalars(TEA.options(selectinload(Product.orders)))).one()
        await session.refresh(tea)
        assert (acquired(db), session.in_transaction(), session.phase) == (0, False, SessionPhase.WORKING)
        await session.get(Product, 1, with_for_update=True)
        assert acquired(db) == 1
        await session.commit()
        rows = await session.stream(TEA)  # a server-side cursor
        assert acquired(db) == 1
        assert [row.name for row in await rows.scalars().all()] == ["tea"]


def test_promise_02_a_read_that_fails_leaves_nothing_behind(url: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        for _ in range(2):
            with pytest.raises((OperationalError, ProgrammingError)):
                session.scalars(select(sa.literal_column("no_such_column")).select_from(Product)).all()
            assert acquired(db) == 0
        assert session.get_one(Product, 1).name == "tea"
        assert db.pool.stats().total == 1


def test_rows_can_be_read_after_the_connection_is_somebody_elses(url: str) -> None:
    with opened(url, commit="on_success") as db:
        with db.scope("fill") as session:
            session.add_all(Product(id=number, name=f"n{number}") for number in range(2, 50))
        with db.scope("job") as session:
            rows = session.execute(select(Product.id).order_by(Product.id))
            with db.engine.begin() as other:
                other.execute(sa.delete(Product).where(Product.id > 1))
            assert next(rows) == (1,)
            assert len(rows.fetchmany(8)) == 8
            assert len(rows.all()) == 40
            assert rows.all() == []


def test_a_reader_inside_of_a_read_uses_the_same_connection(url: str) -> None:
    """An engine's event that reads once more, through the connection that it is given."""
    with opened(url) as db, db.scope("job") as session:
        seen: list[Any] = []

        @event.listens_for(db.engine, "after_cursor_execute")
        def _(conn: Any, cursor: Any, statement: str, *others: Any) -> None:
            if "stock" in statement:
                seen.append((conn.scalar(select(Product.name)), acquired(db)))

        assert session.get_one(Product, 1).name == "tea"
        assert (seen, acquired(db)) == ([("tea", 1)], 0)


# -- by word -------------------------------------------------------------------------------------------------------------


def test_promise_02_what_is_said_to_be_a_read_is_leased(url: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        session.scalar(select(func.random()), execution_options={"respool_read": True})
        with session.read_only():
            session.execute(text("SELECT 1"))
            session.scalar(select(func.random()))
        assert acquired(db) == 0
        session.execute(text("SELECT 1"))
        assert acquired(db) == 1


async def test_read_only_for_asyncio(url: str) -> None:
    async with opened_async(asynchronous(url)) as db, db.scope("job") as session:
        with session.read_only():
            await session.execute(text("SELECT 1"))
            assert acquired(db) == 0
            session.add(Product(name="milk"))
            with pytest.raises(ReadOnly, match=r"inside a read_only\(\) block of scope 'job'"):
                await session.flush()
        await session.rollback()


def test_a_write_where_only_reads_are_expected_is_refused(url: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        with session.read_only():
            with pytest.raises(ReadOnly, match="a statement that writes"):
                session.execute(sa.delete(Product))
            session.get_one(Product, 1).stock = 3
            with pytest.raises(ReadOnly, match="a flush of changed objects"):
                session.commit()
            session.rollback()
        assert acquired(db) == 0
    assert count(url, Product) == 1


# -- where transactions begin at once ------------------------------------------------------------------------------------


def assert_holds(db: Database) -> None:
    with db.scope("job") as session:
        session.scalars(TEA).all()
        assert acquired(db) == 1


def test_on_use_is_sqlalchemys_own_way(url: str) -> None:
    with opened(url, begin="on_use") as db:
        assert_holds(db)


@pytest.mark.postgres
@pytest.mark.parametrize("begin, held", [(None, 1), ("on_write", 0)])
def test_a_stricter_isolation_level_begins_at_once_unless_told_otherwise(pg_url: str, begin: Any, held: int) -> None:
    fill(pg_url)
    with opened(pg_url, begin=begin, engine_options={"isolation_level": "REPEATABLE READ"}) as db:
        with db.scope("job") as session:
            session.scalars(TEA).all()
            assert acquired(db) == held
            session.rollback()
        with db.scope("job") as session, session.begin():
            assert session.scalar(text("SHOW transaction_isolation")) == "repeatable read"


def hook_of_the_session(db: Database, session: Session) -> None:
    event.listen(session, "after_begin", lambda session, transaction, connection: None)


def hook_of_the_engine(db: Database, session: Session) -> None:
    event.listen(db.engine, "begin", lambda connection: None)


@pytest.mark.parametrize("hook", [hook_of_the_session, hook_of_the_engine])
def test_where_something_happens_at_the_beginning_a_read_begins(url: str, hook: Any) -> None:
    """``SET LOCAL`` for a tenant, for example: a read without it would see what it must not."""
    with opened(url) as db, db.scope("job") as session:
        hook(db, session)
        session.scalars(TEA).all()
        assert acquired(db) == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has autocommit= from Python 3.12 on")
def test_where_sqlites_driver_opens_transactions_by_itself_they_are_held(shop_url: str) -> None:
    with opened(shop_url, engine_options={"connect_args": {"autocommit": False}}) as db:
        assert_holds(db)


def test_a_session_by_hand_begins_as_sqlalchemys_unless_told(url: str) -> None:
    with opened(url) as db:
        with Session(db.engine) as session:
            session.scalars(TEA).all()
            assert acquired(db) == 1
        with Session(db.engine, begin="on_write") as session:
            session.scalars(TEA).all()
            assert acquired(db) == 0


# -- other users of the pool ---------------------------------------------------------------------------------------------


@contextmanager
def modes_of(engine: sa.Engine) -> Iterator[list[bool]]:
    """Whether the driver was in autocommit when each statement was executed."""
    modes: list[bool] = []

    @only_looks
    def note(conn: Any, cursor: Any, statement: str, *others: Any) -> None:
        if not statement.startswith("SHOW"):
            modes.append(conn.connection.driver_connection.autocommit)

    event.listen(engine, "before_cursor_execute", note)
    yield modes
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.postgres
@pytest.mark.parametrize("pool", [None, QueuePool])
def test_a_leased_connection_is_as_others_expect_it_when_they_take_it(pg_url: str, pool: Any) -> None:
    fill(pg_url)
    engine = sa.create_engine(pg_url, poolclass=pool) if pool is not None else None
    db = Database(engine, begin="on_write") if engine is not None else Database(pg_url, pool=SMALL)
    with modes_of(db.engine) as modes, db.scope("job") as session:
        session.scalars(TEA).all()
        with db.engine.connect() as other:
            other.execute(sa.update(Product).values(stock=99))
            other.rollback()
        assert session.scalar(select(Product.stock)) == 5
        session.execute(sa.update(Product).values(stock=8))
        session.rollback()
        session.scalars(TEA).all()
    assert modes == [True, False, True, False, True]
    db.close()


@pytest.mark.postgres
def test_promise_10_a_stale_connection_is_replaced_under_a_leased_read(pg_url: str) -> None:
    fill(pg_url)
    with opened(pg_url) as db, db.scope("job") as session:
        session.scalars(TEA).all()
        admin = sa.create_engine(pg_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with admin.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))
        assert session.scalars(TEA).one().name == "tea"
        assert (acquired(db), db.pool.stats().connects) == (0, 2)


def test_an_order_is_read_and_written(url: str) -> None:
    """The everyday request: look, decide, write."""
    with opened(url, commit="on_success") as db:
        with db.scope("POST /orders") as session:
            tea = session.get_one(Product, 1)
            tea.stock -= 1
            session.add(Order(product=tea))
        assert count(url) == 1
        assert acquired(db) == 0
