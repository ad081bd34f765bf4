"""The pages of errors show the messages that users really get, and the attributes that the exceptions really have."""

from __future__ import annotations

import asyncio
import fnmatch
import inspect
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import ForeignKey, delete, exc, table, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from respool import AsyncDatabase, Database, PoolConfig, errors
from respool.ending.end import End, drive
from respool.engine import FairPool
from respool.errors import RespoolError
from respool.pool import ConnectionPool
from respool.session.life import life_of
from respool.testing import rolled_back
from respool.whereabouts import client
from tests.docs.pages import ROOT

LIST = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
CODES = {kind.code: kind for kind in (getattr(errors, name) for name in errors.__all__)}
LEAVES = [code for code in CODES if not code.endswith("000")]


def section(code: str) -> str:
    return (ROOT / "docs" / "reference" / "errors" / f"{code}.md").read_text(encoding="utf-8")


def attributes(code: str) -> set[str]:
    """What its page lists behind "Attributes:"."""
    listed = re.search(r"Attributes:((?:[^.]|\.\w)*)\.\s", section(code))
    return set(re.findall(r"`(\w+)`", listed[1])) if listed else set()


@pytest.fixture
def db() -> Iterator[Database]:
    database = Database("sqlite://", name="errors", pool=PoolConfig(timeout=0.01, max_waiting=1))
    yield database
    database.close()


def misspelt(db: Database) -> None:
    PoolConfig.of({"max_sise": 3})


def without_a_driver(db: Database) -> None:
    Database("mssql+pymssql://h/d")


def exhausted(db: Database) -> None:
    with db.engine.connect():
        db.engine.connect()


def closed(db: Database) -> None:
    db.close()
    with db.scope("late"):
        pass


def closed_pool(db: Database) -> None:
    db.close()
    db.engine.connect()


def queue_full(db: Database) -> None:
    pool = ConnectionPool(object, close=id, max_size=1, max_waiting=0, name="errors")
    with pool, pool.acquire():
        pool.acquire()


class Gone:
    """A client that has hung up already."""

    def waits(self, leave: Callable[[], object]) -> None:
        leave()

    def goes_on(self, leave: Callable[[], object]) -> None: ...


def gone(db: Database) -> None:
    before = client.set(Gone())
    try:
        exhausted(db)
    finally:
        client.reset(before)


def of_another_test(db: Database) -> None:
    with rolled_back(db):
        engine = db.engine
    engine.connect()


def lost_in_a_test(db: Database) -> None:
    with rolled_back(db), db.engine.connect() as connection:
        connection.connection.dbapi_connection.raw.rollback()  # type: ignore[union-attr]


def asking_for_a_second_one(db: Database) -> None:
    with rolled_back(db), db.engine.connect():
        db.engine.connect()


def refused(db: Database) -> None:
    with ConnectionPool(lambda: [].pop()) as pool:
        pool.warm_up(1, wait=10)


def no_scope(db: Database) -> None:
    db.session


def ended(db: Database) -> None:
    scope = db.new_scope("GET /orders")
    scope.enter()
    session = db.session
    scope.end()
    try:
        session.execute(text("SELECT 1"))
    finally:
        scope.leave()


def elsewhere(db: Database) -> None:
    told: list[RespoolError] = []

    def use() -> None:
        try:
            session.execute(text("SELECT 1"))
        except RespoolError as error:
            told.append(error)

    with db.scope("one") as session:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    raise told[0]


def two_inside(db: Database) -> None:
    told: list[RespoolError] = []
    with db.scope("one") as session:
        life = life_of(session)
        assert life.guard.enter(life, session)  # we are inside

        def use() -> None:
            try:
                session.execute(text("SELECT 1"))
            except RespoolError as error:
                told.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        life.guard.leave(life, session)
    raise told[0]


def doomed(db: Database) -> None:
    with db.scope("one") as session:
        assert session.scope is not None
        session.scope.doom("a part is missing")
        session.commit()


def forgotten(db: Database) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.UncommittedChanges)
        with db.scope("one") as session:
            session.execute(text("CREATE TABLE t (id INTEGER)"))


def only_to_be_read(db: Database) -> None:
    with db.scope("job") as session, session.read_only():
        session.execute(text("SELECT 1"))
        session.execute(delete(table("t")))


def lost(db: Database) -> None:
    dialect: Any = db.engine.dialect

    def lose(connection: Any) -> None:
        raise dialect.loaded_dbapi.OperationalError("gone")

    dialect.do_commit = lose
    dialect.is_disconnect = lambda *args: True
    with db.scope("one") as session:
        session.execute(text("CREATE TABLE t (id INTEGER)"))
        session.commit()


def hung_up(db: Database) -> None:
    with db.scope("one") as session:
        session.execute(text("CREATE TABLE t (id INTEGER)"))
        session.execute(text("INSERT INTO t VALUES (1)"))
        dialect = db.engine.dialect
        with (
            patch("respool.session.transaction.connection.has_hung_up", lambda connection: True),
            patch.object(dialect, "name", "any"),
        ):
            session.commit()


def failed_hook(db: Database) -> None:
    told: list[RespoolError] = []
    logger = logging.getLogger("respool.session")
    handler = logging.Handler()
    handler.emit = lambda record: told.extend(record.args or ())  # type: ignore[method-assign, assignment]
    logger.addHandler(handler)
    try:
        with db.scope("one") as session:
            session.on_commit([].pop)
            session.commit()
    finally:
        logger.removeHandler(handler)
    raise told[0]


