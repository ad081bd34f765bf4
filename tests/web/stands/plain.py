"""Applications without a framework: the middleware alone."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web import asgi, wsgi
from tests.web.stands import wsgis
from tests.web.stands.base import NO_CLEANUP, STARLETTES, ASGIStand, Late, WSGIStand
from tests.web.stands.middleware import AtEnd, AtStart, Buffered, HoldsBack, run

STANDS: list[type] = []

NO_FRAMEWORK = "there is no framework that would answer errors"
NO_ROUTES = "there is no framework that would have routes"


class PlainASGI(ASGIStand):
    name = "ASGI"
    missing: ClassVar = {
        "base_http_middleware": STARLETTES,
        "late_cleanup": NO_CLEANUP,
        "unsendable": "what is to be sent is made by the application itself",
        "route_template": NO_ROUTES,
        "error_answered_as_success": "the application answers its errors by itself; nobody else sees them",
    }
    late: ClassVar = (Late("a middleware within"), Late("a middleware within that answers by itself", status=True))
    after: ClassVar = ("the end of a middleware within",)
    stopping: ClassVar = ("lifespan",)

    def build(self) -> Any:
        app: Any = self.application
        guests = {"a middleware within": AtStart, "a middleware within that answers by itself": Buffered}
        guests |= {"the end of a middleware within": AtEnd}
        if self.guest_at in guests:
            app = guests[self.guest_at](app, self.work.guest)
        outer: Any = asgi.RequestScopeMiddleware(app, *self.databases, **self.shown)
        if self.guest_at == "gzip":  # what waits for the body belongs around
            outer = HoldsBack(outer)
        self.inner = asgi.RequestScopeMiddleware(self.application, *self.databases)
        return outer

    async def do(self, what: str, number: int) -> str:
        return str(await self.work.do(what, number))

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self.websocket(receive, send)
            return
        if scope["type"] == "lifespan" and self.guest_at == "lifespan":
            await self.live(receive, send)
            return
        assert scope["type"] == "http"  # as most such applications, it knows of no lifespan
        parts = scope["path"].strip("/").split("/")
        if parts[0] == "nested":
            await self.inner({**scope, "path": scope["path"].removeprefix("/nested")}, receive, send)
            return
        try:
            status, body = await self.answer(parts, scope["method"])
            await self.start(send, status)
        except Exception as error:
            status = 409 if isinstance(error, IntegrityError) and self.handlers else 500
            if self.guest_at == "pages":
                await run(self.rollback)
                body = await run(self.work.page)
            elif status == 409:
                body = "no such product"
            elif isinstance(error, PoolQueueFull) and self.handlers:
                status, body = 429, "busy"
            else:
                raise
            await self.start(send, status)
        if not isinstance(body, str):
            async for part in body:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            body = ""
        await send({"type": "http.response.body", "body": body.encode() if scope["method"] != "HEAD" else b""})
        self.work.teardown()

    async def start(self, send: Any, status: int) -> None:
        headers: list[Any] = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def rollback(self) -> None:
        await self.db.session.rollback()

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await run(self.work.guest)
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, parts: list[str], method: str) -> tuple[int, Any]:
        if method == "OPTIONS":
            return 204, ""
        if parts[0] == "stream":
            return 200, await self.stream()
        if parts[0] in ("failing", "streamed"):
            return 200, await self.stream(parts[0])
        if parts[0] == "nowhere":
            return 404, await self.page()
        if parts[0] == "background":
            return 200, await self.do("spawn", 1)
        if parts[0] == "refuse":
            await self.do(parts[1], 1)
            return 403, await self.page()
        if parts[0] == "answer":
            return int(parts[2]), await self.do(parts[1], 1)
        return 200, await self.do(parts[1], int(parts[2]))

    async def page(self) -> str:
        if self.guest_at != "pages":
            return "no"
        await run(self.rollback)
        return str(await run(self.work.page))

    async def stream(self, what: str = "stream") -> Any:
        return await getattr(self.work, what)()

    async def message(self, number: int) -> str:
        return str(await self.work.message(number))

    async def websocket(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": await self.message(int(message["text"]))})


class PlainASGISync(PlainASGI):
    """Sync sessions, in threads."""

    kind = "sync"

    async def do(self, what: str, number: int) -> str:
        return str(await asyncio.to_thread(self.work.do, what, number))

    async def message(self, number: int) -> str:
        return str(await asyncio.to_thread(self.work.message, number))

    def rollback(self) -> None:  # type: ignore[override]
        self.db.session.rollback()

    async def stream(self, what: str = "stream") -> Any:
        parts = await asyncio.to_thread(getattr(self.work, what))

        async def body() -> Any:
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                yield part

        return body()


class PlainWSGI(WSGIStand):
    name = "WSGI"
    missing: ClassVar = {
        **WSGIStand.missing,
        "route_template": NO_ROUTES,
        "error_answered_as_success": NO_FRAMEWORK,
        "error_pages": NO_FRAMEWORK,
    }
    late: ClassVar = (
        Late("before start_response", status=True),
        Late("after start_response", cleans=True),
        Late("a wrapper", status=True),
    )
    after: ClassVar = ("the close of a body", "a later part of a body")
    unsendable: ClassVar = {"nothing": 500, "text": 500, "head": 500, "silence": 500}

    def build(self) -> Any:
        app: Any = self.application
        answers = self.handlers or self.guest_at == "pages"
        if self.guest_at == "a wrapper":
            app = wsgis.Wrapper(app, self.work.guest)
        if self.guest_at == "gzip":
            app = wsgis.HoldsBack(wsgi.RequestScopeMiddleware(app, *self.databases))
        outer = wsgi.RequestScopeMiddleware(
            app, *self.databases, answer_failure=self.answer_failure if answers else None, **self.shown
        )
        self.inner = wsgi.RequestScopeMiddleware(self.application, *self.databases)
        return outer

    def application(self, environ: Any, start_response: Any) -> Any:
        path: str = environ["PATH_INFO"]
        parts = path.strip("/").split("/")
        if parts[0] == "nested":
            return self.inner({**environ, "PATH_INFO": path.removeprefix("/nested")}, start_response)
        try:
            status, body = self.answer(parts, environ["REQUEST_METHOD"])
            if self.guest_at == "before start_response" and (other := self.work.guest()):
                status, body = f"{other} Other", "changed"
            start_response(status, [("Content-Type", "text/plain")] if parts[-1] != "head" else [("X", "a\nb")])
        except Exception as error:
            answer = self.answer_failure(environ, start_response, error) if self.handlers else None
            if answer is None:
                raise
            return answer
        if self.guest_at == "after start_response":
            self.work.guest()
        self.work.teardown()
        return self.body(body, environ["REQUEST_METHOD"])

    def body(self, body: Any, method: str) -> Any:
        if not isinstance(body, str):
            return body
        if self.guest_at == "the close of a body":
            return wsgis.Body(body, self.work.guest)
        if self.guest_at == "a later part of a body":
            return self.parts(body)
        return [body.encode()] if method != "HEAD" else []

    def parts(self, body: str) -> Any:
        yield body.encode()
        self.work.guest()

    def answer_failure(self, environ: Any, start_response: Any, error: Exception) -> Any:
        if self.guest_at == "pages":
            start_response("409 Conflict" if self.handlers else "500 Oops", [])
            return [self.work.page().encode()]
        if isinstance(error, IntegrityError):
            start_response("409 Conflict", [])
            return [b"no such product"]
        if isinstance(error, PoolQueueFull):
            start_response("429 Too Many Requests", [])
            return [b"busy"]
        return None

    def answer(self, parts: list[str], method: str) -> tuple[str, Any]:
        if method == "OPTIONS":
            return "204 No Content", ""
        if parts[0] == "stream":
            return "200 OK", self.work.stream()
        if parts[0] == "background":
            return "200 OK", self.work.do("spawn", 1)
        if parts[0] in ("failing", "streamed"):
            return "200 OK", getattr(self.work, parts[0])()
        if parts[0] == "unsendable":
            self.work.do("flushed", 1)
            return "200 OK", {"nothing": None, "text": ["text"], "silence": map(int, ["?"])}.get(parts[1], "head")
        if parts[0] == "refuse":
            self.work.do(parts[1], 1)
            return "403 Forbidden", "no"
        if parts[0] == "answer":
            return f"{parts[2]} So", self.work.do(parts[1], 1)
        return "200 OK", self.work.do(parts[1], int(parts[2]))


STANDS += [PlainASGI, PlainASGISync, PlainWSGI]
