"""What observers of a database hear: each step of a session's life, and the changes of each commit and rollback."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import IntegrityError

from respool import AsyncSession, ChangeSet, Database, Session, SessionObserver
from respool.errors import ConfigError, UncommittedChanges
from respool.session.changes.log import Unloaded
from tests.session.shop import Order, Product, acquired, count, fill, opened, opened_async


class Listener(SessionObserver):
    """Notes every step, with the lines of what came along."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.sets: list[ChangeSet] = []

    def created(self, session: Session) -> None:
        self.heard.append("created")

    def working(self, session: Session) -> None:
        self.heard.append("working")

    def committing(self, session: Session, changes: ChangeSet) -> None:
        self.heard.append(("committing", *changes.lines()))

    def committed(self, session: Session, changes: ChangeSet) -> None:
        self.heard.append(("committed", *changes.lines()))
        self.sets.append(changes)

    def rolled_back(self, session: Session, lost: ChangeSet) -> None:
        self.heard.append(("rolled back", *lost.lines()))
        self.sets.append(lost)

    def closed(self, session: Session) -> None:
        self.heard.append("closed")

    def removed(self, session: Session) -> None:
        self.heard.append("removed")


@pytest.fixture
def listener(db: Database) -> Listener:
    observer = Listener()
    db.observe(observer)
    return observer


def test_every_step_of_a_life_is_told(db: Database, listener: Listener) -> None:
    with db.scope("job") as session:
        session.get_one(Product, 1).stock = 4
        session.commit()
        session.execute(text("SELECT 1"))
        session.rollback()
        session.close()
        session.add(Order(id=1, product_id=1))
    change = "Product(id=1) updated: stock"
    assert listener.heard == [
        *("created", "working", ("committing", change), ("committed", change)),
        *("working", ("rolled back",), "closed"),
        *(
            "working",
            ("committing", "Order(id=1) inserted"),
            ("committed", "Order(id=1) inserted"),
            "closed",
            "removed",
        ),
    ]


