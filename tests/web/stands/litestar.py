# Annotations are evaluated here: Litestar cannot see the local names of a postponed one.
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from litestar import Litestar, MediaType, Response, asgi, route, websocket_listener
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPluginProtocol
from litestar.response import File, Stream
from sqlalchemy.exc import IntegrityError

try:
    from litestar.di import NamedDependency
    from litestar.params import FromPath
except ImportError:  # before 2.24 a parameter's name tells what it is

    class FromPath:  # type: ignore[no-redef]
        def __class_getitem__(cls, kind: Any) -> Any:
            return kind

    NamedDependency = FromPath  # type: ignore[misc, assignment]

from respool.errors import PoolQueueFull
from respool.web.asgi import RequestScopeMiddleware
from respool.web.litestar import RespoolPlugin, install, session_of
from tests.web.stands.base import NO_CLEANUP, STARLETTES, ASGIStand, Late
from tests.web.stands.middleware import AtEnd, AtStart, Buffered, HoldsBack, run

NO_ASYNC_PAGES = "Litestar's exception handlers await nothing"
METHODS: Any = ["GET", "HEAD", "POST", "OPTIONS"]
POST: Any = ["POST"]


class LitestarStand(ASGIStand):
    name = "Litestar"
    template = "/do/{what}/{number}"
    missing: ClassVar = {
        "base_http_middleware": STARLETTES,
        "late_cleanup": NO_CLEANUP,
        "error_pages": NO_ASYNC_PAGES,
        "error_page_of_a_failed_commit": NO_ASYNC_PAGES,
    }
    late: ClassVar = (
        Late("after_request", status=True),
        Late("before_send"),
        Late("before_send of a plugin"),
        Late("a pure middleware"),
        Late("a middleware that answers by itself", status=True),
        Late("a dependency's end"),
    )
    after: ClassVar = ("after_response", "a background task", "the end of a pure middleware")
    unsendable: ClassVar = {"json": 500, "a file that is not there": 500, "a file that is there": 200}
    stopping: ClassVar = ("on_shutdown", "on_shutdown of a plugin", "lifespan")

    def build(self) -> Any:
        nested = self.make([self.do_route()])
        nested_app: Any = RequestScopeMiddleware(nested, *self.databases)
        mounted = asgi("/nested", is_mount=True, copy_scope=True)(nested_app)
        app = self.make([self.do_route(), *self.other_routes(), mounted, self.socket()], guests=True)
        self.install(app)
        return app

    def install(self, app: Litestar) -> None:
        install(app, *self.databases, **self.shown)

    def make(self, routes: Any, *, guests: bool = False, **options: Any) -> Litestar:
        handlers: Any = {}
        if self.guest_at == "pages":
            handlers = {HTTPException: self.page, 404: self.page, 500: self.page}
            handlers |= {IntegrityError: self.page} if self.handlers else {}
        elif self.handlers:
            handlers = {
                IntegrityError: lambda request, error: Response("no such product", status_code=409),
                PoolQueueFull: lambda request, error: Response("busy", status_code=429),
            }
        if self.guest_at == "handled":
            handlers = {LookupError: lambda request, error: Response("handled", media_type=MediaType.TEXT)}
        options.setdefault("dependencies", {"current": session_of(self.db)})
        if guests:
            add_guest(self, options)
        options.setdefault("after_response", self.ending)
        return Litestar(routes, exception_handlers=handlers, openapi_config=None, logging_config=None, **options)

    def page(self, request: Any, error: Exception) -> Any:
        status = error.status_code if isinstance(error, HTTPException) else 500
        status = 409 if isinstance(error, IntegrityError) and self.handlers else status
        return Response(self.work.page(), status_code=status, media_type=MediaType.TEXT)

    async def ending(self, request: Any) -> None:
        self.work.teardown()

    def do_route(self) -> Any:
        @route("/do/{what:str}/{number:int}", http_method=METHODS, status_code=200, media_type=MediaType.TEXT)
        async def do(
            what: FromPath[str],
            number: FromPath[int],
            current: NamedDependency[Any],
            guest: NamedDependency[Any] = None,
        ) -> Response[str]:
            assert current is self.db.session
            return self.answered(await self.work.do(what, number))

        return do

    def answered(self, text: Any) -> Response[str]:
        """The handler's answer."""
        background = BackgroundTask(self.work.guest) if self.guest_at == "a background task" else None
        return Response(str(text), background=background)

    def other_routes(self) -> list[Any]:
        @route("/refuse/{what:str}", http_method=POST)
        async def refuse(what: FromPath[str]) -> None:
            await self.work.do(what, 1)
            raise HTTPException(status_code=403)

        @route("/answer/{what:str}/{status:int}", http_method=POST)
        async def answer(what: FromPath[str], status: FromPath[int]) -> Response[str]:
            return Response(await self.work.do(what, 1), status_code=status)

        @route("/stream", http_method="GET")
        async def stream() -> Stream:
            return Stream(await self.work.stream())

        @route("/background", http_method=POST)
        async def background() -> Response[str]:
            text = await self.work.do("order", 1)
            return Response(text, status_code=200, background=BackgroundTask(self.work.after, self.db.session))

        @route("/unsendable/{what:str}", http_method="GET")
        async def unsendable(what: FromPath[str]) -> Any:
            await self.work.do("flushed", 1)
            return unsendable_answer(what)

        @route("/failing", http_method=POST)
        async def failing() -> Stream:
            return Stream(await self.work.failing())

        @route("/streamed", http_method=POST, status_code=200)
        async def streamed() -> Stream:
            return Stream(await self.work.streamed())

        return [refuse, answer, stream, background, unsendable, failing, streamed]

    def socket(self) -> Any:
        @websocket_listener("/ws")
        async def listen(data: str) -> str:
            return str(await self.work.message(int(data)))

        return listen


