"""A user's session class, and his options: they are his choice, and all of our rules hold all the same."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from inspect import signature
from typing import Any, Generic, TypeVar, get_type_hints

import pytest
import sqlmodel
from sqlalchemy import Engine, MetaData, create_engine, event, insert, orm, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelAsyncSession

import respool
from respool import AsyncDatabase, Database, ObjectState, SessionObserver
from respool.ending.end import End, drive
from respool.errors import (
    ConcurrentUse,
    ConfigError,
    ReadOnly,
    RollbackOnly,
    ScopeEnded,
    ScopeError,
    UncommittedChanges,
    UnitError,
)
from respool.session.life import Life, life_of
from tests.session.faces import Shop, entered, got
from tests.session.shop import Order, Product, acquired, count, opened, opened_async

URL = "sqlite:///:memory:"
#: What our sessions have beside SQLAlchemy's.
OURS = [
    "changes",
    "fork",
    "holds_connection",
    "objects",
    "on_commit",
    "on_rollback",
    "phase",
    "read_only",
    "remove",
    "scope",
    "unit",
]
T = TypeVar("T")


class Plain(orm.Session):
    """Has methods of its own, and overrides SQLAlchemy's."""

    calls: list[str]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.calls = []
        super().__init__(*args, **options)

    def tea(self) -> str:
        return self.get_one(Product, 1).name

    def get(self, *args: Any, **options: Any) -> Any:
        self.calls.append("get")
        return super().get(*args, **options)

    def get_one(self, *args: Any, **options: Any) -> Any:
        self.calls.append("get_one")
        return super().get_one(*args, **options)

    def execute(self, *args: Any, **options: Any) -> Any:
        self.calls.append("execute")
        return super().execute(*args, **options)

    def flush(self, *args: Any, **options: Any) -> None:
        self.calls.append("flush")
        super().flush(*args, **options)

    def commit(self) -> None:
        self.calls.append("commit")
        super().commit()

    def rollback(self) -> None:
        self.calls.append("rollback")
        super().rollback()

    def close(self) -> None:
        self.calls.append("close")
        super().close()


class AsyncPlain(sa_asyncio.AsyncSession):
    sync_session_class = Plain

    async def tea(self) -> str:
        return await self.run_sync(lambda session: session.tea())  # type: ignore[attr-defined]


class SQLModelPlain(sqlmodel.Session):
    def tea(self) -> str:
        return self.exec(sqlmodel.select(Product.name)).one()  # type: ignore[call-overload,no-any-return]


class SQLModelAsyncPlain(SQLModelAsyncSession):
    async def tea(self) -> str:
        return (await self.exec(sqlmodel.select(Product.name))).one()  # type: ignore[call-overload,no-any-return]


class Ours(respool.Session):
    def tea(self) -> str:
        return self.get_one(Product, 1).name


class AsyncOurs(respool.AsyncSession):
    async def tea(self) -> str:
        return (await self.get_one(Product, 1)).name


class Both(sqlmodel.Session, respool.Session):
    def tea(self) -> str:
        return self.exec(sqlmodel.select(Product.name)).one()  # type: ignore[call-overload,no-any-return]


class AsyncBoth(SQLModelAsyncSession, respool.AsyncSession):
    async def tea(self) -> str:
        return (await self.exec(sqlmodel.select(Product.name))).one()  # type: ignore[call-overload,no-any-return]


CLASSES = [(Plain, AsyncPlain), (SQLModelPlain, SQLModelAsyncPlain), (Ours, AsyncOurs), (Both, AsyncBoth)]


@pytest.fixture(params=CLASSES, ids=lambda pair: pair[0].__name__)
def kinds(request: pytest.FixtureRequest) -> Any:
    return request.param


def of(kinds: Any, shop: Shop) -> dict[str, Any]:
    return {"session_class": kinds[shop.asynchronous]}


# -- every rule holds -------------------------------------------------------------------------------------------------


async def test_it_is_the_users_class_and_ours(the_shop: Shop, kinds: Any) -> None:
    async with the_shop.open(**of(kinds, the_shop)) as db, entered(db.scope("job")) as session:
        assert isinstance(session, kinds[the_shop.asynchronous])
        assert isinstance(session, respool.AsyncSession if the_shop.asynchronous else respool.Session)
        assert type(session).__name__ == kinds[the_shop.asynchronous].__name__
        assert db.session is session
        assert await got(session.tea()) == "tea"
        assert session.scope.label == "job"


async def test_promise_02_it_reads_by_lease(the_shop: Shop, kinds: Any) -> None:
    async with the_shop.open(**of(kinds, the_shop)) as db, entered(db.scope("job")) as session:
        assert await got(session.tea()) == "tea"
        assert (session.holds_connection, acquired(db)) == (False, 0)
        session.add(Order(product_id=1))
        await got(session.flush())
        assert (session.holds_connection, acquired(db)) == (True, 1)
        await got(session.commit())
        assert acquired(db) == 0