async def test_an_async_session_tells_the_same(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        listener = Listener()
        db.observe(listener)
        async with db.scope("job") as session:
            session.add(Order(id=1, product_id=1))
        async with db.scope("unused"):
            pass
    told = "Order(id=1) inserted"
    life = ["created", "working", ("committing", told), ("committed", told), "closed", "removed"]
    assert listener.heard == [*life, "created", "closed", "removed"]


def test_a_change_set_has_the_values_and_its_text_has_none(db: Database, listener: Listener) -> None:
    with db.scope("POST /orders") as session:
        session.add_all([Order(id=1, product_id=1, note="a secret"), Product(id=2, name="gone", stock=2)])
        session.commit()
        session.get_one(Product, 1).name = "a secret"
        order, gone = session.get_one(Order, 1), session.get_one(Product, 2)
        order.note = "another secret"
        session.delete(gone)
        session.execute(update(Product).where(Product.id == 1).values(stock=1))
        session.commit()
        order.note = "later"
        session.flush()
    first, second, _ = listener.sets
    assert (first.scope, first.database) == ("POST /orders", "default")
    order_made, product_made = sorted(first.inserts, key=lambda change: change.model.__name__)
    assert (order_made.model, order_made.identity) == (Order, {"id": 1})
    assert order_made.values == {"id": 1, "product_id": 1, "note": "a secret"}
    assert product_made.values == {"id": 2, "name": "gone", "stock": 2}
    assert {c.model: c.attributes for c in second.updates} == {
        Product: {"name": ("tea", "a secret")},
        Order: {"note": ("a secret", "another secret")},
    }
    (deleted,) = second.deletes
    assert (deleted.identity, deleted.values) == ({"id": 2}, {"id": 2, "name": "gone", "stock": 2})
    assert second.statements == ("UPDATE products (Core statement)",)
    written = f"{first} {first!r} {second} {second!r} {first.inserts!r} {second.updates}"
    assert "Order(id=1)" in written
    assert not [secret for secret in ("secret", "gone", "tea") if secret in written]


def test_values_are_kept_though_nobody_holds_the_objects(db: Database, listener: Listener) -> None:
    with db.scope("job") as session:
        session.add(Order(id=7, product_id=1, note="x"))
        session.flush()
        session.commit()
    (told,) = listener.sets
    assert told.inserts[0].values == {"id": 7, "product_id": 1, "note": "x"}


class Outbox(SessionObserver):
    """Writes a row for each order that a transaction adds, in the same transaction."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def committing(self, session: Session, changes: ChangeSet) -> None:
        self.seen.append(changes.lines())
        for change in changes.inserts:
            session.add(Product(name=f"message about {change.model.__name__} {change.identity['id']}"))

    def committed(self, session: Session, changes: ChangeSet) -> None:
        self.seen.append(changes.lines())


@pytest.mark.parametrize("how", ["commit", "begin", "open savepoint", "closed savepoint", "end"])
def test_an_outbox_is_part_of_the_transaction(db: Database, shop_url: str, how: str) -> None:
    outbox = Outbox()
    db.observe(outbox)
    with db.scope("job") as session:
        if how == "begin":
            with session.begin():
                session.add(Order(id=1, product_id=1))
        elif how == "open savepoint":
            with session.begin():
                session.begin_nested()
                session.add(Order(id=1, product_id=1))
        else:
            if how == "closed savepoint":
                with session.begin_nested():
                    session.add(Order(id=1, product_id=1))
            session.merge(Order(id=1, product_id=1))
            if how != "end":
                session.commit()
    assert outbox.seen == [["Order(id=1) inserted"], ["Order(id=1) inserted", "Product(id=2) inserted"]]
    assert (count(shop_url), count(shop_url, Product)) == (1, 2)


def test_promise_03_what_committing_raises_fails_the_commit(db: Database, shop_url: str) -> None:
    class Refuses(Listener):
        def committing(self, session: Session, changes: ChangeSet) -> None:
            super().committing(session, changes)
            raise LookupError("the outbox is full")

    refuses = Refuses()
    end = db.observe(refuses)
    with pytest.raises(LookupError, match="the outbox is full"), db.scope("job") as session:  # noqa: PT012
        session.add(Order(id=1, product_id=1))
        with pytest.raises(LookupError):
            session.commit()
    told = "Order(id=1) inserted"
    assert refuses.heard[2:] == [("committing", told), ("committing", told), ("rolled back", told), "closed", "removed"]
    assert (count(shop_url), acquired(db)) == (0, 0)
    end()
    with db.scope("job") as session:
        session.add(Order(id=1, product_id=1))
    assert (count(shop_url), len(refuses.heard)) == (1, 7)


class NoExceptionError(BaseException): ...


@pytest.mark.parametrize(
    "error", [LookupError("broken"), NoExceptionError("broken")], ids=lambda error: type(error).__name__
)
def test_what_the_others_raise_is_logged(
    db: Database, shop_url: str, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    class Broken(SessionObserver):
        def fail(self, *what: Any) -> None:
            raise error

        created = working = committed = rolled_back = closed = removed = fail

    db.observe(Broken())
    with db.scope("job") as session:
        session.add(Order(product_id=1))
        session.commit()
        session.add(Order(product_id=1))
        session.rollback()
    assert (count(shop_url), acquired(db)) == (1, 0)
    steps = [record.getMessage().rpartition("Broken.")[2] for record in caplog.records]
    life = ["created", "working", "committed", "working", "rolled_back", "closed", "removed"]
    assert steps == [f"{step}() failed" for step in life]


@pytest.mark.parametrize("order", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("step", ["created", "working", "committed", "rolled_back", "closed", "removed"])
def test_what_is_meant_for_the_caller_goes_on_when_all_were_told(
    db: Database, order: type[BaseException], step: str
) -> None:
    listener, last = Listener(), Listener()

    def stop(*what: Any) -> None:
        raise order

    setattr(listener, step, stop)
    db.observe(listener)
    db.observe(last)

    def work() -> None:
        with db.scope("job") as session:
            session.add(Order(product_id=1))
            session.commit()
            session.add(Order(product_id=1))
            session.rollback()

    with pytest.raises(order):
        work()
    told = [each if isinstance(each, str) else each[0].replace(" ", "_") for each in last.heard]
    assert step in told
    assert (acquired(db), db.scopes()) == (0, ())


def lose(session: Session, how: str) -> None:
    """Two changes, one of them not flushed, and a way to lose both."""
    with session.begin() if how == "begin" else nullcontext():
        session.get_one(Product, 1).stock = 9
        session.flush()
        session.add(Order(id=1, product_id=1))
        if how == "flush":
            session.add(Order(id=2))  # without a product
            session.commit()
        if how == "close":
            with pytest.warns(UncommittedChanges):
                session.close()
        if how == "rollback":
            session.rollback()
        raise LookupError


@pytest.mark.parametrize("how", ["rollback", "begin", "close", "end", "flush"])
def test_a_rollback_tells_what_was_lost(db: Database, listener: Listener, how: str) -> None:
    with pytest.raises((LookupError, IntegrityError)), db.scope("job") as session:
        lose(session, how)
    told = [step for step in listener.heard if step[0] == "rolled back"]
    flushed = how == "flush"  # it failed at the second of two orders
    assert told == [("rolled back", *(["Order(new) inserted"] * (1 + flushed)), "Product(id=1) updated: stock")]


def test_a_savepoint_is_no_commit_and_no_rollback(db: Database, listener: Listener) -> None:
    with db.scope("job") as session:
        savepoint = session.begin_nested()
        session.add(Order(id=1, product_id=1))
        savepoint.rollback()
        with session.begin_nested():
            session.add(Order(id=2, product_id=1))
        session.rollback()
    assert listener.heard == ["created", "working", ("rolled back", "Order(id=2) inserted"), "closed", "removed"]


def test_committed_is_told_when_the_connection_is_back(db: Database) -> None:
    found: list[Any] = []

    class Looks(SessionObserver):
        def committed(self, session: Session, changes: ChangeSet) -> None:
            with db.scope("after") as other:
                found.append((acquired(db), other.scalar(text("SELECT count(*) FROM orders"))))

    db.observe(Looks())
    with db.scope("job") as session:
        session.add(Order(product_id=1))
    assert found[0] == (0, 1)


class Slow(SessionObserver):
    """Coroutine functions, on an async database."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def committing(self, session: AsyncSession, changes: ChangeSet) -> None:
        await asyncio.sleep(0)
        session.add(Product(name="message"))
        await session.flush()  # of itself, SQLAlchemy 2.0 does not before text()
        self.heard.append(await session.scalar(text("SELECT count(*) FROM products")))

    async def committed(self, session: AsyncSession, changes: ChangeSet) -> None:
        await asyncio.sleep(0)
        self.heard.append(changes.lines())

    async def rolled_back(self, session: AsyncSession, lost: ChangeSet) -> None:
        await asyncio.sleep(0)
        self.heard.append(lost.lines())


async def test_coroutine_functions_are_awaited_on_an_async_database(async_shop_url: str, shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        slow = Slow()
        db.observe(slow)
        async with db.scope("job") as session:
            session.add(Order(id=1, product_id=1))
            await session.commit()
            session.add(Order(id=2, product_id=1))
            await session.rollback()
        assert acquired(db) == 0
    told = ["Order(id=1) inserted", "Product(id=2) inserted"]
    assert slow.heard == [2, told, ["Order(new) inserted"]]
    assert count(shop_url, Product) == 2


@pytest.mark.parametrize("observer, told", [(Slow(), "coroutine function"), (object(), "type object")])
def test_what_could_not_be_told_is_refused(db: Database, observer: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        db.observe(observer)


async def test_steps_that_nobody_could_await_are_refused(async_shop_url: str) -> None:
    class Awaited(SessionObserver):
        async def created(self, session: AsyncSession) -> None: ...

    async with opened_async(async_shop_url) as db:
        with pytest.raises(ConfigError, match=r"Awaited.created\(\) is a coroutine function"):
            db.observe(Awaited())


def test_two_databases_have_observers_of_their_own(shop_url: str, tmp_path: Any) -> None:
    fill(other_url := f"sqlite:///{tmp_path}/other.db")
    with opened(shop_url) as one, opened(other_url, name="other") as other:
        first, second = Listener(), Listener()
        one.observe(first)
        other.observe(second)
        with one.scope("job"), other.scope("job") as session:
            session.get_one(Product, 1).stock = 1
            session.commit()
    assert first.heard == ["created", "closed", "removed"]
    assert second.sets[0].database == "other"


def test_an_update_of_what_was_not_loaded_has_no_old_value(db: Database, listener: Listener) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        session.expire(tea, ["stock"])
        tea.stock = 6
    assert listener.sets[0].updates[0].attributes == {"stock": (Unloaded.UNLOADED, 6)}


def test_promise_03_a_commit_that_the_database_refuses_is_told_as_a_rollback(
    db: Database, listener: Listener, shop_url: str
) -> None:
    event.listen(db.engine, "commit", lambda connection: None)
    with pytest.raises(IntegrityError), db.scope("job") as session:
        session.add(Order(id=1, product_id=999))
    told = "Order(id=1) inserted"
    assert listener.heard == [
        *("created", "working", ("committing", told), ("rolled back", told), "closed", "removed"),
    ]
    assert count(shop_url) == 0
