from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from aiohttp import web
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.aiohttp import install
from tests.web.stands.base import PENDING, STARLETTES, ServerStand


class AiohttpStand(ServerStand):
    name = "aiohttp"
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        app = web.Application(middlewares=[self.answer_errors] if self.handlers else [])
        install(app, *self.databases, lifespan=self.lifespan)
        app.middlewares.append(self.ending)
        app.add_routes(
            [
                web.route("*", "/do/{what}/{number}", self.do),
                web.post("/refuse/{what}", self.refuse),
                web.post("/answer/{what}/{status}", self.answer),
                web.get("/stream", self.stream),
                web.post("/background", self.background),
                web.get("/ws", self.websocket),
            ]
        )
        nested = web.Application()
        install(nested, *self.databases, lifespan=False)
        nested.add_routes([web.route("*", "/do/{what}/{number}", self.do)])
        app.add_subapp("/nested", nested)
        return app

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
        return web.Response(text=await self.work.do(request.match_info["what"], int(request.match_info["number"])))

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

    async def background(self, request: Any) -> Any:
        return web.Response(text=await self.work.do("spawn", 1))

    async def websocket(self, request: Any) -> Any:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(await self.work.message(int(message.data)))
        return ws


STANDS = [AiohttpStand]
