"""An application's start and stop: what is warmed up, what is drained, and what keeps nobody from starting."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

from respool import AsyncDatabase, Database, PoolConfig
from respool.engine import AsyncFairPool, FairPool
from respool.errors import ConnectFailed, PoolClosed
from respool.web.asgi import RequestScopeMiddleware
from respool.web.rules.lifespan import start, stop
from tests.session.shop import opened, opened_async
from tests.web.clients import living

WARM = PoolConfig(min_size=2, max_size=3)


async def silent(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("I know of no lifespan")


class Proper:
    """An application with a lifespan, and how it went."""

    def __init__(self, db: Database, outcome: str = "complete") -> None:
        self.db = db
        self.outcome = outcome
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            self.seen.append((phase, self.db.pool.stats().idle, self.db.closed))
            await send({"type": f"lifespan.{phase}.{self.outcome if phase == 'startup' else 'complete'}"})
            if self.outcome == "failed":
                return


async def test_the_databases_are_there_before_the_application_and_after_it(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:
        app = Proper(db)
        async with living(RequestScopeMiddleware(app, db)) as said:
            assert db.pool.stats().idle == 2
        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert app.seen == [("startup", 2, False), ("shutdown", 2, False)]
        assert db.closed
        assert db.pool.stats().total == 0


async def test_an_application_without_one_gets_one(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, pool=WARM) as db:
        async with living(RequestScopeMiddleware(silent, db)) as said:
            assert db.pool.stats().idle == 2
        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert db.closed


async def test_it_can_be_left_to_the_application(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:
        async with living(RequestScopeMiddleware(Proper(db), db, lifespan=False)):
            assert db.pool.stats().total == 0
        assert not db.closed


async def test_an_application_that_fails_to_start_leaves_nothing_open(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:
        async with living(RequestScopeMiddleware(Proper(db, "failed"), db)) as said:
            assert said == ["lifespan.startup.failed"]
            assert db.closed


async def test_it_may_start_again_with_the_same_settings(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:
        for _ in range(2):
            async with living(RequestScopeMiddleware(Proper(db), db)):
                assert db.pool.stats().idle == 2
                with db.scope("again") as session:
                    assert session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("given", [False, True], ids=["made for a URL", "with an engine of the user's"])
async def test_it_may_start_again_when_its_own_lifespan_closes_the_database(shop_url: str, given: bool) -> None:
    engine = create_engine(shop_url, poolclass=FairPool)

    class Closing(Proper):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, lambda message: self._closed_with(message, send))

        async def _closed_with(self, message: Any, send: Any) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                self.db.close()
            await send(message)

    db = Database(engine if given else shop_url)
    app = Closing(db)
    for _ in range(2):
        async with living(RequestScopeMiddleware(app, db)):
            with db.scope("again") as session:
                assert session.scalar(text("SELECT 1")) == 1
        assert db.closed
    assert [closed for phase, _, closed in app.seen if phase == "startup"] == [False, False]
    engine.dispose()


async def test_what_its_owner_has_closed_stays_closed(shop_url: str) -> None:
    with opened(shop_url) as db:
        db.close()
        await start([db])
        assert db.closed
        with pytest.raises(PoolClosed), db.scope("late"):
            pass


@pytest.mark.parametrize("poolclass", [FairPool, QueuePool], ids=lambda cls: cls.__name__)
async def test_an_engine_of_the_users_stays_open(shop_url: str, poolclass: Any) -> None:
    engine = create_engine(shop_url, poolclass=poolclass)
    db = Database(engine)
    with engine.connect():
        pass
    idle = engine.pool.checkedin()
    for _ in range(2):
        async with living(RequestScopeMiddleware(Proper(db), db)):
            with db.scope("job") as session:
                assert session.scalar(text("SELECT 1")) == 1
    assert engine.pool.checkedin() == idle == 1
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    with db.scope("after") as session:
        assert session.scalar(text("SELECT 1")) == 1
    engine.dispose()


async def test_an_async_engine_of_the_users_stays_open(async_shop_url: str) -> None:
    engine = create_async_engine(async_shop_url, poolclass=AsyncFairPool)
    db = AsyncDatabase(engine)
    async with living(RequestScopeMiddleware(silent, db)):
        pass
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await db.close()
    with pytest.raises(PoolClosed):
        async with db.scope("after close()"):
            pass
    async with engine.connect() as connection:  # what the user made, the user closes
        assert await connection.scalar(text("SELECT 1")) == 1
    await engine.dispose()


async def test_a_database_of_two_applications_is_closed_by_the_last(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:
        async with living(RequestScopeMiddleware(Proper(db), db)):
            async with living(RequestScopeMiddleware(Proper(db), db)):
                pass
            assert not db.closed
            with db.scope("job") as session:
                assert session.scalar(text("SELECT 1")) == 1
        assert db.closed


async def test_who_comes_after_the_stop_is_told_of_it_and_of_the_way_back(shop_url: str) -> None:
    with opened(shop_url) as db:
        async with living(RequestScopeMiddleware(Proper(db), db)):
            pass
        with pytest.raises(PoolClosed, match="the application that it was installed in has stopped") as told:
            with db.scope("late"):
                pass
        assert "db.reopen() opens it again" in str(told.value)
        assert "with TestClient(app) as client" in str(told.value)
        db.reopen()
        with db.scope("again") as session:
            assert session.scalar(text("SELECT 1")) == 1


async def test_promise_10_a_database_that_is_away_keeps_nobody_from_starting(
    shop_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respool.web.rules.lifespan._WARM_UP", 0.01)
    with opened(shop_url, pool=WARM) as db:
        db.pool.suspend()
        await start([db])
        db.pool.resume()
    assert "database 'default' is not ready; starting without it: no connection" in caplog.text


async def test_a_database_that_refuses_for_good_does(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:

        @event.listens_for(db.engine, "do_connect")
        def _(*args: Any) -> None:
            raise sqlite3.ProgrammingError("a wrong password")

        async with living(RequestScopeMiddleware(silent, db)) as said:
            assert said == ["lifespan.startup.failed"]
    with opened(shop_url, pool=WARM) as db:

        @event.listens_for(db.engine, "do_connect")
        def _(*args: Any) -> None:
            raise sqlite3.ProgrammingError("a wrong password")

        with pytest.raises(ConnectFailed):
            await start([db])


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg"])
async def test_more_connections_than_the_server_takes_are_told_with_the_numbers(
    pg_url: str, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "1000")
    pool = PoolConfig(min_size=1, max_size=3)
    if kind == "psycopg":
        with opened(pg_url, pool=pool) as db:
            await start([db])
    else:
        async with opened_async(pg_url.replace("+psycopg:", "+asyncpg:"), pool=pool) as adb:
            await start([adb])
    assert "max_size=3 in 1000 processes (WEB_CONCURRENCY) makes 3000 connections, but the server takes" in caplog.text
    monkeypatch.delenv("WEB_CONCURRENCY")
    caplog.clear()
    with opened(pg_url, pool=pool) as db:
        await start([db])
    assert caplog.text == ""


async def test_a_stop_waits_for_what_is_in_use(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("work") as session:
            await session.connection()
            stopping = asyncio.create_task(stop([db]))
            await asyncio.sleep(0)
            assert not stopping.done()
        await stopping
        assert db.pool.stats().total == 0
