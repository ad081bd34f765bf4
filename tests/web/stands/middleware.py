"""Pure ASGI middleware, as users and extensions write it, with a guest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any

__all__ = ["AtEnd", "AtStart", "Buffered", "HoldsBack", "run"]


async def run(function: Callable[[], Any]) -> Any:
    """Call what is a coroutine function in async stands, and blocks in sync ones."""
    if iscoroutinefunction(getattr(function, "func", function)):
        return await function()
    result = await asyncio.to_thread(function)
    return await result if isawaitable(result) else result


class Middleware:
    """Pure ASGI, with a guest."""

    def __init__(self, app: Any, guest: Any = None) -> None:
        self.app = app
        self.guest = guest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (self.app(scope, receive, send) if scope["type"] != "http" else self.http(scope, receive, send))

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


class AtStart(Middleware):
    """As session middleware does: saves when the answer starts."""

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                await run(self.guest)
            await send(message)

        await self.app(scope, receive, sending)


class AtEnd(Middleware):
    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        await run(self.guest)


class Buffered(Middleware):
    """Sends when the application within has said all."""

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        messages[0]["status"] = await run(self.guest) or messages[0]["status"]
        for message in messages:
            await send(message)


class HoldsBack(Middleware):
    """As compression does: the start waits for the first part of the body."""

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        start: list[Any] = []

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
                return
            if start:
                await send(start.pop())
            await send(message)

        await self.app(scope, receive, sending)
