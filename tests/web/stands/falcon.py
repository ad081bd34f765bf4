from __future__ import annotations

from typing import Any, ClassVar

import falcon
import falcon.asgi
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web import asgi, wsgi
from respool.web.falcon import install
from tests.web.stands.base import PENDING, STARLETTES, ASGIStand, WSGIStand


class FalconStand(WSGIStand):
    name = "Falcon"

    def build(self) -> Any:
        app = falcon.App(middleware=[Ending(self.work)])
        install(app, *self.databases)
        self.routes(app)
        nested = falcon.App()
        install(nested, *self.databases)
        self.routes(nested)
        if self.handlers:
            app.add_error_handler(IntegrityError, self.conflict)
            app.add_error_handler(PoolQueueFull, self.busy)

        inner: Any = wsgi.RequestScopeMiddleware(nested, *self.databases)

        def dispatch(environ: Any, start_response: Any) -> Any:
            path: str = environ["PATH_INFO"]
            if path.startswith("/nested"):
                return inner({**environ, "PATH_INFO": path.removeprefix("/nested")}, start_response)
            return app(environ, start_response)

        return dispatch

    def routes(self, app: Any) -> None:
        app.add_route("/do/{what}/{number:int}", Resource(self.do))
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
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        app = falcon.asgi.App(middleware=[AsyncEnding(self.work)])
        install(app, *self.databases)
        self.routes(app)
        app.add_route("/ws", Socket(self.work))
        nested = falcon.asgi.App()
        install(nested, *self.databases)
        self.routes(nested)
        if self.handlers:
            app.add_error_handler(IntegrityError, self.conflict)
            app.add_error_handler(PoolQueueFull, self.busy)

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
        app.add_route("/refuse/{what}", AsyncResource(self.refuse))
        app.add_route("/answer/{what}/{status:int}", AsyncResource(self.answer))
        app.add_route("/stream", AsyncResource(self.stream))
        app.add_route("/background", AsyncResource(self.background))

    async def conflict(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 409, "no such product"

    async def busy(self, req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status, resp.text = 429, "busy"

    async def do(self, resp: Any, what: str, number: int) -> None:
        resp.text = await self.work.do(what, number)

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


class AsyncEnding(Ending):
    async def process_response(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:  # type: ignore[override]
        self.work.teardown()


STANDS = [FalconStand, FalconASGI]