async def test_promise_04_it_reports_what_it_loses(the_shop: Shop, kinds: Any) -> None:
    async with the_shop.open(**of(kinds, the_shop)) as db:
        with pytest.warns(UncommittedChanges, match="Order"):
            async with entered(db.scope("job")) as session:
                session.add(order := Order(product_id=1))
                await got(session.flush())
                assert [str(change) for change in session.changes()] == ["Order(id=1) inserted"]
                assert session.objects()[ObjectState.PERSISTENT] == [order]
    assert the_shop.count() == 0


async def test_promise_05_it_is_bound_to_its_scope(the_shop: Shop, kinds: Any) -> None:
    async with the_shop.open(**of(kinds, the_shop)) as db:
        async with entered(db.scope("job")) as session:
            await got(session.tea())
        with pytest.raises(ScopeEnded):
            await got(session.tea())
        assert acquired(db) == 0


async def test_its_children_are_of_its_class(the_shop: Shop, kinds: Any) -> None:
    kind = kinds[the_shop.asynchronous]

    async def job_async() -> str:
        return await db.session.tea()  # type: ignore[no-any-return]

    def job() -> str:
        return db.session.tea()  # type: ignore[no-any-return]

    async with the_shop.open(**of(kinds, the_shop), commit="on_success") as db:
        async with entered(db.scope("job")) as session:
            async with entered(session.fork()) as child:
                assert isinstance(child, kind)
                assert await got(child.tea()) == "tea"
            async with entered(session.unit(new=True)) as other, entered(other.unit(savepoint=True)) as unit:
                assert (isinstance(other, kind), unit) == (True, other)
                unit.add(Order(product_id=1))
            assert await got(db.gather(kind.tea, kind.tea)) == ["tea", "tea"]
            assert await got(db.job()(job_async if the_shop.asynchronous else job)()) == "tea"
        assert await got(db.run(kind.tea, retry=2)) == "tea"
    assert the_shop.count() == 1


async def test_promise_03_its_own_commit_is_what_commits_at_the_end(the_shop: Shop) -> None:
    async with the_shop.open(session_class=(Plain, AsyncPlain)[the_shop.asynchronous], commit="on_success") as db:
        async with entered(db.scope("job")) as session:
            session.add(Order(product_id=1))
            inner: Any = session.sync_session if the_shop.asynchronous else session
        assert inner.calls.count("commit") == 1
    assert the_shop.count() == 1


# -- constructors -----------------------------------------------------------------------------------------------------


class Fixed(orm.Session):
    def __init__(self, bind: Any = None, **options: Any) -> None:
        self.scope_then = self.scope  # type: ignore[attr-defined]
        super().__init__(bind, **options)


class Bare(orm.Session):
    def __init__(self, bind: Any) -> None:
        super().__init__(bind)


class KeywordOnly(orm.Session):
    def __init__(self, *, bind: Engine | None = None, tenant: str = "none", expire_on_commit: bool = True) -> None:
        super().__init__(bind, expire_on_commit=expire_on_commit)
        self.info["tenant"] = tenant


class Around(orm.Session):
    """Calls SQLAlchemy's constructor by its name, past ours."""

    def __init__(self, bind: Any = None) -> None:
        orm.Session.__init__(self, bind, autoflush=False)


class Forgetful(orm.Session):
    def __init__(self, bind: Any = None, **options: Any) -> None:
        super().__init__(**options)


class Busy(orm.Session):
    """Works with itself before it is made."""

    def __init__(self, bind: Any = None) -> None:
        super().__init__(bind)
        self.name = self.scalar(select(Product.name))
        self.add(Order(product_id=1))
        self.flush()


class Allocated(orm.Session):
    def __new__(cls, *args: Any, tag: str = "", **options: Any) -> Any:
        made = super().__new__(cls)
        made.tag = tag
        return made

    def __init__(self, bind: Any = None, tag: str = "") -> None:
        super().__init__(bind)


class OursFixed(respool.Session):
    def __init__(self, bind: Any = None) -> None:
        super().__init__(bind)


class Tagged(orm.Session, Generic[T]):
    def __init__(self, bind: Any = None) -> None:
        super().__init__(bind)


@pytest.mark.parametrize("kind", [Fixed, Bare, KeywordOnly, Around, Forgetful, Allocated, OursFixed, Tagged])
def test_a_constructor_may_have_its_own_arguments(shop_url: str, kind: Any) -> None:
    with opened(shop_url, session_class=kind) as db:
        with pytest.warns(UncommittedChanges):
            with db.scope("job") as session:
                assert isinstance(session, kind)
                assert session.bind is db.engine
                assert session.get_one(Product, 1).name == "tea"
                assert acquired(db) == 0
                session.add(Order(product_id=1))
                session.flush()
        with pytest.raises(ScopeEnded):
            session.get(Product, 1)


def test_what_it_hands_on_wins_over_our_defaults(shop_url: str) -> None:
    with opened(shop_url, session_class=KeywordOnly, session_options={"tenant": "acme"}) as db:
        with db.scope("job") as session:
            assert (session.expire_on_commit, session.info) == (True, {"tenant": "acme"})
    with opened(shop_url, session_class=Around) as db, db.scope("job") as around:
        assert (around.expire_on_commit, around.autoflush) == (True, False)
    with opened(shop_url, session_class=Bare) as db, db.scope("job") as bare:
        assert not bare.expire_on_commit


