from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from aiohttp import web
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.aiohttp import install
from tests.web.clients import Answer
from tests.web.stands.base import NO_CLEANUP, STARLETTES, Late, ServerStand


class AiohttpStand(ServerStand):
    name = "aiohttp"
    missing: ClassVar = {
        "base_http_middleware": STARLETTES,
        "late_cleanup": NO_CLEANUP,
        "held_back_start": "the start of a stream is sent by the handler itself",
    }
    late: ClassVar = (
        Late("a middleware given to Application", status=True),
        Late("a middleware appended after install", status=True),
        Late("on_response_prepare added before install"),
        Late("on_response_prepare added after install"),
        Late("on_response_prepare of an application within"),
        Late("a response's own prepare", status=True),
    )
    after: ClassVar = ("a response's own write_eof",)
    unsendable: ClassVar = {
        "json": 500,
        "a file that is not there": 404,
        "a range that is not there": 416,
        "a precondition that fails": 412,
        "what the client has already": 304,
        "no response": 500,
    }
    stopping: ClassVar = ("on_shutdown", "on_cleanup", "cleanup_ctx")

    def build(self) -> Any:
        before = [self.answer_errors] if self.handlers and self.guest_at != "pages" else []
        before += [self.guest_middleware] if self.guest_at == "a middleware given to Application" else []
        before += [self.pages_middleware] if self.guest_at == "pages" else []
        before += [self.handled] if self.guest_at == "handled" else []
        app = web.Application(middlewares=before)
        if self.guest_at == "on_response_prepare added before install":
            app.on_response_prepare.append(self.guest_signal)
        self.add_stopping(app)
        install(app, *self.databases, lifespan=self.lifespan, **self.shown)
        app.middlewares.append(self.ending)
        if self.guest_at == "a middleware appended after install":
            app.middlewares.append(self.guest_middleware)
        if self.guest_at == "on_response_prepare added after install":
            app.on_response_prepare.append(self.guest_signal)
        app.add_routes(
            [
                web.route("*", "/do/{what}/{number}", self.do),
                web.post("/refuse/{what}", self.refuse),
                web.post("/answer/{what}/{status}", self.answer),
                web.get("/stream", self.stream),
                web.get("/unsendable/{what}", self.unsent),
                web.post("/failing", self.failing),
                web.post("/background", self.background),
                web.get("/ws", self.websocket),
            ]
        )
        nested = web.Application()
        install(nested, *self.databases, lifespan=False)
        nested.add_routes([web.route("*", "/do/{what}/{number}", self.do)])
        if self.guest_at == "on_response_prepare of an application within":
            nested.on_response_prepare.append(self.guest_signal)
        app.add_subapp("/nested", nested)
        return app

    async def call(self, path: str, *args: Any, **keywords: Any) -> Answer:
        if self.guest_at == "on_response_prepare of an application within":
            path = f"/nested{path}"
        return await super().call(path, *args, **keywords)

    def add_stopping(self, app: Any) -> None:
        async def stop(app: Any) -> None:
            await self.work.guest()

        async def live(app: Any) -> AsyncIterator[None]:
            yield
            await self.work.guest()

        if self.guest_at in ("on_shutdown", "on_cleanup"):
            getattr(app, self.guest_at).append(stop)
        if self.guest_at == "cleanup_ctx":
            app.cleanup_ctx.append(live)

    @web.middleware
    async def guest_middleware(self, request: Any, handler: Any) -> Any:
        response = await handler(request)
        status = await self.work.guest()
        return web.Response(status=status, text="changed") if status else response

    async def guest_signal(self, request: Any, response: Any) -> None:
        if self.work.guests == 0 or self.work.plan == "fail":
            await self.work.guest()

    @web.middleware
    async def pages_middleware(self, request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.Response(text=await self.work.page(), status=error.status)
        except Exception as error:
            status = 409 if self.handlers and isinstance(error, IntegrityError) else 500
            return web.Response(text=await self.work.page(), status=status)

    @staticmethod
    @web.middleware
    async def handled(request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except LookupError:
            return web.Response(text="handled")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        runner = web.AppRunner(self.app, handle_signals=False, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    @staticmethod
    @web.middleware
    async def answer_errors(request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except IntegrityError:
            return web.Response(text="no such product", status=409)
        except PoolQueueFull:
            return web.Response(text="busy", status=429)

    @web.middleware
    async def ending(self, request: Any, handler: Any) -> Any:
        response = await handler(request)
        self.work.teardown()
        return response

    async def do(self, request: Any) -> Any:
        if request.method == "OPTIONS":
            return web.Response(status=204)
        text = await self.work.do(request.match_info["what"], int(request.match_info["number"]))
        if self.guest_at in ("a response's own prepare", "a response's own write_eof"):
            return WithGuest(text, self.work, at_the_end=self.guest_at.endswith("write_eof"))
        return web.Response(text=text)

    async def refuse(self, request: Any) -> Any:
        await self.work.do(request.match_info["what"], 1)
        raise web.HTTPForbidden

    async def answer(self, request: Any) -> Any:
        text = await self.work.do(request.match_info["what"], 1)
        return web.Response(text=text, status=int(request.match_info["status"]))

    async def stream(self, request: Any) -> Any:
        body = await self.work.stream()
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in body:
            await response.write(part)
        return response

    async def unsent(self, request: Any) -> Any:
        await self.work.do("flushed", 1)
        what = request.match_info["what"]
        if what == "json":
            return web.json_response({"a set": {1}})
        if what == "no response":
            return None
        return web.FileResponse("/nowhere" if what == "a file that is not there" else __file__)

    async def failing(self, request: Any) -> Any:
        return web.Response(body=await self.work.failing())

    async def background(self, request: Any) -> Any:
        return web.Response(text=await self.work.do("spawn", 1))

    async def websocket(self, request: Any) -> Any:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(await self.work.message(int(message.data)))
        return ws


class WithGuest(web.Response):
    """A response with code of its own."""

    def __init__(self, text: str, work: Any, *, at_the_end: bool) -> None:
        super().__init__(text=text)
        self.work = work
        self.at_the_end = at_the_end

    async def prepare(self, request: Any) -> Any:
        if not self.at_the_end:
            self.set_status(await self.work.guest() or self.status)
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        if self.at_the_end:
            await self.work.guest()


STANDS = [AiohttpStand]
