from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from respool.web.starlette import install
from tests.web.stands.base import NO_CLEANUP, ASGIStand, Late
from tests.web.stands.middleware import run
from tests.web.stands.starlettes import AFTER, LATE, add_around, add_pages


class StarletteStand(ASGIStand):
    name = "Starlette"
    template = "/do/{what}/{number:int}"
    late: ClassVar = (*LATE, Late("a response's own code"))
    after: ClassVar = AFTER
    unsendable: ClassVar = {"json": 500, "a file that is not there": 500, "a range that is not there": 416}
    stopping: ClassVar = ("lifespan",)
    missing: ClassVar = {"late_cleanup": NO_CLEANUP}

    def build(self) -> Any:
        nested = Starlette(routes=[self.route("/do/{what}/{number:int}", self.do)])
        install(nested, *self.databases)
        app = Starlette(
            lifespan=self.live,
            routes=[
                self.route("/do/{what}/{number:int}", self.do),
                self.route("/refuse/{what}", self.refuse),
                self.route("/answer/{what}/{status:int}", self.answer),
                self.route("/stream", self.stream),
                self.route("/background", self.background),
                self.route("/unsendable/{what}", self.unsent),
                self.route("/failing", self.failing),
                self.route("/streamed", self.streamed),
                Mount("/nested", app=nested),
                WebSocketRoute("/ws", self.websocket),
            ],
        )
        app.add_middleware(Ending, work=self.work)
        add_around(self, app, "before")
        install(app, *self.databases, **self.shown)
        add_around(self, app, "after")
        add_pages(self, app)
        return app

    @asynccontextmanager
    async def live(self, app: Any) -> AsyncIterator[None]:
        yield
        if self.guest_at == "lifespan":
            await run(self.work.guest)

    @staticmethod
    def route(path: str, endpoint: Any) -> Route:
        return Route(path, endpoint, methods=["GET", "POST", "OPTIONS"])

    def answered(self, text: str) -> Any:
        """The handler's answer, with a guest where it can have one."""
        if self.guest_at == "background task":
            return PlainTextResponse(text, background=BackgroundTask(self.work.guest))
        if self.guest_at == "a response's own code":
            return WithGuest(text, self.work)
        return PlainTextResponse(text)

    async def do(self, request: Any) -> Any:
        return self.answered(await self.work.do(request.path_params["what"], request.path_params["number"]))

    async def refuse(self, request: Any) -> Any:
        await self.work.do(request.path_params["what"], 1)
        raise HTTPException(403)

    async def answer(self, request: Any) -> Any:
        return PlainTextResponse(await self.work.do(request.path_params["what"], 1), request.path_params["status"])

    async def stream(self, request: Any) -> Any:
        return StreamingResponse(await self.work.stream())

    async def unsent(self, request: Any) -> Any:
        await self.work.do("flushed", 1)
        return unsendable(request)

    async def failing(self, request: Any) -> Any:
        return StreamingResponse(await self.work.failing())

    async def streamed(self, request: Any) -> Any:
        return StreamingResponse(await self.work.streamed())

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
        return self.answered(self.work.do(request.path_params["what"], request.path_params["number"]))

    def refuse(self, request: Any) -> Any:  # type: ignore[override]
        self.work.do(request.path_params["what"], 1)
        raise HTTPException(403)

    def answer(self, request: Any) -> Any:  # type: ignore[override]
        return PlainTextResponse(self.work.do(request.path_params["what"], 1), request.path_params["status"])

    def stream(self, request: Any) -> Any:  # type: ignore[override]
        return StreamingResponse(self.work.stream())

    def unsent(self, request: Any) -> Any:  # type: ignore[override]
        self.work.do("flushed", 1)
        return unsendable(request)

    def failing(self, request: Any) -> Any:  # type: ignore[override]
        return StreamingResponse(self.work.failing())

    def streamed(self, request: Any) -> Any:  # type: ignore[override]
        return StreamingResponse(self.work.streamed())

    def background(self, request: Any) -> Any:  # type: ignore[override]
        self.work.do("order", 1)
        return PlainTextResponse("thanks", background=BackgroundTask(self.work.after, self.db.session))

    async def websocket(self, websocket: Any) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(self.work.message(int(text)))


def unsendable(request: Any) -> Any:
    """What the path names."""
    what = request.path_params["what"]
    if what == "json":
        return JSONResponse({"a set": {1}})
    if what == "a range that is not there":
        return FileResponse(__file__)
    return FileResponse("/nowhere")


class WithGuest(PlainTextResponse):
    """A response with code of its own, which runs when the framework sends it."""

    def __init__(self, text: str, work: Any) -> None:
        super().__init__(text)
        self.work = work

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await run(self.work.guest)
        await super().__call__(scope, receive, send)


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