class LitestarSync(LitestarStand):
    """With sync handlers, and by the plugin."""

    kind = "sync"
    missing: ClassVar = {"base_http_middleware": STARLETTES, "late_cleanup": NO_CLEANUP}

    def build(self) -> Any:
        self.plugin = RespoolPlugin(*self.databases, session="current", **self.shown)
        return super().build()

    def install(self, app: Litestar) -> None:
        """The plugin has done it."""

    def make(self, routes: Any, **options: Any) -> Litestar:
        return super().make(routes, plugins=[self.plugin], dependencies={}, **options)

    def do_route(self) -> Any:
        @route(
            "/do/{what:str}/{number:int}",
            http_method=METHODS,
            status_code=200,
            media_type=MediaType.TEXT,
            sync_to_thread=True,
        )
        def do(
            what: FromPath[str],
            number: FromPath[int],
            current: NamedDependency[Any],
            guest: NamedDependency[Any] = None,
        ) -> Response[str]:
            assert current is self.db.session
            return self.answered(self.work.do(what, number))

        return do

    def other_routes(self) -> list[Any]:
        @route("/refuse/{what:str}", http_method=POST, sync_to_thread=True)
        def refuse(what: FromPath[str]) -> None:
            self.work.do(what, 1)
            raise HTTPException(status_code=403)

        @route("/answer/{what:str}/{status:int}", http_method=POST, sync_to_thread=True)
        def answer(what: FromPath[str], status: FromPath[int]) -> Response[str]:
            return Response(self.work.do(what, 1), status_code=status)

        @route("/stream", http_method="GET", sync_to_thread=True)
        def stream() -> Stream:
            return Stream(self.work.stream())

        @route("/background", http_method=POST, sync_to_thread=True)
        def background() -> Response[str]:
            text = self.work.do("order", 1)
            return Response(text, status_code=200, background=BackgroundTask(self.work.after, self.db.session))

        @route("/unsendable/{what:str}", http_method="GET", sync_to_thread=True)
        def unsendable(what: FromPath[str]) -> Any:
            self.work.do("flushed", 1)
            return unsendable_answer(what)

        @route("/failing", http_method=POST, sync_to_thread=True)
        def failing() -> Stream:
            return Stream(self.work.failing())

        @route("/streamed", http_method=POST, status_code=200, sync_to_thread=True)
        def streamed() -> Stream:
            return Stream(self.work.streamed())

        return [refuse, answer, stream, background, unsendable, failing, streamed]

    def socket(self) -> Any:
        @websocket_listener("/ws", sync_to_thread=True)
        def listen(data: str) -> str:
            return str(self.work.message(int(data)))

        return listen


def unsendable_answer(what: str) -> Any:
    """What the path names."""
    if what == "json":
        return {"an object": object()}
    return File("/nowhere" if what == "a file that is not there" else __file__, filename="a file")


def add_guest(stand: LitestarStand, options: dict[str, Any]) -> None:
    """Put the work's guest where it is to be."""
    guest, place = stand.work.guest, stand.guest_at

    async def after_request(response: Any) -> Any:
        status = await run(guest)
        response.status_code = status or response.status_code
        return response

    async def before_send(message: Any, scope: Any) -> None:
        if message["type"] == "http.response.start":
            await run(guest)

    async def after_response(request: Any) -> None:
        await run(guest)

    async def on_shutdown() -> None:
        await run(guest)

    async def dependency() -> AsyncIterator[None]:
        yield
        await run(guest)

    @asynccontextmanager
    async def live(app: Any) -> AsyncIterator[None]:
        yield
        await run(guest)

    if place == "a dependency's end":
        options["dependencies"] = {**options["dependencies"], "guest": dependency}
    hooks = {"after_request": after_request, "after_response": after_response}
    if place in hooks:
        options[place] = hooks[place]
    lists = {"before_send": before_send, "on_shutdown": on_shutdown, "lifespan": live}
    name, _, of_a_plugin = place.partition(" of a ")
    if name in lists and of_a_plugin:
        options["plugins"] = [*options.get("plugins", []), Other(name, lists[name])]
    elif name in lists:
        options[name] = [lists[name]]
    middlewares = {
        "a pure middleware": AtStart,
        "a middleware that answers by itself": Buffered,
        "the end of a pure middleware": AtEnd,
    }
    if place in middlewares:
        options["middleware"] = [DefineMiddleware(middlewares[place], guest=guest)]
    if place == "gzip":
        options["middleware"] = [HoldsBack]


class Other(InitPluginProtocol):
    """Another plugin, which comes after ours."""

    def __init__(self, name: str, hook: Any) -> None:
        self.name = name
        self.hook = hook

    def on_app_init(self, app_config: Any) -> Any:
        getattr(app_config, self.name).append(self.hook)
        return app_config


STANDS = [LitestarStand, LitestarSync]
