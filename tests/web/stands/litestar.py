# Annotations are evaluated here: Litestar cannot see the local names of a postponed one.
from typing import Any, ClassVar

from litestar import Litestar, MediaType, Response, asgi, route, websocket_listener
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.response import Stream
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.asgi import RequestScopeMiddleware
from respool.web.litestar import RespoolPlugin, install, session_of
from tests.web.stands.base import PENDING, STARLETTES, ASGIStand

METHODS: Any = ["GET", "HEAD", "POST", "OPTIONS"]
POST: Any = ["POST"]


class LitestarStand(ASGIStand):
    name = "Litestar"
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        nested = self.make([self.do_route()])
        nested_app: Any = RequestScopeMiddleware(nested, *self.databases)
        mounted = asgi("/nested", is_mount=True, copy_scope=True)(nested_app)
        app = self.make([self.do_route(), *self.other_routes(), mounted, self.socket()])
        self.install(app)
        return app

    def install(self, app: Litestar) -> None:
        install(app, *self.databases)

    def make(self, routes: Any, **options: Any) -> Litestar:
        handlers: Any = {}
        if self.handlers:
            handlers = {
                IntegrityError: lambda request, error: Response("no such product", status_code=409),
                PoolQueueFull: lambda request, error: Response("busy", status_code=429),
            }
        options.setdefault("dependencies", {"current": session_of(self.db)})
        return Litestar(
            routes,
            after_response=self.ending,
            exception_handlers=handlers,
            openapi_config=None,
            logging_config=None,
            **options,
        )

    async def ending(self, request: Any) -> None:
        self.work.teardown()

    def do_route(self) -> Any:
        @route("/do/{what:str}/{number:int}", http_method=METHODS, status_code=200, media_type=MediaType.TEXT)
        async def do(what: FromPath[str], number: FromPath[int], current: NamedDependency[Any]) -> str:
            assert current is self.db.session
            return str(await self.work.do(what, number))

        return do

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

        return [refuse, answer, stream, background]

    def socket(self) -> Any:
        @websocket_listener("/ws")
        async def listen(data: str) -> str:
            return str(await self.work.message(int(data)))

        return listen


class LitestarSync(LitestarStand):
    """With sync handlers, and by the plugin."""

    kind = "sync"

    def build(self) -> Any:
        self.plugin = RespoolPlugin(*self.databases, session="current")
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
        def do(what: FromPath[str], number: FromPath[int], current: NamedDependency[Any]) -> str:
            assert current is self.db.session
            return str(self.work.do(what, number))

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

        return [refuse, answer, stream, background]

    def socket(self) -> Any:
        @websocket_listener("/ws", sync_to_thread=True)
        def listen(data: str) -> str:
            return str(self.work.message(int(data)))

        return listen


STANDS = [LitestarStand, LitestarSync]