def test_its_scope_is_there_before_its_constructor_runs(shop_url: str) -> None:
    with opened(shop_url, session_class=Fixed) as db, db.scope("job") as session:
        assert session.scope_then is session.scope  # type: ignore[attr-defined]


def test_a_constructor_may_work_with_the_session(shop_url: str) -> None:
    with opened(shop_url, session_class=Busy, commit="on_success") as db:
        with db.scope("job") as session:
            assert (session.name, session.new, session.in_transaction()) == ("tea", session.new, True)
    assert count(shop_url) == 1


def test_a_constructor_that_asks_for_the_session_is_told(shop_url: str) -> None:
    class Asks(orm.Session):
        def __init__(self, bind: Any = None) -> None:
            super().__init__(bind)
            db.session.get(Product, 1)

    with opened(shop_url, session_class=Asks) as db:
        with pytest.raises(ScopeError, match="asked for in its own constructor") as told:
            with db.scope("job"):
                pytest.fail("must not come here")
        assert "Asks" in str(told.value)
        assert db.scopes() == ()


def test_two_threads_of_one_request_get_one_session(shop_url: str) -> None:
    both = threading.Barrier(2)

    class Slow(orm.Session):
        def __init__(self, bind: Any = None) -> None:
            super().__init__(bind)
            self.execute(text("SELECT 1"))  # holds a connection
            both.wait(20)

    with opened(shop_url, session_class=Slow) as db:
        scope = db.new_scope("GET /")
        scope.enter()
        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(copy_context().run, db.current_session) for _ in range(2)]
            first, second = (each.result() for each in asked)
        assert first is second
        assert acquired(db) == 1
        drive(End([scope]))
        scope.leave()
        assert acquired(db) == 0


def test_a_constructor_that_fails_leaves_nothing_behind(shop_url: str) -> None:
    class Broken(orm.Session):
        def __init__(self, bind: Any = None) -> None:
            super().__init__(bind)
            self.execute(text("SELECT 1"))
            raise KeyError("tenant")

    with opened(shop_url, session_class=Broken) as db:
        with pytest.raises(KeyError):
            with db.scope("job"):
                pytest.fail("must not come here")
        assert (acquired(db), db.scopes()) == (0, ())


# -- what is overridden -----------------------------------------------------------------------------------------------


async def test_its_overrides_are_on_top_and_reach_ours(the_shop: Shop) -> None:
    async with the_shop.open(session_class=(Plain, AsyncPlain)[the_shop.asynchronous]) as db:
        async with entered(db.scope("job")) as session:
            inner: Any = session.sync_session if the_shop.asynchronous else session
            await got(session.get(Product, 1))
            await got(session.execute(select(Product)))
            assert not session.holds_connection
            session.scope.doom("for the test")
            with pytest.raises(RollbackOnly):
                await got(session.commit())
            await got(session.rollback())
            async with entered(session.unit()):
                with pytest.raises(UnitError, match=r"rollback\(\) inside a unit"):
                    await got(session.rollback())
                with pytest.raises(UnitError, match=r"close\(\) inside a unit"):
                    await got(session.close())
                session.scope.doomed = None
            calls = "get execute execute commit rollback rollback close commit"  # a get() executes something
            assert " ".join(call for call in inner.calls if call != "flush") == calls


class Routing(orm.Session):
    """Chooses the engine by itself, and asks nobody."""

    engines: list[Engine]

    def get_bind(self, *args: Any, **options: Any) -> Any:
        return self.engines[0]


@pytest.fixture
def elsewhere(tmp_path: Any) -> Iterator[Engine]:
    """A second shop, which sells coffee."""
    engine = create_engine(f"sqlite:///{tmp_path}/elsewhere.db")
    Product.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Product).values(id=1, name="coffee", stock=1))
    Routing.engines = [engine]
    yield engine
    engine.dispose()


def test_a_get_bind_of_its_own_decides(shop_url: str, elsewhere: Engine) -> None:
    with opened(shop_url, session_class=Routing, commit="on_success") as db:
        with db.scope("job") as session:
            assert session.get_one(Product, 1).name == "coffee"
            session.add(Order(product_id=1))
        with pytest.raises(ScopeEnded):
            session.get_bind()
    assert (count(shop_url), count(str(elsewhere.url))) == (0, 1)


@pytest.mark.postgres
def test_a_units_isolation_holds_where_get_bind_asks_nobody(pg_url: str) -> None:
    with opened(pg_url, session_class=Routing) as db:
        Routing.engines = [db.engine]
        with db.scope("job") as session:
            with session.unit(isolation="SERIALIZABLE", read_only=True):  # type: ignore[attr-defined]
                assert session.scalar(text("SHOW transaction_isolation")) == "serializable"
            assert session.scalar(text("SHOW transaction_isolation")) == "read committed"


# -- events -----------------------------------------------------------------------------------------------------------


class Heard(orm.Session):
    pass


