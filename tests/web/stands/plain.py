"""Applications without a framework: the middleware alone."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web import asgi, wsgi
from tests.web.stands.base import PENDING, STARLETTES, ASGIStand, WSGIStand

STANDS: list[type] = []


class PlainASGI(ASGIStand):
    name = "ASGI"
    missing: ClassVar = {"base_http_middleware": STARLETTES, **PENDING}

    def build(self) -> Any:
        outer = asgi.RequestScopeMiddleware(self.application, *self.databases)
        self.inner = asgi.RequestScopeMiddleware(self.application, *self.databases)
        return outer

    async def do(self, what: str, number: int) -> str:
        return str(await self.work.do(what, number))

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self.websocket(receive, send)
            return
        assert scope["type"] == "http"  # as most such applications, it knows of no lifespan
        parts = scope["path"].strip("/").split("/")
        if parts[0] == "nested":
            await self.inner({**scope, "path": scope["path"].removeprefix("/nested")}, receive, send)
            return
        try:
            status, body = await self.answer(parts, scope["method"])
            headers: list[Any] = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
        except IntegrityError:
            if not self.handlers:
                raise
            await send({"type": "http.response.start", "status": 409, "headers": []})
            body = "no such product"
        except PoolQueueFull:
            if not self.handlers:
                raise
            await send({"type": "http.response.start", "status": 429, "headers": []})
            body = "busy"
        if not isinstance(body, str):
            async for part in body:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            body = ""
        await send({"type": "http.response.body", "body": body.encode() if scope["method"] != "HEAD" else b""})
        self.work.teardown()

    async def answer(self, parts: list[str], method: str) -> tuple[int, Any]:
        if method == "OPTIONS":
            return 204, ""
        if parts[0] == "stream":
            return 200, await self.stream()
        if parts[0] == "background":
            return 200, await self.do("spawn", 1)
        if parts[0] == "refuse":
            await self.do(parts[1], 1)
            return 403, "no"
        if parts[0] == "answer":
            return int(parts[2]), await self.do(parts[1], 1)
        return 200, await self.do(parts[1], int(parts[2]))

    async def stream(self) -> Any:
        return await self.work.stream()

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

    async def stream(self) -> Any:
        parts = await asyncio.to_thread(self.work.stream)

        async def body() -> Any:
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                yield part

        return body()


class PlainWSGI(WSGIStand):
    name = "WSGI"

    def build(self) -> Any:
        answer_failure = self.answer_failure if self.handlers else None
        outer = wsgi.RequestScopeMiddleware(self.application, *self.databases, answer_failure=answer_failure)
        self.inner = wsgi.RequestScopeMiddleware(self.application, *self.databases)
        return outer

    def application(self, environ: Any, start_response: Any) -> Any:
        path: str = environ["PATH_INFO"]
        parts = path.strip("/").split("/")
        if parts[0] == "nested":
            return self.inner({**environ, "PATH_INFO": path.removeprefix("/nested")}, start_response)
        try:
            status, body = self.answer(parts, environ["REQUEST_METHOD"])
            start_response(status, [("Content-Type", "text/plain")])
        except Exception as error:
            answer = self.answer_failure(environ, start_response, error) if self.handlers else None
            if answer is None:
                raise
            return answer
        self.work.teardown()
        if isinstance(body, str):
            return [body.encode()] if environ["REQUEST_METHOD"] != "HEAD" else []
        return body

    def answer_failure(self, environ: Any, start_response: Any, error: Exception) -> Any:
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
        if parts[0] == "refuse":
            self.work.do(parts[1], 1)
            return "403 Forbidden", "no"
        if parts[0] == "answer":
            return f"{parts[2]} So", self.work.do(parts[1], 1)
        return "200 OK", self.work.do(parts[1], int(parts[2]))


STANDS += [PlainASGI, PlainASGISync, PlainWSGI]
