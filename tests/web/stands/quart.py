from __future__ import annotations

from typing import Any, ClassVar

from quart import Quart, Response, abort, websocket
from quart.utils import run_sync_iterable
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.quart import install
from tests.web.stands.base import PENDING, STARLETTES, ASGIStand

METHODS = ["GET", "HEAD", "POST"]


class QuartStand(ASGIStand):
    name = "Quart"
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        app = Quart("shop")
        self.routes(app)
        nested = Quart("nested")
        self.routes(nested)
        install(nested, *self.databases)
        app.asgi_app = Dispatcher(app.asgi_app, {"/nested": nested})  # type: ignore[method-assign]
        install(app, *self.databases)
        app.teardown_request(self.ending)
        if self.handlers:
            app.register_error_handler(IntegrityError, lambda error: ("no such product", 409))
            app.register_error_handler(PoolQueueFull, lambda error: ("busy", 429))

        @app.websocket("/ws")
        async def ws() -> None:
            while True:
                await websocket.send(await self.message(int(await websocket.receive())))

        return app

    def routes(self, app: Quart) -> None:
        app.add_url_rule("/do/<what>/<int:number>", "do", self.do, methods=METHODS)
        app.add_url_rule("/refuse/<what>", "refuse", self.refuse, methods=["POST"])
        app.add_url_rule("/answer/<what>/<int:status>", "answer", self.answer, methods=["POST"])
        app.add_url_rule("/stream", "stream", self.stream)
        app.add_url_rule("/background", "background", self.background, methods=["POST"])

    async def ending(self, error: object) -> None:
        self.work.teardown()

    async def message(self, number: int) -> str:
        return str(await self.work.message(number))

    async def do(self, what: str, number: int) -> Any:
        return await self.work.do(what, number)

    async def refuse(self, what: str) -> Any:
        await self.work.do(what, 1)
        abort(403)

    async def answer(self, what: str, status: int) -> Any:
        return await self.work.do(what, 1), status

    async def stream(self) -> Any:
        return Response(await self.work.stream())

    async def background(self) -> Any:
        return await self.work.do("spawn", 1)


class QuartSync(QuartStand):
    kind = "sync"

    async def message(self, number: int) -> str:
        return str(self.work.message(number))

    def do(self, what: str, number: int) -> Any:  # type: ignore[override]
        return self.work.do(what, number)

    def refuse(self, what: str) -> Any:  # type: ignore[override]
        self.work.do(what, 1)
        abort(403)

    def answer(self, what: str, status: int) -> Any:  # type: ignore[override]
        return self.work.do(what, 1), status

    def stream(self) -> Any:  # type: ignore[override]
        return Response(run_sync_iterable(self.work.stream()))

    def background(self) -> Any:  # type: ignore[override]
        return self.work.do("spawn", 1)


class Dispatcher:
    """Quart's documents send users to one of these; it has none of its own since 0.20."""

    def __init__(self, app: Any, mounts: dict[str, Any]) -> None:
        self.app = app
        self.mounts = mounts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for path, app in self.mounts.items():
            if scope.get("path", "").startswith(path):
                await app({**scope, "path": scope["path"].removeprefix(path)}, receive, send)
                return
        await self.app(scope, receive, send)


STANDS = [QuartStand, QuartSync]
