"""Several databases in one request: all or nothing where that can be had, and the truth where it cannot."""

# ruff: noqa: PT012 -- what raises is a block, with what is done in it
from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from respool import Database
from respool.ending.aio import end_async, in_greenlet
from respool.ending.end import End, drive
from respool.errors import CommitOutcomeUnknown, ConfigError, PartialCommit
from tests.session.faces import Shop
from tests.session.shop import Order, Product, acquired, count, fill
from tests.support.postgres import PostgresServer

NO_PRODUCT = 999  #: an order of it is refused at COMMIT


@asynccontextmanager
async def request(*databases: Any, policy: Any = "on_success") -> AsyncIterator[None]:
    """A request as a middleware makes one: a scope of each database, ended together."""
    scopes = [database.new_scope("POST /orders", commit=policy) for database in databases]
    for scope in scopes:
        scope.enter()
    try:
        yield
        if isinstance(databases[0], Database):
            drive(End(scopes))
        else:
            await end_async(End(scopes), in_greenlet)
    finally:
        for scope in reversed(scopes):
            scope.leave()


@pytest.fixture
def other_shop(the_shop: Shop, request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Shop]:
    """A second database of the same kind."""
    if the_shop.sqlite:
        other = tmp_path / "other.db"
        plain = f"sqlite:///{other}"
        fill(plain)
        yield Shop(f"{the_shop.url.partition(':')[0]}:///{other}", plain, the_shop.asynchronous)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"other_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    plain = server.url(database=name)
    fill(plain)
    yield Shop(plain.replace("+psycopg:", f"{the_shop.url.partition('://')[0][10:]}:"), plain, the_shop.asynchronous)
    server.drop_database(name)


# -- one after the other ----------------------------------------------------------------------------------------------


async def test_a_flush_that_fails_saves_nothing_anywhere(the_shop: Shop, other_shop: Shop) -> None:
    async with the_shop.open(name="one") as one, other_shop.open(name="two") as two:
        with pytest.raises(Exception, match=r"(?i)unique"):
            async with request(one, two):
                one.session.add(Order(product_id=1))
                two.session.add(Product(id=1, name="there already"))
        assert (the_shop.count(), other_shop.count(Product), acquired(one), acquired(two)) == (0, 1, 0, 0)


async def test_promise_03_a_commit_that_fails_between_names_who_was_committed(the_shop: Shop, other_shop: Shop) -> None:
    ran: list[str] = []
    async with the_shop.open(name="one") as one, other_shop.open(name="two") as two:
        with pytest.raises(PartialCommit) as told:
            async with request(one, two):
                for database, product in ((one, 1), (two, NO_PRODUCT)):
                    session = database.session
                    session.add(Order(product_id=product))
                    session.on_commit(lambda name=database.name: ran.append(f"{name} committed"))
                    session.on_rollback(lambda name=database.name: ran.append(f"{name} rolled back"))
        error = told.value
        assert (error.committed, error.failed, error.rolled_back) == (("one",), "two", ())
        assert "foreign key" in str(error.__cause__).lower()
        assert "database 'one' committed, database 'two' not" in str(error)
        assert ran == ["one committed", "two rolled back"]
        assert (the_shop.count(), other_shop.count(), acquired(one), acquired(two)) == (1, 0, 0, 0)


async def test_the_first_commit_that_fails_is_no_partial_one(the_shop: Shop, other_shop: Shop) -> None:
    async with the_shop.open(name="one") as one, other_shop.open(name="two") as two:
        with pytest.raises(Exception, match=r"(?i)foreign key") as told:
            async with request(one, two):
                one.session.add(Order(product_id=NO_PRODUCT))
                two.session.add(Order(product_id=1))
        assert not isinstance(told.value, PartialCommit)
        assert (the_shop.count(), other_shop.count()) == (0, 0)


async def test_a_database_that_was_only_read_does_not_count(the_shop: Shop, other_shop: Shop) -> None:
    async with the_shop.open(name="one") as one, other_shop.open(name="two") as two:
        with pytest.raises(Exception, match=r"(?i)foreign key") as told:
            async with request(one, two):
                found = one.session.get(Product, 1)
                if the_shop.asynchronous:
                    await found
                two.session.add(Order(product_id=NO_PRODUCT))
        assert not isinstance(told.value, PartialCommit)


