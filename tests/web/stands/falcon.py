from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import falcon
import falcon.asgi
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web import asgi, wsgi
from respool.web.falcon import install
from tests.web.stands.base import STARLETTES, ASGIStand, Late, WSGIStand
from tests.web.stands.middleware import HoldsBack as HoldsBackASGI
from tests.web.stands.wsgis import Body, HoldsBack


class FalconStand(WSGIStand):
    name = "Falcon"
    template = "/do/{what}/{number:int}"
    late: ClassVar = (
        Late("process_response from before install", status=True, cleans=True),
        Late("process_response from after install", status=True, cleans=True),
        Late("after a responder", status=True),
    )
    after: ClassVar = ("the close of a body",)
    unsendable: ClassVar = {"media": 500, "handler": 415, "number": 500, "parts": 500}

    def build(self) -> Any:
        app = falcon.App(middleware=[Ending(self.work)])
        if self.guest_at == "process_response from before install":
            app.add_middleware(Changing(self.work))
        install(app, *self.databases, **self.shown)
        if self.guest_at == "process_response from after install":
            app.add_middleware(Changing(self.work))
        self.routes(app)
        nested = falcon.App()
        install(nested, *self.databases)
        self.routes(nested)
        self.add_pages(app)

        inner: Any = wsgi.RequestScopeMiddleware(nested, *self.databases)

        if self.guest_at == "gzip":
            app = HoldsBack(app)  # type: ignore[assignment]

        def dispatch(environ: Any, start_response: Any) -> Any:
            path: str = environ["PATH_INFO"]
            if path.startswith("/nested"):
                return inner({**environ, "PATH_INFO": path.removeprefix("/nested")}, start_response)
            return app(environ, start_response)

        return dispatch

    def add_pages(self, app: Any) -> None:
        if self.guest_at == "pages":
            for kind, status in ((falcon.HTTPForbidden, 403), (falcon.HTTPNotFound, 404), (Exception, 500)):
                app.add_error_handler(kind, self.page(status))
            if self.handlers:
                app.add_error_handler(IntegrityError, self.page(409))
        elif self.handlers:
            app.add_error_handler(IntegrityError, self.conflict)
            app.add_error_handler(PoolQueueFull, self.busy)
        if self.guest_at == "handled":
            app.add_error_handler(LookupError, self.handled)

    def page(self, status: int) -> Any:
        def answer(req: Any, resp: Any, error: Any, params: Any) -> None:
            resp.status, resp.text = status, self.work.page()

        return answer

    def handled(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 200, "handled"

    def routes(self, app: Any) -> None:
        app.add_route("/do/{what}/{number:int}", Resource(self.do))
        app.add_route("/failing", Resource(self.failing))
        app.add_route("/streamed", Resource(self.streamed))
        app.add_route("/unsendable/{what}", Resource(self.cannot_send))
        app.add_route("/refuse/{what}", Resource(self.refuse))
        app.add_route("/answer/{what}/{status:int}", Resource(self.answer))
        app.add_route("/stream", Resource(self.stream))
        app.add_route("/background", Resource(self.background))

    def conflict(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 409, "no such product"

    def busy(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 429, "busy"

    def do(self, resp: Any, what: str, number: int) -> None:
        resp.text = self.work.do(what, number)
        if self.guest_at == "the close of a body":
            resp.stream, resp.text = Body(resp.text, self.work.guest), None
        if self.guest_at == "after a responder":
            change(self.work.guest(), resp)

    def failing(self, resp: Any) -> None:
        resp.stream = self.work.failing()

    def streamed(self, resp: Any) -> None:
        resp.stream = self.work.streamed()

    def cannot_send(self, resp: Any, what: str) -> None:
        self.work.do("flushed", 1)
        if what == "handler":
            resp.content_type, resp.media = "text/unknown", {}
        elif what == "media":
            resp.content_type, resp.media = falcon.MEDIA_JSON, {"x": self}
        elif what == "number":
            resp.text = 5
        else:
            resp.stream = [5]

    def refuse(self, resp: Any, what: str) -> None:
        self.work.do(what, 1)
        raise falcon.HTTPForbidden

    def answer(self, resp: Any, what: str, status: int) -> None:
        resp.text = self.work.do(what, 1)
        resp.status = status

    def stream(self, resp: Any) -> None:
        resp.stream = self.work.stream()

    def background(self, resp: Any) -> None:
        resp.text = self.work.do("spawn", 1)


class FalconASGI(ASGIStand):
    name = "Falcon (ASGI)"
    template = "/do/{what}/{number:int}"
    missing: ClassVar = {"base_http_middleware": STARLETTES}
    late: ClassVar = FalconStand.late
    after: ClassVar = ("a scheduled callback", "the close of a body")
    unsendable: ClassVar = {"media": 500, "handler": 415}
    stopping: ClassVar = ("process_shutdown",)
    add_pages = FalconStand.add_pages

    def build(self) -> Any:
        app = falcon.asgi.App(middleware=[AsyncEnding(self.work)])
        if self.guest_at == "process_response from before install":
            app.add_middleware(AsyncChanging(self.work))
        install(app, *self.databases, **self.shown)
        if self.guest_at == "process_response from after install":
            app.add_middleware(AsyncChanging(self.work))
        if self.guest_at == "process_shutdown":
            app.add_middleware(Stopping(self.work))
        self.routes(app)
        app.add_route("/ws", Socket(self.work))
        nested = falcon.asgi.App()
        install(nested, *self.databases)
        self.routes(nested)
        self.add_pages(app)
        if self.guest_at == "gzip":
            app = HoldsBackASGI(app)  # type: ignore[assignment]

        inner: Any = asgi.RequestScopeMiddleware(nested, *self.databases)

        async def dispatch(scope: Any, receive: Any, send: Any) -> None:
            path: str = scope.get("path", "")
            if path.startswith("/nested"):
                await inner({**scope, "path": path.removeprefix("/nested")}, receive, send)
            else:
                await app(scope, receive, send)

        return dispatch

    def routes(self, app: Any) -> None:
        app.add_route("/do/{what}/{number:int}", AsyncResource(self.do))
        app.add_route("/failing", AsyncResource(self.failing))
        app.add_route("/streamed", AsyncResource(self.streamed))
        app.add_route("/unsendable/{what}", AsyncResource(self.cannot_send))
        app.add_route("/refuse/{what}", AsyncResource(self.refuse))
        app.add_route("/answer/{what}/{status:int}", AsyncResource(self.answer))
        app.add_route("/stream", AsyncResource(self.stream))
        app.add_route("/background", AsyncResource(self.background))

    async def conflict(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 409, "no such product"

    async def busy(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 429, "busy"

    def page(self, status: int) -> Any:
        async def answer(req: Any, resp: Any, error: Any, params: Any) -> None:
            resp.status, resp.text = status, await self.work.page()

        return answer

    async def handled(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 200, "handled"

    async def do(self, resp: Any, what: str, number: int) -> None:
        resp.text = await self.work.do(what, number)
        if self.guest_at == "the close of a body":
            resp.stream, resp.text = AsyncBody(resp.text, self.work.guest), None
        if self.guest_at == "a scheduled callback":
            done = asyncio.Event()

            async def callback() -> None:
                await self.work.guest()
                done.set()

            resp.schedule(callback)
            self.work.jobs.append((asyncio.ensure_future(done.wait()), asyncio.Event()))
        if self.guest_at == "after a responder":
            change(await self.work.guest(), resp)

    async def failing(self, resp: Any) -> None:
        resp.stream = await self.work.failing()

    async def streamed(self, resp: Any) -> None:
        resp.stream = await self.work.streamed()

    async def cannot_send(self, resp: Any, what: str) -> None:
        await self.work.do("flushed", 1)
        if what == "handler":
            resp.content_type, resp.media = "text/unknown", {}
        else:
            resp.content_type, resp.media = falcon.MEDIA_JSON, {"x": self}

    async def refuse(self, resp: Any, what: str) -> None:
        await self.work.do(what, 1)
        raise falcon.HTTPForbidden

    async def answer(self, resp: Any, what: str, status: int) -> None:
        resp.text = await self.work.do(what, 1)
        resp.status = status

    async def stream(self, resp: Any) -> None:
        resp.stream = await self.work.stream()

    async def background(self, resp: Any) -> None:
        resp.text = await self.work.do("spawn", 1)


class Resource:
    def __init__(self, do: Any) -> None:
        self.do = do

    def on_get(self, req: Any, resp: Any, **params: Any) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        self.do(resp, **params)

    on_post = on_head = on_get


class AsyncResource(Resource):
    async def on_get(self, req: Any, resp: Any, **params: Any) -> None:  # type: ignore[override]
        resp.content_type = falcon.MEDIA_TEXT
        await self.do(resp, **params)

    on_post = on_head = on_get  # type: ignore[assignment]


class Socket:
    def __init__(self, work: Any) -> None:
        self.work = work

    async def on_websocket(self, req: Any, ws: Any) -> None:
        await ws.accept()
        while True:
            try:
                number = int(await ws.receive_text())
            except falcon.WebSocketDisconnected:
                return
            await ws.send_text(await self.work.message(number))


class Ending:
    """Another extension, with something to clean up."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def process_response(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:
        self.work.teardown()


def change(status: Any, resp: Any) -> None:
    if status:
        resp.status = status


class Changing(Ending):
    """Another one, with a guest."""

    def process_response(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:
        change(self.work.guest(), resp)


class AsyncEnding(Ending):
    async def process_response(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:  # type: ignore[override]
        self.work.teardown()


class AsyncChanging(Ending):
    async def process_response(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:  # type: ignore[override]
        change(await self.work.guest(), resp)


class Stopping(Ending):
    process_response = None  # type: ignore[assignment]

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        await self.work.guest()


class AsyncBody:
    """A body with a guest at its end."""

    def __init__(self, text: str, guest: Any) -> None:
        self.parts = [text.encode()]
        self.guest = guest

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        if not self.parts:
            raise StopAsyncIteration
        return self.parts.pop()

    async def close(self) -> None:
        await self.guest()


STANDS = [FalconStand, FalconASGI]