class HeardToo(orm.Session):
    pass


@pytest.mark.parametrize("when", ["before", "after"])
def test_events_of_its_class_fire_after_ours(shop_url: str, when: str) -> None:
    told: list[str] = []

    def begun(session: Any, transaction: object, connection: Any) -> None:
        connection.execute(insert(Order).values(product_id=1))
        told.extend(session.changes().lines())

    kind = type("Kind", (orm.Session,), {})
    if when == "before":
        event.listen(kind, "after_begin", begun)
    with opened(shop_url, session_class=kind) as db, db.scope("job") as session:
        if when == "after":
            event.listen(kind, "after_begin", begun)
        session.execute(text("SELECT 1"))
        assert told == ["INSERT INTO orders (Core statement)"]
        session.rollback()


async def test_events_of_the_inner_class_fire(async_shop_url: str) -> None:
    told: list[str] = []

    class Inner(orm.Session):
        pass

    event.listen(Inner, "after_commit", lambda session: told.append("committed"))
    async with opened_async(async_shop_url, session_options={"sync_session_class": Inner}) as db:
        async with db.scope("job") as session:
            session.add(Order(product_id=1))
            await session.commit()
    assert told == ["committed"]


def test_each_listener_of_ours_hears_once(shop_url: str) -> None:
    event.listen(Heard, "after_commit", lambda session: None)
    with opened(shop_url, session_class=Heard) as db, db.scope("job") as session:
        plain = respool.Session()
        for name in ("after_transaction_create", "after_flush", "after_soft_rollback", "pending_to_persistent"):
            assert len(getattr(session.dispatch, name)) == len(getattr(plain.dispatch, name)) == 1


def test_a_users_plain_class_is_left_alone(shop_url: str) -> None:
    before = set(vars(HeardToo))
    engine = create_engine(shop_url)
    with opened(shop_url, session_class=HeardToo) as db, db.scope("job") as session:
        assert session.get_one(Product, 1).name == "tea"
        with HeardToo(engine) as plain:
            assert len(plain.dispatch.after_begin) == 0
            plain.get(Product, 1)
            assert plain.in_transaction()
    assert set(vars(HeardToo)) == before
    engine.dispose()


def test_one_class_is_made_of_each(shop_url: str) -> None:
    made = []
    for _ in range(2):
        with opened(shop_url, session_class=HeardToo) as db, db.scope("job") as session:
            made.append(type(session))
    assert made[0] is made[1]


def test_a_class_that_nobody_uses_any_more_goes(shop_url: str) -> None:
    class Passing(orm.Session):
        pass

    with opened(shop_url, session_class=Passing) as db, db.scope("job") as session:
        session.get(Product, 1)
    gone = weakref.ref(Passing)
    del Passing, db, session
    gc.collect()
    assert gone() is None


# -- SQLModel ---------------------------------------------------------------------------------------------------------


class Tables(sqlmodel.SQLModel):
    metadata = MetaData()


class Hero(Tables, table=True):
    __tablename__ = "heroes"

    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    name: str


async def test_sqlmodels_exec_leases_and_writes(the_shop: Shop) -> None:
    plain = create_engine(the_shop.plain_url)
    Tables.metadata.create_all(plain)
    plain.dispose()
    kind = (sqlmodel.Session, SQLModelAsyncSession)[the_shop.asynchronous]
    async with the_shop.open(session_class=kind, commit="on_success") as db:
        async with entered(db.scope("job")) as session:
            assert (await got(session.exec(sqlmodel.select(Hero)))).all() == []
            assert (await got(session.exec(sqlmodel.select(Hero.id, Hero.name)))).all() == []
            assert acquired(db) == 0
            session.add(Hero(name="Deadpond"))
        async with entered(db.scope("job")) as session:
            hero = (await got(session.exec(sqlmodel.select(Hero).where(Hero.name == "Deadpond")))).one()
            assert (hero.name, acquired(db)) == ("Deadpond", 0)
            hero.name = "Spider-Boy"
            await got(session.exec(sqlmodel.update(Hero).values(name="Rusty-Man")))
            assert [str(change) for change in session.changes()] == ["Hero(id=1) updated: name"]
            assert session.changes().statements == ("UPDATE heroes (Core statement)",)
            await got(session.rollback())
            with session.read_only(), pytest.raises(ReadOnly):
                await got(session.exec(sqlmodel.update(Hero).values(name="Rusty-Man")))