async def test_an_unknown_outcome_is_told_as_such(
    tmp_path: Any, shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases, urls = [], [shop_url]
    for name in ("two", "three"):
        urls.append(f"sqlite:///{tmp_path / name}.db")
        fill(urls[-1])
    for name, url in zip(("one", "two", "three"), urls, strict=True):
        databases.append(Database(url, name=name))
    dialect: Any = databases[1].engine.dialect

    def lose(connection: Any) -> None:
        raise dialect.loaded_dbapi.OperationalError("gone")

    monkeypatch.setattr(dialect, "do_commit", lose)
    monkeypatch.setattr(dialect, "is_disconnect", lambda *args: True)
    with pytest.raises(PartialCommit, match="perhaps: its outcome is unknown") as told:
        async with request(*databases):
            for database in databases:
                database.session.add(Order(product_id=1))
    assert (told.value.committed, told.value.failed, told.value.rolled_back) == (("one",), "two", ("three",))
    assert isinstance(told.value.__cause__, CommitOutcomeUnknown)
    for database in databases:
        database.close()


# -- in two phases ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two PostgreSQL databases."""

    urls: list[str]
    asynchronous: bool

    @asynccontextmanager
    async def open(self) -> AsyncIterator[list[Any]]:
        """Both, to be committed in two phases."""
        async with AsyncExitStack() as stack:
            databases = []
            for name, url in zip(("one", "two"), self.urls, strict=True):
                shop = Shop(url, url, self.asynchronous)
                databases.append(await stack.enter_async_context(shop.open(name=name, commit="manual", twophase=True)))
            yield databases

    def count(self) -> list[int]:
        """How many orders there are in each, and how many transactions are left prepared."""
        engine = create_engine(self.urls[0])
        with engine.connect() as connection:
            prepared = connection.scalar(text("SELECT count(*) FROM pg_prepared_xacts"))
        engine.dispose()
        return [*map(count, self.urls), int(prepared or 0)]


@pytest.fixture(params=["psycopg", "psycopg async"])
def pair(request: pytest.FixtureRequest, postgres: PostgresServer, pg_url: str) -> Iterator[Pair]:
    name = f"other_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    urls = [pg_url, postgres.url(database=name)]
    for url in urls:
        fill(url)
    yield Pair(urls, asynchronous="async" in request.param)
    postgres.drop_database(name)


def phases(databases: Any) -> list[str]:
    """What the databases are told, in order."""
    told: list[str] = []
    for database in databases:
        engine = getattr(database.engine, "sync_engine", database.engine)
        event.listen(engine, "prepare_twophase", lambda c, xid, name=database.name: told.append(f"prepare {name}"))
        event.listen(
            engine,
            "commit_twophase",
            lambda c, xid, ready, name=database.name: told.append(f"commit {name}{' prepared' if ready else ''}"),
        )
    return told


async def test_promise_03_a_commit_that_fails_in_two_phases_saves_nothing(pair: Pair) -> None:
    async with pair.open() as databases:
        for _ in range(2):  # and the connection that it failed on serves no second time
            with pytest.raises(Exception, match=r"(?i)foreign key") as told:
                async with request(*databases):
                    databases[0].session.add(Order(product_id=1))
                    databases[1].session.add(Order(product_id=NO_PRODUCT))
            assert not isinstance(told.value, PartialCommit)
            assert [*pair.count(), *map(acquired, databases)] == [0, 0, 0, 0, 0]


async def test_all_prepare_before_any_commits(pair: Pair) -> None:
    async with pair.open() as databases:
        told = phases(databases)
        async with request(*databases):
            for database in databases:
                database.session.add(Order(product_id=1))
        assert told == ["prepare one", "prepare two", "commit one prepared", "commit two prepared"]
        assert pair.count() == [1, 1, 0]


async def test_one_database_alone_is_not_prepared(pair: Pair) -> None:
    async with pair.open() as databases:
        told = phases(databases)
        async with request(*databases):
            databases[1].session.add(Order(product_id=1))
        assert told == ["commit two"]
        assert pair.count() == [0, 1, 0]


async def test_a_database_without_phases_commits_between(pair: Pair, shop_url: str, async_shop_url: str) -> None:
    """Its COMMIT may fail: what is prepared is taken back then."""
    plain_shop = Shop(async_shop_url if pair.asynchronous else shop_url, shop_url, pair.asynchronous)
    async with pair.open() as databases, plain_shop.open(name="plain") as plain:
        for product, saved in ((NO_PRODUCT, 0), (1, 1)):
            async with _expecting(product == NO_PRODUCT), request(databases[0], plain, databases[1]):
                databases[0].session.add(Order(product_id=1))
                plain.session.add(Order(product_id=product))
                databases[1].session.add(Order(product_id=1))
            assert [*pair.count(), plain_shop.count()] == [saved, saved, 0, saved]


@asynccontextmanager
async def _expecting(failure: bool) -> AsyncIterator[None]:
    if failure:
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            yield
    else:
        yield


def test_two_phases_are_refused_where_there_are_none(shop_url: str) -> None:
    with pytest.raises(ConfigError, match="no two-phase commit"):
        Database(shop_url, twophase=True)
    Database(shop_url).close()  # the name is free
