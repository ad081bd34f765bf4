"""An application's start and stop: what is warmed up, what is drained, and what keeps nobody from starting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from respool import Database, PoolConfig
from respool.errors import ConfigError, ConnectFailed, PoolClosed
from respool.web.asgi import RequestScopeMiddleware
from respool.web.lifespan import start, stop
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


async def test_what_its_owner_has_closed_stays_closed(shop_url: str) -> None:
    with opened(shop_url) as db:
        db.close()
        await start([db])
        assert db.closed
        with pytest.raises(PoolClosed), db.scope("late"):
            pass


async def test_one_whose_name_is_taken_meanwhile_is_not_opened_again(shop_url: str) -> None:
    with opened(shop_url) as db:
        await stop([db])
        with opened(shop_url), pytest.raises(ConfigError, match="two databases of one name"):
            await start([db])


async def test_an_engine_of_the_users_is_closed_too_and_warmed_up_by_nobody(shop_url: str) -> None:
    engine = create_engine(shop_url)
    db = Database(engine)
    await start([db])
    await stop([db])
    assert db.closed


async def test_promise_10_a_database_that_is_away_keeps_nobody_from_starting(
    shop_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respool.web.lifespan._WARM_UP", 0.01)
    with opened(shop_url, pool=WARM) as db:
        db.pool.suspend()
        await start([db])
        db.pool.resume()
    assert "database 'default' is not ready; starting without it: no connection" in caplog.text


async def test_a_database_that_refuses_for_good_does(shop_url: str) -> None:
    with opened(shop_url, pool=WARM) as db:

        @event.listens_for(db.engine, "do_connect")
        def _(*args: Any) -> None:
            raise LookupError("a wrong password")

        async with living(RequestScopeMiddleware(silent, db)) as said:
            assert said == ["lifespan.startup.failed"]
    with opened(shop_url, pool=WARM) as db:

        @event.listens_for(db.engine, "do_connect")
        def _(*args: Any) -> None:
            raise LookupError("a wrong password")

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