async def test_promise_06_one_user_at_a_time_in_exec(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, session_class=SQLModelAsyncSession) as db, db.scope("job") as session:
        statement: Any = sqlmodel.select(Product)
        asked = await asyncio.gather(*(session.exec(statement) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in asked[1:]] == [ConcurrentUse, ConcurrentUse]
        assert asked[0].one().name == "tea"  # type: ignore[union-attr]


# -- options ----------------------------------------------------------------------------------------------------------


class Counting(orm.Query[Any]):
    pass


async def test_options_reach_each_session(the_shop: Shop) -> None:
    info: dict[str, Any] = {"tenant": "acme", "seen": 0}
    options = {"expire_on_commit": True, "autoflush": False, "info": info, "query_cls": Counting}
    options |= {"enable_baked_queries": False, "join_transaction_mode": "create_savepoint"}
    async with the_shop.open(session_options=options) as db:
        options.clear()
        async with entered(db.scope("job")) as session:
            inner: Any = session.sync_session if the_shop.asynchronous else session
            assert (inner.expire_on_commit, inner.autoflush, inner.enable_baked_queries) == (True, False, False)
            assert (inner.join_transaction_mode, type(inner.query(Product))) == ("create_savepoint", Counting)
            session.info["seen"] += 1
        async with entered(db.scope("job")) as session, entered(session.fork()) as child:
            assert session.info == child.info == info == {"tenant": "acme", "seen": 0}
            assert session.info is not child.info


async def test_objects_expire_at_a_commit_if_that_is_wished(the_shop: Shop) -> None:
    async with the_shop.open(session_options={"expire_on_commit": True}) as db:
        async with entered(db.scope("job")) as session:
            tea = await got(session.get_one(Product, 1))
            tea.stock = 4
            await got(session.commit())
            assert "stock" not in vars(tea)
            await got(session.refresh(tea))
            assert tea.stock == 4


async def test_nothing_is_flushed_before_a_read_if_that_is_wished(the_shop: Shop) -> None:
    async with the_shop.open(session_options={"autoflush": False}) as db:
        async with entered(db.scope("job")) as session:
            session.add(Order(product_id=1))
            assert (await got(session.scalars(select(Order)))).all() == []
            await got(session.rollback())


async def test_transactions_are_begun_by_hand_if_that_is_wished(the_shop: Shop) -> None:
    async with the_shop.open(session_options={"autobegin": False}) as db, entered(db.scope("job")) as session:
        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            await got(session.get(Product, 1))
        async with entered(session.begin()):
            assert (await got(session.get_one(Product, 1))).name == "tea"
            session.add(Order(product_id=1))
    assert the_shop.count() == 1


async def test_an_end_begins_what_it_commits_where_that_is_done_by_hand(the_shop: Shop) -> None:
    ran: list[str] = []
    for options in ({}, {"expire_on_commit": True}):
        async with the_shop.open(commit="on_success", session_options={"autobegin": False, **options}) as db:
            async with entered(db.scope("nothing")):
                pass
            async with entered(db.scope("a hook")) as session:
                session.on_commit(lambda: ran.append("hook"))
            async with entered(db.scope("job")) as session, entered(session.begin()):
                session.add(Order(product_id=1))
    assert (the_shop.count(), ran) == (2, ["hook", "hook"])


async def test_a_closed_session_stays_closed_if_that_is_wished(the_shop: Shop) -> None:
    async with the_shop.open(session_options={"close_resets_only": False}) as db, entered(db.scope("job")) as session:
        await got(session.get(Product, 1))
        await got(session.close())
        with pytest.raises(InvalidRequestError, match="permanently closed"):
            await got(session.get(Product, 1))


def test_models_may_have_an_engine_of_their_own(shop_url: str, elsewhere: Engine) -> None:
    with opened(shop_url, session_options={"binds": {Order: elsewhere}}, commit="on_success") as db:
        with db.scope("job") as session:
            assert session.get_one(Product, 1).name == "tea"
            session.add(Order(product_id=1))
            session.flush()
            assert session.changes().lines() == ["Order(id=1) inserted"]
    assert (count(shop_url), count(str(elsewhere.url))) == (0, 1)


async def test_async_models_may_have_an_engine_of_their_own(async_shop_url: str, elsewhere: Engine) -> None:
    other = sa_asyncio.create_async_engine(str(elsewhere.url).replace("sqlite:", "sqlite+aiosqlite:"))
    async with opened_async(async_shop_url, session_options={"binds": {Product: other}}) as db:
        async with db.scope("job") as session:
            assert (await session.get_one(Product, 1)).name == "coffee"
            assert (await session.scalars(select(Order))).all() == []
    await other.dispose()


async def test_the_inner_class_can_be_an_option(async_shop_url: str) -> None:
    options = {"sync_session_class": KeywordOnlyWithBinds, "tenant": "acme"}
    async with opened_async(async_shop_url, session_options=options) as db, db.scope("job") as session:
        assert isinstance(session.sync_session, KeywordOnlyWithBinds)
        assert isinstance(session.sync_session, respool.Session)
        assert session.sync_session_class is type(session.sync_session)
        assert session.info == {"tenant": "acme"}
        assert (await session.get_one(Product, 1)).name == "tea"


class KeywordOnlyWithBinds(orm.Session):
    def __init__(self, *, bind: Any, binds: Any, tenant: str) -> None:
        super().__init__(bind, binds=binds)
        self.info["tenant"] = tenant


class Handing(sa_asyncio.AsyncSession):
    def __init__(self, bind: Any = None) -> None:
        super().__init__(bind, sync_session_class=Plain)


class AsyncForgetful(sa_asyncio.AsyncSession):
    def __init__(self, bind: Any = None, **options: Any) -> None:
        super().__init__(**options)


class AsyncAround(sa_asyncio.AsyncSession):
    def __init__(self, bind: Any = None) -> None:
        sa_asyncio.AsyncSession.__init__(self, bind, expire_on_commit=True)


class AsyncOursFixed(respool.AsyncSession):
    def __init__(self, bind: Any = None) -> None:
        super().__init__(bind)


@pytest.mark.parametrize("kind", [Handing, AsyncForgetful, AsyncAround, AsyncOursFixed])
async def test_an_async_constructor_may_have_its_own_arguments(async_shop_url: str, kind: Any) -> None:
    async with opened_async(async_shop_url, session_class=kind) as db:
        async with db.scope("job") as session:
            assert isinstance(session, kind)
            assert session.bind is db.engine
            assert session.sync_session.scope is session.scope  # type: ignore[attr-defined]
            assert session.sync_session_class is type(session.sync_session)
            assert (await session.get_one(Product, 1)).name == "tea"
            assert acquired(db) == 0
        with pytest.raises(ScopeEnded):
            await session.get(Product, 1)


class PastOurs(sa_asyncio.AsyncSession):
    def __init__(self, bind: Any = None) -> None:
        sa_asyncio.AsyncSession.__init__(self, bind, sync_session_class=Plain)


async def test_an_async_constructor_that_makes_a_session_of_its_own_is_told(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, session_class=PastOurs) as db:
        with pytest.raises(ConfigError, match="PastOurs made a sync session of its own kind"):
            async with db.scope("job"):
                pytest.fail("must not come here")


async def test_by_hand_an_async_session_has_a_class_inside_that_is_ours_too(async_shop_url: str) -> None:
    engine = sa_asyncio.create_async_engine(async_shop_url)
    async with AsyncBoth(engine) as session:
        assert isinstance(session.sync_session, respool.Session)
        assert await session.tea() == "tea"
    async with respool.AsyncSession(engine, sync_session_class=Plain) as given:
        assert isinstance(given.sync_session, Plain)
        assert isinstance(given.sync_session, respool.Session)
    with pytest.raises(ConfigError, match="sync_session_class="):
        respool.AsyncSession(engine, sync_session_class=orm.sessionmaker())  # type: ignore[arg-type]
    await engine.dispose()


# -- refusals ---------------------------------------------------------------------------------------------------------


class Demanding(orm.Session):
    def __init__(self, bind: Any, tenant: str) -> None:
        super().__init__(bind)


class NoBind(orm.Session):
    def __init__(self) -> None:
        super().__init__()


class Sealed(orm.Session):
    def __init_subclass__(cls, **options: Any) -> None:
        raise TypeError("Sealed has no subclasses")


@pytest.mark.parametrize(
    "keywords, told, advised",
    [
        ({"session_options": {"autoflsh": False}}, "unknown option 'autoflsh'", "did you mean 'autoflush'?"),
        ({"session_options": {"tenant": "acme"}}, "unknown option 'tenant'", "options: autoflush, expire_on_commit"),
        ({"session_options": ["autoflush"]}, "session_options=['autoflush'] is not accepted", "write a dict"),
        ({"session_options": {1: 2}}, "session_options={1: 2} is not accepted", "write a dict"),
        (
            {"session_options": {"join_transaction_mode": "x"}},
            "'x'",
            'invalid selection for join_transaction_mode: "x"',
        ),
        ({"session_options": {"info": 3}}, "session_options={'info': 3} is not accepted", "not iterable"),
        ({"session_options": {"binds": [Product]}}, "binds=[", "write a dict: {Model: engine}"),
        ({"session_options": {"bind": None}}, '{"bind": …}', "bound to the database"),
        ({"session_options": {"scope": None}}, '{"scope": …}', "db.scope()"),
        ({"session_options": {"begin": "on_use"}}, '{"begin": …}', 'Database(url, begin="on_use")'),
        ({"session_options": {"observers": ()}}, '{"observers": …}', "db.observe(observer)"),
        ({"session_options": {"twophase": True}}, '{"twophase": …}', "Database(url, twophase=True)"),
        ({"session_options": {"class_": Plain}}, '{"class_": …}', "session_class=ShopSession"),
        ({"session_options": {"scopefunc": id}}, '{"scopefunc": …}', "one session for each request"),
        ({"session_options": {"autocommit": True}}, '{"autocommit": …}', "leave it out"),
        ({"session_options": {"future": True}}, '{"future": …}', "leave it out"),
        ({"session_class": 3}, "session_class=3 is not accepted", "it is a class"),
        ({"session_class": dict}, "session_class=dict is not accepted", "it is a class"),
        ({"expire_on_commit": True}, "unknown keyword 'expire_on_commit'", "session_options={...}"),
    ],
)
def test_what_is_not_accepted(keywords: dict[str, Any], told: str, advised: str) -> None:
    for kind, url in ((Database, URL), (AsyncDatabase, "sqlite+aiosqlite:///:memory:")):
        with pytest.raises(ConfigError) as refused:
            kind(url, **keywords)
        assert told in refused.value.headline
        assert advised in str(refused.value)


@pytest.mark.parametrize(
    "given, advised",
    [
        (
            orm.sessionmaker(expire_on_commit=False),
            'session_class=Session, session_options={"autoflush": True, "expire',
        ),
        (orm.sessionmaker(class_=Plain), "session_class=Plain"),
        (orm.scoped_session(orm.sessionmaker(class_=Plain)), "leave it out: db.session is what it was for"),
        (orm.scoped_session(orm.sessionmaker(class_=Plain)), "session_class=Plain"),
        (orm.Session(), "give its class, Session"),
        (sa_asyncio.async_sessionmaker(class_=AsyncPlain), "session_class=AsyncPlain"),
        (AsyncPlain, "AsyncDatabase"),
        (Demanding, "missing a required argument: 'tenant'"),
        (NoBind, "got an unexpected keyword argument 'bind'"),
        (Sealed, "derive it from ours: class Sealed(respool.Session)"),
    ],
)
def test_what_is_no_class_for_a_database(given: Any, advised: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Database(URL, session_class=given)
    assert refused.value.setting == "session_class"
    assert advised in str(refused.value)


@pytest.mark.parametrize(
    "keywords, advised",
    [
        ({"session_class": Plain}, 'AsyncDatabase(url, session_options={"sync_session_class": Plain})'),
        ({"session_class": sa_asyncio.async_sessionmaker(class_=AsyncPlain)}, "session_class=AsyncPlain"),
        ({"session_class": sa_asyncio.async_scoped_session(sa_asyncio.async_sessionmaker(), id)}, "db.session is what"),
        ({"session_options": {"sync_session_class": orm.sessionmaker(class_=Plain)}}, "sync_session_class=Plain"),
        ({"session_options": {"sync_session_class": AsyncPlain}}, "it is a class: a subclass of SQLAlchemy's Session"),
        ({"session_options": {"sync_session_class": Demanding}}, "missing a required argument: 'tenant'"),
        ({"session_class": AsyncOursFixed, "session_options": {"autoflush": False}}, "unexpected keyword argument"),
    ],
)
def test_what_is_no_class_for_an_async_database(keywords: dict[str, Any], advised: str) -> None:
    with pytest.raises(ConfigError) as refused:
        AsyncDatabase("sqlite+aiosqlite:///:memory:", **keywords)
    assert advised in str(refused.value)


def test_an_unknown_option_goes_to_a_constructor_that_takes_any(shop_url: str) -> None:
    class Any_(orm.Session):
        def __init__(self, bind: Any = None, **options: Any) -> None:
            tenant = options.pop("tenant")
            super().__init__(bind, **options)
            self.info["tenant"] = tenant

    with opened(shop_url, session_class=Any_, session_options={"tenant": "acme"}) as db, db.scope("job") as session:
        assert session.info == {"tenant": "acme"}
    with pytest.raises(ConfigError, match="did you mean 'autoflush'"):
        Database(URL, session_class=Any_, session_options={"autoflsh": False})


# -- the database -----------------------------------------------------------------------------------------------------


def test_a_dependency_names_the_class_and_is_the_same_each_time() -> None:
    with opened(URL, pool=None, session_class=Plain) as db:
        assert get_type_hints(db.current_session) == {"return": Plain}
        assert signature(db.current_session, eval_str=True).return_annotation is Plain
        assert list(signature(db.current_session).parameters) == []
        assert db.current_session == db.current_session
        assert len({db.current_session, db.current_session}) == 1
        with opened(URL, pool=None, name="other") as other:
            assert db.current_session != other.current_session


def test_sqlalchemys_own_class_is_ours(shop_url: str) -> None:
    with opened(shop_url, session_class=orm.Session) as db, db.scope("job") as session:
        assert type(session) is respool.Session


def test_the_environment_leaves_the_class_to_the_program() -> None:
    db = Database.from_env(environ={"RESPOOL_URL": URL}, session_class=Plain, session_options={"autoflush": False})
    with db.scope("job") as session:
        assert (type(session).__bases__[1], session.autoflush) == (Plain, False)
    db.close()


def test_promise_07_a_session_of_the_users_class_goes_with_its_scope(shop_url: str) -> None:
    with opened(shop_url, session_class=Plain) as db:
        gc.collect()
        gc.disable()
        try:
            with db.scope("job") as session:
                session.get_one(Product, 1)
                gone = weakref.ref(session)
            del session
            assert gone() is None
        finally:
            gc.enable()


# -- names ------------------------------------------------------------------------------------------------------------


def every_name_of_ours() -> dict[str, Any]:
    def theirs(self: Any, *args: Any, **options: Any) -> Any:
        raise AssertionError("it is the user's, and not for us")

    names = [*OURS, *vars(Life), *vars(life_of(respool.Session())), "rules", "title", "hooks", "observers", "losses"]
    return {name: theirs for name in names if not name.startswith("__") and not hasattr(orm.Session, name)}


async def test_a_users_class_may_have_every_name_for_itself(the_shop: Shop) -> None:
    """All that we need of a session we ask of its life: what a user's class calls ``changes`` or ``scope`` is its own."""
    names = every_name_of_ours()
    kind: Any = type("Everything", (orm.Session,), dict(names))
    if the_shop.asynchronous:
        kind = type("AsyncEverything", (sa_asyncio.AsyncSession,), {**names, "sync_session_class": kind})
    ran: list[str] = []
    async with the_shop.open(session_class=kind, commit="on_success") as db:
        db.observe(SessionObserver())
        async with entered(db.scope("job")) as session:
            rules: Any = session.sync_session if the_shop.asynchronous else session
            assert (await got(session.get_one(Product, 1))).name == "tea"
            respool.Session.on_commit(rules, lambda: ran.append("committed"))
            session.add(Order(product_id=1))
            async with entered(session.begin_nested()):
                await got(session.execute(insert(Order).values(product_id=1)))
            assert db.holds_connection()
            assert [scope.phase for scope in db.scopes()] == ["working"]
            assert next(iter(db.scopes())).objects[ObjectState.PERSISTENT] == 1
            with pytest.raises(UncommittedChanges, match=r"released\(\) would lose"):
                async with entered(db.released()):
                    pytest.fail("must not come here")
        assert await got(db.run(reading_async if the_shop.asynchronous else reading, retry=1)) == "tea"
        with pytest.warns(UncommittedChanges):
            async with entered(db.scope("job", commit="manual")) as session:
                await got(session.execute(insert(Order).values(product_id=1)))
    assert (the_shop.count(), ran) == (2, ["committed"])


def reading(session: Any) -> str:
    return str(session.get_one(Product, 1).name)


async def reading_async(session: Any) -> str:
    return str((await session.get_one(Product, 1)).name)


# -- the end ----------------------------------------------------------------------------------------------------------


class Ending(orm.Session):
    """Does something of its own when it commits, and when it is closed."""

    heard: list[str]

    def commit(self) -> None:
        self.heard.append("commit")
        super().commit()

    def close(self) -> None:
        self.heard.append(f"close: {self.scalar(select(Product.name))}")
        super().close()
        self.heard.append("closed")


class AsyncEnding(sa_asyncio.AsyncSession):
    heard: list[str]

    async def commit(self) -> None:
        self.heard.append("commit")
        await super().commit()

    async def close(self) -> None:
        self.heard.append(f"close: {await self.scalar(select(Product.name))}")
        await super().close()
        self.heard.append("closed")


class Steps(SessionObserver):
    def __init__(self) -> None:
        self.taken: list[str] = []

    def closed(self, session: Any) -> None:
        self.taken.append("closed")

    def removed(self, session: Any) -> None:
        self.taken.append("removed")


@pytest.fixture
def ending(the_shop: Shop) -> Any:
    kind = (Ending, AsyncEnding)[the_shop.asynchronous]
    kind.heard = []
    return kind


async def test_an_end_commits_and_closes_as_the_users_class_does(the_shop: Shop, ending: Any) -> None:
    async with the_shop.open(session_class=ending, commit="on_success") as db:
        db.observe(steps := Steps())
        async with entered(db.scope("job")) as session:
            session.add(Order(product_id=1))
        assert ending.heard == ["commit", "close: tea", "closed"]
        assert (steps.taken, session.phase, acquired(db)) == (["closed", "removed"], respool.SessionPhase.REMOVED, 0)
    assert the_shop.count() == 1


async def test_an_end_does_so_where_nothing_was_done_too(the_shop: Shop, ending: Any) -> None:
    async with the_shop.open(session_class=ending, commit="on_success") as db:
        async with entered(db.scope("job")):
            pass
        assert ending.heard == ["commit", "close: tea", "closed"]


async def test_an_end_that_rolls_back_closes_and_tells_once(the_shop: Shop, ending: Any) -> None:
    async with the_shop.open(session_class=ending) as db:
        with pytest.warns(UncommittedChanges) as told:
            async with entered(db.scope("job")) as session:
                session.add(Order(product_id=1))
                await got(session.flush())
        assert [warning.message.changes for warning in told] == [("Order(id=1) inserted",)]  # type: ignore[union-attr]
        with pytest.raises(KeyError):
            async with entered(db.scope("job")):
                raise KeyError
        assert ending.heard == ["close: tea", "closed"] * 2
    assert the_shop.count() == 0


class Failing(orm.Session):
    def close(self) -> None:
        self.execute(text("SELECT 1"))
        raise KeyError("close")


def test_a_close_that_fails_is_logged_and_leaves_nothing_behind(
    shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(shop_url, session_class=Failing, commit="on_success") as db:
        with db.scope("job") as session:
            session.add(Order(product_id=1))
        assert (acquired(db), db.scopes()) == (0, ())
    assert "close() of the session of scope 'job'" in caplog.text
    assert count(shop_url) == 1


def test_another_class_in_the_place_of_sqlalchemys_is_not_asked(shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orm, "Session", respool.Session)
    with opened(shop_url) as db:
        with db.scope("job") as session:
            session.execute(select(Product).with_for_update())  # more than a read: a transaction begins
            assert acquired(db) == 1
            session.on_rollback(lambda: None)
        assert acquired(db) == 0
