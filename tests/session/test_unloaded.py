"""Reading what is not loaded any more: which attribute of which object, where, whose it was, and what to write instead."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import Session as PlainSession
from sqlalchemy.orm import defer, joinedload, lazyload, load_only, selectinload, sessionmaker
from sqlalchemy.orm.exc import DetachedInstanceError

from respool import Database, Session, errors
from respool.errors import RespoolError
from tests.session.shop import Order, Product, acquired, opened, opened_async

RELATIONSHIP = "selectinload(Product.orders)"
COLUMN = "undefer(Product.name)"


def read_lazily(session: Session) -> Product:
    return session.get_one(Product, 1)


def read_by_option(session: Session) -> Product:
    return session.scalars(select(Product).options(lazyload(Product.orders))).one()


def read_a_part(session: Session) -> Product:
    return session.scalars(select(Product).options(load_only(Product.stock))).one()


def read_deferred(session: Session) -> Product:
    return session.scalars(select(Product).options(defer(Product.name))).one()


def read_and_expire(session: Session) -> Product:
    tea = session.get_one(Product, 1)
    session.expire(tea, ["name"])
    return tea


READS: list[tuple[Callable[[Session], Product], str, str, str]] = [
    (read_lazily, "orders", "the relationship was not loaded", RELATIONSHIP),
    (read_by_option, "orders", "the relationship was not loaded", RELATIONSHIP),
    (read_a_part, "name", "the column was deferred", COLUMN),
    (read_deferred, "name", "the column was deferred", COLUMN),
    (read_and_expire, "name", "its value had expired", "expire_on_commit=True"),
]


@pytest.mark.parametrize("read, name, why, instead", READS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_read_after_the_end_names_both_sides(
    db: Database, read: Callable[[Session], Product], name: str, why: str, instead: str
) -> None:
    with db.scope("GET /products/1") as session:
        tea = read(session)
    with pytest.raises(DetachedInstanceError) as refused:
        getattr(tea, name)
    error = refused.value
    assert isinstance(error, errors.DetachedRead)
    told = str(error)
    assert told.startswith(
        f"[O001] Product.{name} of Product(id=1) was read after its session had let go of it: {why}\n"
    )
    assert "the session of scope 'GET /products/1' (tests/session/test_unloaded.py:" in told
    assert "s ago at its end" in told
    assert instead in told
    assert f'session.refresh(product, ["{name}"])' in told
    assert (error.attribute, error.object, error.scope) == (f"Product.{name}", "Product(id=1)", "GET /products/1")
    assert error.place.startswith("tests/session/test_unloaded.py:")
    assert error.age >= 0
    assert acquired(db) == 0
    assert tea.stock == 5  # what is loaded stays readable


def close(session: Session, tea: Product) -> None:
    session.close()


def expunge(session: Session, tea: Product) -> None:
    session.expunge(tea)


def expunge_all(session: Session, tea: Product) -> None:
    session.expunge_all()


def invalidate(session: Session, tea: Product) -> None:
    session.invalidate()


def reset(session: Session, tea: Product) -> None:
    session.reset()


@pytest.mark.parametrize("how", [close, expunge, expunge_all, invalidate, reset])
def test_how_it_was_let_go_of_is_told(db: Database, how: Callable[[Session, Product], None]) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        how(session, tea)
        with pytest.raises(errors.DetachedRead) as refused:
            tea.orders
        line = how.__code__.co_firstlineno + 1
        assert refused.value.detached == f"by session.{how.__name__}() at tests/session/test_unloaded.py:{line}"


def test_an_object_whose_row_was_deleted(db: Database) -> None:
    with db.scope("job") as session:
        order = Order(id=1, product_id=1)
        session.add(order)
        session.flush()
        session.delete(order)
        session.commit()
        with pytest.raises(errors.DetachedRead, match="by the commit that deleted its row"):
            order.product


def test_the_advice_fits_the_relationship(db: Database) -> None:
    with db.scope("job") as session:
        session.add(Order(id=1, product_id=1))
    with db.scope("job") as session:
        order = session.get_one(Order, 1)
        loaded = session.scalars(select(Order).options(joinedload(Order.product))).one()
        assert loaded is order
        session.expire(order, ["product"])
    with pytest.raises(errors.DetachedRead, match=r"options\(joinedload\(Order.product\)\)"):
        order.product


def test_the_advice_works(db: Database) -> None:
    with db.scope("job") as session:
        first = session.scalars(select(Product).options(selectinload(Product.orders))).one()
    assert first.orders == []
    with db.scope("job") as session:
        second = session.get_one(Product, 1)
        session.refresh(second, ["orders"])
    assert second.orders == []


def test_a_write_that_has_to_read_is_told_as_well(db: Database) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
    with pytest.raises(errors.DetachedRead, match=r"Product\.orders"):
        tea.orders = []


def test_a_session_without_a_scope_is_told_too(shop_url: str) -> None:
    with opened(shop_url) as db, sessionmaker(db.engine, class_=Session)() as session:
        tea = session.get_one(Product, 1)
        session.close()
        with pytest.raises(errors.DetachedRead, match="came from the session of a session without a scope") as refused:
            tea.orders
    assert refused.value.scope is None


def test_the_last_session_is_the_one_that_is_told(db: Database) -> None:
    with db.scope("first") as session:
        tea = session.get_one(Product, 1)
    with db.scope("second") as session:
        session.add(tea)
        assert tea.orders == []
        session.expire(tea, ["orders"])
    with pytest.raises(errors.DetachedRead, match="scope 'second'"):
        tea.orders


def test_sqlalchemys_own_sessions_keep_sqlalchemys_own_error(shop_url: str) -> None:
    engine = create_engine(shop_url)
    with PlainSession(engine) as session:
        tea = session.get_one(Product, 1)
    with pytest.raises(DetachedInstanceError) as refused:
        tea.orders
    assert type(refused.value) is DetachedInstanceError
    assert "sqlalche.me" in str(refused.value)
    assert not isinstance(DetachedInstanceError("by hand"), RespoolError)
    engine.dispose()


def test_the_error_can_be_sent_to_another_process(db: Database) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
    with pytest.raises(errors.DetachedRead) as refused:
        tea.orders
    again = pickle.loads(pickle.dumps(refused.value))
    assert str(again) == str(refused.value)
    assert isinstance(again, DetachedInstanceError)
    assert again.attribute == "Product.orders"


async def test_an_async_session_advises_to_await(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("job") as session:
            tea = await session.get_one(Product, 1)
        with pytest.raises(errors.DetachedRead) as refused:
            tea.orders
    told = str(refused.value)
    assert 'await session.refresh(product, ["orders"])' in told
    assert "async with db.scope(" in told


@pytest.mark.parametrize("warm", [False, True])
async def test_a_read_that_nobody_awaits(async_shop_url: str, warm: bool) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("job") as session:
            tea = await session.get_one(Product, 1)
            if not warm:
                await session.commit()
            with pytest.raises(MissingGreenlet) as refused:
                tea.orders
            error = refused.value
            assert isinstance(error, errors.UnawaitedLoad)
            told = str(error)
            assert told.startswith("[O002] Product.orders of Product(id=1) was read in code that does not await")
            assert RELATIONSHIP in told
            assert 'await session.refresh(product, ["orders"])' in told
            assert "test_unloaded.py" in error.place
            assert (error.attribute, error.object) == ("Product.orders", "Product(id=1)")
            await session.rollback()
            await session.refresh(tea, ["orders"])
            assert tea.orders == []
            assert await session.run_sync(lambda _: tea.name) == "tea"
        assert acquired(db) == 0


async def test_an_expired_column_that_nobody_awaits(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("job") as session:
        tea = await session.get_one(Product, 1)
        session.expire(tea)
        with pytest.raises(errors.UnawaitedLoad, match=r"Product.stock of Product\(id=1\) .*: its value had expired"):
            tea.stock


async def test_the_sync_session_of_an_async_one(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("job") as session:
            with pytest.raises(errors.UnawaitedLoad, match="code that does not await") as refused:
                session.sync_session.execute(text("SELECT 1"))
            assert refused.value.attribute is None
            assert "await session.run_sync(function)" in str(refused.value)
        assert acquired(db) == 0


def test_objects_carry_one_note_and_it_does_not_hold_the_session(db: Database) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        gone = weakref.ref(session)
        before = set(vars(inspect(tea)))
    del session
    assert set(vars(inspect(tea))) - before <= {"respool_note", "_strong_obj"}  # the second is SQLAlchemy's own
    assert gone() is None
