from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from sanic import Blueprint, Sanic
from sanic.exceptions import Forbidden
from sanic.response import text
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.sanic import install
from tests.web.stands.base import PENDING, STARLETTES, ASGIStand, ServerStand, Stand

METHODS = ["GET", "HEAD", "POST", "OPTIONS"]


class SanicStand(ServerStand):
    """With its own server."""

    name = "Sanic"
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        return build(self)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        server: Any = await self.app.create_server(sock=listening, return_asyncio_server=True, access_log=False)
        await server.startup()
        await server.before_start()
        await server.after_start()
        try:
            yield
        finally:
            await server.before_stop()
            server.close()
            await server.wait_closed()
            for connection in list(server.connections):
                connection.close(timeout=0)
            await asyncio.sleep(0)
            await server.after_stop()
            Sanic.unregister_app(self.app)


class SanicASGI(ASGIStand):
    """Served by ASGI."""

    name = "Sanic (ASGI)"
    starts_again = False
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        return build(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.living():
            yield


def build(stand: Stand) -> Any:
    app = Sanic(f"shop-{uuid.uuid4().hex}", configure_logging=False)
    app.config.TOUCHUP = False
    install(app, *stand.databases, lifespan=stand.lifespan)
    work = stand.work
    nested = Blueprint("nested", url_prefix="/nested")

    async def do(request: Any, what: str, number: int) -> Any:
        return text("" if request.method == "OPTIONS" else await work.do(what, number))

    app.add_route(do, "/do/<what>/<number:int>", methods=METHODS)
    nested.add_route(do, "/do/<what>/<number:int>", methods=METHODS)
    app.blueprint(nested)

    @app.post("/refuse/<what>")
    async def refuse(request: Any, what: str) -> Any:
        await work.do(what, 1)
        raise Forbidden("no")

    @app.post("/answer/<what>/<status:int>")
    async def answer(request: Any, what: str, status: int) -> Any:
        return text(await work.do(what, 1), status=status)

    @app.get("/stream")
    async def stream(request: Any) -> None:
        body = await work.stream()
        response = await request.respond()
        async for part in body:
            await response.send(part)
        await response.eof()

    @app.post("/background")
    async def background(request: Any) -> Any:
        return text(await work.do("spawn", 1))

    @app.websocket("/ws")
    async def websocket(request: Any, ws: Any) -> None:
        while (message := await ws.recv()) is not None:
            await ws.send(await work.message(int(message)))

    @app.on_response
    async def ending(request: Any, response: Any) -> None:
        work.teardown()

    if stand.handlers:
        app.exception(IntegrityError)(lambda request, error: text("no such product", status=409))
        app.exception(PoolQueueFull)(lambda request, error: text("busy", status=429))
    return app


STANDS = [SanicStand, SanicASGI]
