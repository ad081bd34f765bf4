from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from sanic import Blueprint, Sanic
from sanic.exceptions import Forbidden
from sanic.response import HTTPResponse, file, json, text
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.sanic import install
from tests.web.stands.base import NO_CLEANUP, STARLETTES, ASGIStand, Late, ServerStand, Stand

METHODS = ["GET", "HEAD", "POST", "OPTIONS"]


MISSING = {
    "base_http_middleware": STARLETTES,
    "late_cleanup": NO_CLEANUP,
    "held_back_start": "the start of a stream is sent by the handler itself",
}
LATE = (
    Late("response middleware added before install", status=True, quiet=True),
    Late("response middleware added after install", status=True, quiet=True),
    Late("http.middleware.after", quiet=True),
    Late("http.handler.after"),
    Late("http.lifecycle.response", status=True),
    Late("http.lifecycle.response added before install", status=True),
)
AFTER = ("the handler after its answer",)
UNSENDABLE = {
    "json": 500,
    "a file that is not there": 500,
    "no response": 500,
    "an invalid status": 500,
    "no bytes": 500,
}
STOPPING = (
    *("before_server_stop added before install", "before_server_stop added after install"),
    *("after_server_stop added before install", "after_server_stop added after install"),
)


class SanicStand(ServerStand):
    """With its own server."""

    name = "Sanic"
    template = "/do/<what:str>/<number:int>"
    missing: ClassVar = MISSING
    late: ClassVar = LATE
    after: ClassVar = AFTER
    unsendable: ClassVar = UNSENDABLE
    stopping: ClassVar = STOPPING

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
    template = "/do/<what:str>/<number:int>"
    starts_again = False
    missing: ClassVar = MISSING
    late: ClassVar = LATE
    after: ClassVar = AFTER
    unsendable: ClassVar = UNSENDABLE
    stopping: ClassVar = STOPPING

    def build(self) -> Any:
        return build(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.living():
            yield


def build(stand: Stand) -> Any:
    assert not getattr(Sanic, "__touched__", False), (
        "a test before has Sanic leave out the signals of its own application"
    )
    app = Sanic(f"shop-{uuid.uuid4().hex}", configure_logging=False)
    app.config.TOUCHUP = False
    add_guest(stand, app, "before")
    install(app, *stand.databases, lifespan=stand.lifespan, **stand.shown)
    work = stand.work
    add_guest(stand, app, "after")
    nested = Blueprint("nested", url_prefix="/nested")

    async def do(request: Any, what: str, number: int) -> Any:
        body = "" if request.method == "OPTIONS" else await work.do(what, number)
        if stand.guest_at != "the handler after its answer":
            return text(body)
        response = await request.respond(text(body))
        await response.send(end_stream=True)
        await work.guest()
        return None

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

    @app.get("/unsendable/<what>")
    async def unsendable(request: Any, what: str) -> Any:
        await work.do("flushed", 1)
        if what == "json":
            return json({"a set": {1}})
        if what == "an invalid status":
            return text("", status=1)
        if what == "no bytes":
            return HTTPResponse(3)
        return await file("/nowhere") if what == "a file that is not there" else None

    @app.post("/failing")
    async def failing(request: Any) -> None:
        body = await work.failing()
        response = await request.respond()
        async for part in body:
            await response.send(part)

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

    if stand.guest_at == "pages":

        async def page(request: Any, error: Exception) -> Any:
            status = 409 if stand.handlers and isinstance(error, IntegrityError) else getattr(error, "status_code", 500)
            return text(await work.page(), status=status)

        app.exception(Exception)(page)
    elif stand.handlers:
        app.exception(IntegrityError)(lambda request, error: text("no such product", status=409))
        app.exception(PoolQueueFull)(lambda request, error: text("busy", status=429))
    if stand.guest_at == "handled":
        app.exception(LookupError)(lambda request, error: text("handled"))
    return app


def add_guest(stand: Stand, app: Any, when: str) -> None:
    work = stand.work

    async def middleware(request: Any, response: Any) -> Any:
        status = await work.guest()
        return text("changed", status=status) if status else None

    async def signal(request: Any, response: Any = None) -> None:
        if work.guests == 0:
            status = await work.guest()
            if status:
                response.status = status

    async def listener(app: Any, loop: Any = None) -> None:
        await work.guest()

    place, _, added = stand.guest_at.partition(" added ")
    if added != f"{when} install" and (added or when == "before"):
        return
    if place == "response middleware":
        app.register_middleware(middleware, "response")
    if place.startswith("http."):
        app.signal(place, condition={"attach_to": "response"} if place == "http.middleware.after" else None)(signal)
    if place.endswith("_server_stop"):
        app.register_listener(listener, place)


STANDS = [SanicStand, SanicASGI]
