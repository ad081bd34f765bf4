from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, ClassVar

from quart import Quart, Response, abort, after_this_request, request_finished, send_from_directory, websocket
from quart.sessions import SecureCookieSession, SessionInterface
from quart.utils import run_sync_iterable
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException as WerkzeugHTTPException

from respool.errors import PoolQueueFull
from respool.web.quart import install
from tests.web.stands.base import STARLETTES, ASGIStand, Late
from tests.web.stands.middleware import AtEnd, AtStart, HoldsBack, run

METHODS = ["GET", "HEAD", "POST"]


class QuartStand(ASGIStand):
    name = "Quart"
    template = "/do/<what>/<int:number>"
    missing: ClassVar = {"base_http_middleware": STARLETTES}
    late: ClassVar = (
        Late("after_request", status=True),
        Late("after_this_request", status=True),
        Late("save_session", status=True),
        Late("request_finished"),
        Late("teardown_request", cleans=True),
        Late("teardown_appcontext", cleans=True),
        Late("asgi_app wrapped before install"),
        Late("asgi_app wrapped after install"),
    )
    after: ClassVar = ("the end of asgi_app wrapped after install",)
    unsendable: ClassVar = {"json": 500, "an unsupported type": 500, "a file that is not there": 404}
    stopping: ClassVar = ("after_serving", "while_serving")

    def build(self) -> Any:
        app = Quart("shop")
        self.routes(app)
        nested = Quart("nested")
        self.routes(nested)
        install(nested, *self.databases)
        app.asgi_app = Dispatcher(app.asgi_app, {"/nested": nested})  # type: ignore[method-assign]
        self.add_guest(app, "before")
        install(app, *self.databases, **self.shown)
        self.add_guest(app, "after")
        app.teardown_request(self.ending)
        if self.guest_at == "pages":
            app.register_error_handler(Exception, self.page)
        elif self.handlers:
            app.register_error_handler(IntegrityError, lambda error: ("no such product", 409))
            app.register_error_handler(PoolQueueFull, lambda error: ("busy", 429))

        if self.guest_at == "handled":
            app.register_error_handler(LookupError, lambda error: "handled")

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
        app.add_url_rule("/unsendable/<what>", "unsendable", self.unsent)
        app.add_url_rule("/failing", "failing", self.failing, methods=["POST"])
        app.add_url_rule("/streamed", "streamed", self.streamed, methods=["POST"])
        app.add_url_rule("/background", "background", self.background, methods=["POST"])

    async def page(self, error: Exception) -> Any:
        status = error.code if isinstance(error, WerkzeugHTTPException) else 500
        return await run(self.work.page), 409 if self.handlers and isinstance(error, IntegrityError) else status

    def add_guest(self, app: Any, when: str) -> None:
        guest = self.work.guest

        async def late(response: Any = None) -> Any:
            status = await run(guest)
            if status:
                response.status_code = status
            return response

        async def finished(sender: Any, response: Any) -> None:
            await run(guest)

        async def lives() -> AsyncIterator[None]:
            yield
            await run(guest)

        place, _, wrapped = self.guest_at.partition(" wrapped ")
        if place == "asgi_app" and wrapped == f"{when} install":
            app.asgi_app = AtStart(app.asgi_app, guest)
        if when == "before":
            return
        if place == "the end of asgi_app":
            app.asgi_app = AtEnd(app.asgi_app, guest)
        if place == "gzip":
            app.asgi_app = HoldsBack(app.asgi_app)
        if place == "after_request":
            app.after_request(late)
        if place == "after_this_request":
            app.before_request(lambda: after_this_request(late) and None)
        if place == "save_session":
            app.session_interface = Sessions(late)
        if place == "request_finished":
            self.finished = finished  # the signal keeps it weakly
            request_finished.connect(finished, app)
        if place in ("teardown_request", "teardown_appcontext"):
            getattr(app, place)(late)
        if place == "after_serving":
            app.after_serving(late)
        if place == "while_serving":
            app.while_serving(lives)

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

    async def unsent(self, what: str) -> Any:
        await run(partial(self.work.do, "flushed", 1))
        return await unsendable(what)

    async def failing(self) -> Any:
        return Response(await self.work.failing())

    async def streamed(self) -> Any:
        return Response(await self.work.streamed())

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

    def failing(self) -> Any:  # type: ignore[override]
        return Response(run_sync_iterable(self.work.failing()))

    def streamed(self) -> Any:  # type: ignore[override]
        return Response(run_sync_iterable(self.work.streamed()))

    def background(self) -> Any:  # type: ignore[override]
        return self.work.do("spawn", 1)


async def unsendable(what: str) -> Any:
    """What the path names."""
    if what == "json":
        return {"a set": {1}, "an object": object()}
    if what == "a file that is not there":
        return await send_from_directory("/", "nowhere")
    return object()


class Sessions(SessionInterface):
    """Browser sessions that are kept in the database."""

    def __init__(self, save: Any) -> None:
        self.save = save

    async def open_session(self, app: Any, request: Any) -> Any:
        return SecureCookieSession()

    async def save_session(self, app: Any, session: Any, response: Any) -> None:
        await self.save(response)


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
