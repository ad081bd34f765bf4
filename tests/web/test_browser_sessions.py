"""Extensions that keep browsers' sessions in the database, and write them late: starsessions, aiohttp_session, Litestar's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp_session
import pytest
from aiohttp import web
from litestar import Litestar, Request, post
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.base import Store
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware
from starsessions.stores.base import SessionStore

from respool import AsyncDatabase
from respool.web import aiohttp, litestar, starlette
from tests.session.shop import Order, acquired, count, opened_async
from tests.web.clients import Answer, call_asgi, call_http

Ask = Callable[[dict[str, str]], Awaitable[Answer]]


class Kept:
    """Sessions in the table of orders, as notes, by the session of the request."""

    def __init__(self, db: AsyncDatabase[Any]) -> None:
        self.db = db
        self.product_id = 1
        self.fails = False

    async def load(self, key: str) -> str | None:
        found = await self.db.session.scalars(select(Order.note).where(Order.note.startswith(f"{key} ")))
        notes = found.all()
        return notes[-1].partition(" ")[2] if notes else None

    async def save(self, key: str, data: str) -> None:
        if self.fails:
            raise LookupError("on purpose")
        self.db.session.add(Order(product_id=self.product_id, note=f"{key} {data}"))


class InStarsessions(SessionStore):
    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    async def read(self, session_id: str, lifetime: int) -> bytes:
        return (await self.kept.load(session_id) or "").encode()

    async def write(self, session_id: str, data: bytes, lifetime: int, ttl: int) -> str:
        await self.kept.save(session_id, data.decode())
        return session_id

    async def remove(self, session_id: str) -> None:
        raise NotImplementedError


@asynccontextmanager
async def of_starlette(kept: Kept) -> AsyncIterator[Ask]:
    async def visit(request: Any) -> PlainTextResponse:
        kept.db.session.add(Order(product_id=1))
        request.session["visits"] = request.session.get("visits", 0) + 1
        return PlainTextResponse(str(request.session["visits"]))

    app = Starlette(routes=[Route("/", visit, methods=["POST"])])
    starlette.install(app, kept.db)
    app.add_middleware(SessionAutoloadMiddleware)
    app.add_middleware(SessionMiddleware, store=InStarsessions(kept), cookie_https_only=False, lifetime=1000)
    yield lambda headers: call_asgi(app, "/", "POST", headers=headers)


class InLitestar(Store):
    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    async def set(self, key: str, value: str | bytes, expires_in: Any = None) -> None:
        await self.kept.save(key, value.decode() if isinstance(value, bytes) else value)

    async def get(self, key: str, renew_for: Any = None) -> bytes | None:
        data = await self.kept.load(key)
        return None if data is None else data.encode()

    async def delete(self, key: str) -> None: ...

    async def delete_all(self) -> None: ...

    async def exists(self, key: str) -> bool:
        return await self.kept.load(key) is not None

    async def expires_in(self, key: str) -> int | None:
        return None


@asynccontextmanager
async def of_litestar(kept: Kept) -> AsyncIterator[Ask]:
    @post("/", status_code=200)
    async def visit(request: Request[Any, Any, Any]) -> str:
        kept.db.session.add(Order(product_id=1))
        request.session["visits"] = request.session.get("visits", 0) + 1
        return str(request.session["visits"])

    app = Litestar(
        [visit],
        middleware=[ServerSideSessionConfig().middleware],
        stores={"sessions": InLitestar(kept)},
        openapi_config=None,
        logging_config=None,
    )
    litestar.install(app, kept.db)
    yield lambda headers: call_asgi(app, "/", "POST", headers=headers)


class InAiohttp(aiohttp_session.AbstractStorage):
    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self.kept = kept

    async def load_session(self, request: web.Request) -> aiohttp_session.Session:
        key = self.load_cookie(request)
        data = None if key is None else self._decoder(await self.kept.load(key) or "null")
        return aiohttp_session.Session(key, data=data, new=data is None, max_age=None)

    async def save_session(self, request: web.Request, response: Any, session: aiohttp_session.Session) -> None:
        key = session.identity or "visitor"
        self.save_cookie(response, key)
        await self.kept.save(key, self._encoder(self._get_session_data(session)))


@asynccontextmanager
async def of_aiohttp(kept: Kept) -> AsyncIterator[Ask]:
    async def visit(request: web.Request) -> web.Response:
        kept.db.session.add(Order(product_id=1))
        session = await aiohttp_session.get_session(request)
        session["visits"] = session.get("visits", 0) + 1
        return web.Response(text=str(session["visits"]))

    app = web.Application()
    aiohttp_session.setup(app, InAiohttp(kept))
    aiohttp.install(app, kept.db, lifespan=False)
    app.add_routes([web.post("/", visit)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        yield lambda headers: call_http(port, "/", "POST", headers=headers)
    finally:
        await runner.cleanup()


#: aiohttp_session has keys that are plain strings, which aiohttp advises against.
pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")

EXTENSIONS = pytest.mark.parametrize("made", [of_starlette, of_litestar, of_aiohttp])


@EXTENSIONS
async def test_a_visit_and_the_browsers_session_are_saved_together(
    made: Any, async_shop_url: str, shop_url: str
) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db, made(Kept(db)) as ask:
        first = await ask({})
        assert (first.status, first.body, count(shop_url)) == (200, b"1", 2)
        cookie = first.headers["set-cookie"].partition(";")[0]
        again = await ask({"cookie": cookie})
        assert (again.status, again.body, count(shop_url)) == (200, b"2", 4)
        assert (acquired(db), db.scopes()) == (0, ())


@EXTENSIONS
@pytest.mark.parametrize("how", ["refused", "fails"])
async def test_where_the_browsers_session_cannot_be_saved_nothing_is(
    made: Any, async_shop_url: str, shop_url: str, how: str
) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        kept = Kept(db)
        kept.product_id, kept.fails = (999, False) if how == "refused" else (1, True)
        async with made(kept) as ask:
            told = await ask({})
            assert (told.status, told.complete, count(shop_url)) == (500, True, 0)
            assert (acquired(db), db.scopes()) == (0, ())
