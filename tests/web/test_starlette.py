"""Starlette by itself: ``install``, and its handlers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from respool import Database
from respool.ending.aio import in_greenlet
from respool.errors import ConfigError
from respool.web.starlette import install
from tests.session.shop import Order, count, opened, opened_async
from tests.web.clients import call_asgi


def shop(db: Database, **keywords: Any) -> Starlette:
    async def order(request: Any) -> PlainTextResponse:
        db.session.add(Order(product_id=int(request.path_params["product_id"])))
        return PlainTextResponse("thanks")

    async def refused(request: Any) -> None:
        db.session.add(Order(product_id=1))
        raise HTTPException(403)

    routes = [Route("/orders/{product_id}", order), Route("/refused", refused)]
    app = Starlette(routes=[*routes, Mount("/mounted", routes=routes)], **keywords)
    install(app, db)
    return app


@pytest.mark.parametrize("path", ["/orders/1", "/mounted/orders/1"])
async def test_a_success_is_saved(db: Database, shop_url: str, path: str) -> None:
    assert (await call_asgi(shop(db), path)).body == b"thanks"
    assert count(shop_url) == 1


@pytest.mark.parametrize("path", ["/refused", "/mounted/refused"])
async def test_a_refusal_is_not(db: Database, shop_url: str, path: str) -> None:
    assert (await call_asgi(shop(db), path)).status == 403
    assert count(shop_url) == 0


@pytest.mark.parametrize("path", ["/orders/999", "/mounted/orders/999"])
async def test_promise_03_a_failed_commit_is_answered_by_the_registered_handler(db: Database, path: str) -> None:
    def conflict(request: Any, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("no such product", 409)

    plain = await call_asgi(shop(db), path)
    assert (plain.status, type(plain.error)) == (500, IntegrityError)
    handled = await call_asgi(shop(db, exception_handlers={IntegrityError: conflict}), path)
    assert (handled.status, handled.body, handled.error) == (409, b"no such product", None)


def test_a_database_is_installed_once(db: Database) -> None:
    app = shop(db)
    with pytest.raises(ConfigError, match="installed in this application already"):
        install(app, db)


async def pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


async def read_first(request: Any, call_next: Any) -> Any:
    """As middleware that logs bodies does."""
    response = await call_next(request)
    parts = [part async for part in response.body_iterator]
    return PlainTextResponse(b"".join(parts), response.status_code)


async def look(request: Any, call_next: Any) -> Any:
    """With a scope of its own beside the body; the request's work is not committed before its answer leaves."""
    response = await call_next(request)
    async with request.app.state.database.scope("look") as session:
        assert await session.scalar(select(func.count()).select_from(Order)) == 0
    return response


PASSES, READS, LOOKS = (Middleware(BaseHTTPMiddleware, dispatch=each) for each in (pass_on, read_first, look))
GZIP = Middleware(GZipMiddleware, minimum_size=0)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "middleware",
    [
        [],
        [GZIP],
        [PASSES],
        [READS],
        [GZIP, PASSES],
        [PASSES, GZIP],
        [PASSES, READS],
        [READS, PASSES],
        [GZIP, READS],
        [LOOKS],
        [GZIP, LOOKS],
        [LOOKS, PASSES],
    ],
    ids=[
        "alone",
        "gzip",
        "passes",
        "reads",
        "gzip-passes",
        "passes-gzip",
        "passes-reads",
        "reads-passes",
        "gzip-reads",
        "looks",
        "gzip-looks",
        "looks-passes",
    ],
)
async def test_a_stream_with_a_scope_of_its_own_comes_after_the_commit(
    shop_url: str, async_shop_url: str, kind: str, middleware: list[Middleware]
) -> None:
    """Whatever holds the start of the answer back, or works beside its body."""
    async with opened_async(async_shop_url, name="async", commit="on_success") as adb:
        with opened(shop_url, name="sync", commit="on_success") as db:

            def sync_body() -> Iterator[bytes]:
                with db.scope("export") as session:
                    there = session.scalar(select(func.count()).select_from(Order))
                    session.add(Order(product_id=1))
                yield f"{there} there".encode()

            async def body() -> AsyncIterator[bytes]:
                async with adb.scope("export") as session:
                    there = await session.scalar(select(func.count()).select_from(Order))
                    session.add(Order(product_id=1))
                yield f"{there} there".encode()

            async def order(request: Any) -> StreamingResponse:
                database: Any = db if kind == "sync" else adb
                database.session.add(Order(product_id=1))
                flushed = database.session.flush()
                if flushed is not None:
                    await flushed
                return StreamingResponse(sync_body() if kind == "sync" else body())

            app = Starlette(routes=[Route("/", order)], middleware=middleware)
            install(app, db, adb)
            app.state.database = adb
            answer = await call_asgi(app, headers={"accept-encoding": "gzip"})
    unpacked = gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body
    assert (answer.status, unpacked) == (200, b"1 there")
    assert count(shop_url) == 2


async def test_a_stream_beside_a_middleware_waits_for_a_commit_that_is_under_way(
    async_shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base class runs the application in a task of its own, which goes on while the answer waits for its COMMIT."""
    committing, opening, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    entered: list[bool] = []

    async def perform(step: Any) -> Any:
        committing.set()
        await go.wait()
        return await in_greenlet(step)

    monkeypatch.setattr("respool.web.rules.scopes.perform", perform)
    async with opened_async(async_shop_url, commit="on_success") as db:

        async def body() -> AsyncIterator[bytes]:
            await committing.wait()
            opening.set()
            async with db.scope("export") as session:
                entered.append(go.is_set())
                yield b"%d there" % (await session.scalar(select(func.count()).select_from(Order)))

        async def order(request: Any) -> StreamingResponse:
            db.session.add(Order(product_id=1))
            await db.session.flush()
            return StreamingResponse(body())

        app = Starlette(routes=[Route("/", order)], middleware=[PASSES])
        install(app, db)
        asked = asyncio.create_task(call_asgi(app))
        await opening.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        assert ((await asked).body, entered) == (b"1 there", [True])