def half_committed(db: Database) -> None:
    other = Database("sqlite://", name="other")
    dialect: Any = other.engine.dialect

    def fail(connection: Any) -> None:
        raise dialect.loaded_dbapi.IntegrityError("no")

    dialect.do_commit = fail
    one = Database("sqlite://", name="default")
    scopes = [each.new_scope("one", commit="on_success") for each in (one, other)]
    try:
        for scope, database in zip(scopes, (one, other), strict=True):
            scope.enter()
            database.session.execute(text("CREATE TABLE t (id INTEGER)"))
        drive(End(scopes))
    finally:
        for scope in reversed(scopes):
            scope.leave()
        one.close()
        other.close()


def ended_inside(db: Database) -> None:
    with db.scope("one") as session, session.unit():
        session.commit()


def waiting_for_itself(db: Database) -> None:
    with db.scope("one") as session, session.unit():
        session.execute(text("CREATE TABLE t (id INTEGER)"))
        with session.unit(new=True):
            pass


class Shelf(DeclarativeBase):
    pass


class Product(Shelf):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    orders: Mapped[list[Order]] = relationship()


class Order(Shelf):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))


def detached(db: Database) -> None:
    Shelf.metadata.create_all(db.engine)
    with db.scope("GET /products/1") as session:
        session.add(Product(id=1))
        session.commit()
        session.expire(tea := session.get_one(Product, 1), ["orders"])
    tea.orders


def unawaited(db: Database) -> None:
    async def read() -> None:
        adb = AsyncDatabase("sqlite+aiosqlite://", name="unawaited")
        try:
            async with adb.scope("GET /products/1") as session:
                await session.run_sync(lambda s: Shelf.metadata.create_all(s.connection()))
                session.add(Product(id=1))
                await session.commit()
                session.expire(tea := await session.get_one(Product, 1), ["orders"])
                tea.orders
        finally:
            await adb.close()

    asyncio.run(read())


def unawaited_session(db: Database) -> None:
    async def use() -> None:
        adb = AsyncDatabase("sqlite+aiosqlite://", name="unawaited")
        try:
            async with adb.scope("GET /products/1") as session:
                session.sync_session.execute(text("SELECT 1"))
        finally:
            await adb.close()

    asyncio.run(use())


WAYS: list[tuple[str, Callable[[Database], None]]] = [
    ("C001", misspelt),
    ("C002", without_a_driver),
    ("O001", detached),
    ("O002", unawaited),
    ("O002", unawaited_session),
    ("P001", exhausted),
    ("P002", closed),
    ("P002", closed_pool),
    ("P003", queue_full),
    ("P004", refused),
    ("P005", gone),
    ("P006", of_another_test),
    ("P006", lost_in_a_test),
    ("S001", no_scope),
    ("S002", ended),
    ("S003", elsewhere),
    ("S004", two_inside),
    ("S005", doomed),
    ("S006", forgotten),
    ("S007", lost),
    ("S008", only_to_be_read),
    ("S011", ended_inside),
    ("S012", waiting_for_itself),
    ("S012", asking_for_a_second_one),
    ("S013", failed_hook),
    ("S014", half_committed),
    ("S015", hung_up),
]


@pytest.mark.parametrize("code, way", WAYS, ids=lambda each: getattr(each, "__name__", each))
def test_the_message_is_the_one_shown(db: Database, code: str, way: Callable[[Database], None]) -> None:
    with pytest.raises(CODES[code]) as raised:
        way(db)
    shown = re.search(r"```text\n(.*?)```", section(code), re.DOTALL)
    assert shown
    first = str(raised.value).partition("\n")[0]
    patterns = [line.replace("[", "[[]", 1).replace("…", "*") for line in shown[1].splitlines()]
    assert any(fnmatch.fnmatchcase(first, pattern) for pattern in patterns), first
    assert attributes(code) <= set(raised.value.facts), "an attribute that is listed is not there"


@pytest.mark.parametrize("code", CODES)
def test_every_attribute_that_a_class_declares_is_listed(code: str) -> None:
    kind = CODES[code]
    ours = [each for each in kind.__mro__ if each in CODES.values()]
    declared = {name for each in ours for name in inspect.get_annotations(each)}
    assert declared - {"code", "told", "_advice_label"} <= attributes(code)


def test_every_error_is_shown_in_one_way_at_least() -> None:
    assert {code for code, _ in WAYS} == set(LEAVES)


def test_every_error_has_causes_and_what_to_do() -> None:
    for code in LEAVES:
        assert "What to do:" in section(code), code
        assert "Causes, likeliest first:" in section(code) or code == "S005", code


def test_the_list_has_them_all() -> None:
    assert re.findall(r"^\| \[(\w+)\]\(errors/\1\.md\) \| `(\w+)` ", LIST, re.MULTILINE) == [
        (code, CODES[code].__name__) for code in [*sorted(LEAVES), "R000", "P000", "S000"]
    ]


def test_a_timeout_through_an_engine_is_sqlalchemys_too(db: Database) -> None:
    assert isinstance(db.engine.pool, FairPool)
    with pytest.raises(exc.TimeoutError, match="P001"):
        exhausted(db)
