from __future__ import annotations

from typing import Any

from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from respool.errors import PoolQueueFull
from respool.web.starlette import install
from tests.web.stands.base import ASGIStand


class StarletteStand(ASGIStand):
    name = "Starlette"

    def build(self) -> Any:
        nested = Starlette(routes=[self.route("/do/{what}/{number:int}", self.do)])
        install(nested, *self.databases)
        app = Starlette(
            routes=[
                self.route("/do/{what}/{number:int}", self.do),
                self.route("/refuse/{what}", self.refuse),
                self.route("/answer/{what}/{status:int}", self.answer),
                self.route("/stream", self.stream),
                self.route("/background", self.background),
                Mount("/nested", app=nested),
                WebSocketRoute("/ws", self.websocket),
            ]
        )
        if self.handlers:
            app.add_exception_handler(IntegrityError, lambda request, error: PlainTextResponse("no such product", 409))
            app.add_exception_handler(PoolQueueFull, lambda request, error: PlainTextResponse("busy", 429))
        if self.around:
            app.add_middleware(BaseHTTPMiddleware, dispatch=self.pass_on)
        app.add_middleware(Ending, work=self.work)
        install(app, *self.databases)
        if self.around:
            app.add_middleware(BaseHTTPMiddleware, dispatch=self.pass_on)
        return app

    @staticmethod
    def route(path: str, endpoint: Any) -> Route:
        return Route(path, endpoint, methods=["GET", "POST", "OPTIONS"])

    @staticmethod
    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    async def do(self, request: Any) -> Any:
        return PlainTextResponse(await self.work.do(request.path_params["what"], request.path_params["number"]))

    async def refuse(self, request: Any) -> Any:
        await self.work.do(request.path_params["what"], 1)
        raise HTTPException(403)

    async def answer(self, request: Any) -> Any:
        return PlainTextResponse(await self.work.do(request.path_params["what"], 1), request.path_params["status"])

    async def stream(self, request: Any) -> Any:
        return StreamingResponse(await self.work.stream())

    async def background(self, request: Any) -> Any:
        await self.work.do("order", 1)
        return PlainTextResponse("thanks", background=BackgroundTask(self.work.after, self.db.session))

    async def websocket(self, websocket: Any) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(await self.work.message(int(text)))


class StarletteSync(StarletteStand):
    kind = "sync"

    def do(self, request: Any) -> Any:  # type: ignore[override]
        return PlainTextResponse(self.work.do(request.path_params["what"], request.path_params["number"]))

    def refuse(self, request: Any) -> Any:  # type: ignore[override]
        self.work.do(request.path_params["what"], 1)
        raise HTTPException(403)

    def answer(self, request: Any) -> Any:  # type: ignore[override]
        return PlainTextResponse(self.work.do(request.path_params["what"], 1), request.path_params["status"])

    def stream(self, request: Any) -> Any:  # type: ignore[override]
        return StreamingResponse(self.work.stream())

    def background(self, request: Any) -> Any:  # type: ignore[override]
        self.work.do("order", 1)
        return PlainTextResponse("thanks", background=BackgroundTask(self.work.after, self.db.session))

    async def websocket(self, websocket: Any) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(self.work.message(int(text)))


class Ending:
    """Another extension, with something to clean up."""

    def __init__(self, app: Any, work: Any) -> None:
        self.app = app
        self.work = work

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        if scope["type"] == "http":
            self.work.teardown()


STANDS = [StarletteStand, StarletteSync]
