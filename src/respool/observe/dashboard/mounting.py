"""The page as something that is mounted: one core, with a face for ASGI and one for WSGI."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from inspect import isawaitable
from typing import Any, TypeVar

from respool.errors import ConfigError
from respool.observe.dashboard import content
from respool.observe.dashboard.guard import Authorize, Guard
from respool.observe.dashboard.request import Request, Response, text, to_the_slash
from respool.observe.dashboard.streams import Stream, Streams
from respool.observe.observing import observe

__all__ = ["Dashboard", "dashboard"]

T = TypeVar("T")

#: How many pages may be streamed to at a time; the others ask for what is new.
_STREAMS = 8


def dashboard(
    *databases: Any, authorize: Authorize | None = None, title: str | None = None, hosts: Sequence[str] = ()
) -> Dashboard:
    """The page that shows what databases are doing: who holds what, since when, and why. It turns observing on.

    What is returned is an ASGI application and a WSGI application in one: ``app.mount("/respool", dashboard(db))``.

    Args:
        databases: any number of ``Database`` and ``AsyncDatabase``.
        authorize: decides who may see the page: called with a :class:`Request`, it returns ``True`` or an awaitable of
            it. Without it the page is for clients on this machine, and for nobody who comes through a proxy.
        title: what the page is called.
        hosts: the names under which it may be asked for, as in the Host header, beside ``localhost`` and numbers.

    Raises:
        ConfigError: no database was given, or something else.
    """
    return Dashboard(databases, authorize, title, hosts)


class Dashboard:
    """See :func:`dashboard`."""

    def __init__(
        self, databases: Sequence[Any], authorize: Authorize | None, title: str | None, hosts: Sequence[str]
    ) -> None:
        if isinstance(hosts, str):
            raise ConfigError(
                f"hosts={hosts!r} is not accepted", advice=[f"write a list: hosts=[{hosts!r}]"], setting="hosts"
            )
        if authorize is not None and not callable(authorize):
            raise ConfigError(
                f"authorize={authorize!r} is not accepted",
                advice=["give a function: it gets the request, and returns True for whom may see the page"],
                setting="authorize",
            )
        self.databases: tuple[Any, ...] = ()
        self.title = title or "respool"
        self._guard = Guard(authorize, hosts)
        self._streams = Streams(lambda: content.live(self.databases), _STREAMS)
        self.add(databases)

    def add(self, databases: Sequence[Any]) -> None:
        """Show more databases, too.

        Raises:
            ConfigError: none was given, or something else.
        """
        if not databases:
            raise ConfigError(
                "dashboard() got no database",
                advice=["name those that it is to show: dashboard(db)"],
                setting="databases",
            )
        observe(*databases)
        self.databases += tuple(each for each in databases if each not in self.databases)

    def close(self) -> None:
        """End what is streamed: the server stops. From any thread."""
        self._streams.close()

    # -- the core -------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """Answer a request; nothing is streamed."""
        refused = self._guard.refuse(request)
        if refused is None:
            said = self._guard.ask(request)
            refused = self._guard.judge(asyncio.run(self._guard.wait(said)) if isawaitable(said) else said)
        return refused or self._answer(request, streams=False)

    async def handle_async(self, request: Request) -> Response:
        """Answer a request in an event loop, which is not kept waiting by the making of a snapshot."""
        refused = self._guard.refuse(request)
        if refused is None:
            said = self._guard.ask(request)
            refused = self._guard.judge(await self._guard.wait(said) if isawaitable(said) else said)
        if refused is None and request.path.rstrip("/") in _JSON:
            return await _in_thread(lambda: self._answer(request, streams=True))
        return refused or self._answer(request, streams=True)

    async def answer(self, request: Request) -> tuple[Response, Stream | None]:
        """Answer a request, with the snapshots to come where these are asked for. Whoever sends them closes the stream."""
        response = await self.handle_async(request)
        if not response.stream or request.method == "HEAD":
            return response, None
        stream = self._streams.open()
        return (response, stream) if stream else (text(503, "Enough pages are being streamed to."), None)

    def _answer(self, request: Request, *, streams: bool) -> Response:
        if not request.path and request.root:
            return to_the_slash(request)
        path = request.path.rstrip("/")
        if not path:
            return content.page(self.title, streams=streams)
        if path in _JSON:
            return Response(200, "application/json", _JSON[path](self.databases))
        if path == "/events" and streams:
            return Response(200, "text/event-stream", more={"X-Accel-Buffering": "no"}, stream=True)
        return content.file(path[1:]) or text(404, "There is nothing here.")

    # -- its faces ------------------------------------------------------------------------------------------------

    def __call__(self, *call: Any) -> Any:
        return self.wsgi(*call) if len(call) == 2 else self.asgi(*call)

    def wsgi(self, environ: Any, start_response: Any, place: str = "") -> Iterable[bytes]:
        """The page as a WSGI application."""
        request = Request.of_wsgi(environ, place)
        response = self.handle(request)
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", response.headers())
        return [response.body_for(request)]

    async def asgi(self, scope: Any, receive: Any, send: Any, place: str = "") -> None:
        """The page as an ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            request = Request.of_asgi(scope, place)
            response, stream = await self.answer(request)
            headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers()]
            try:
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                if stream is not None:
                    await _send_all(stream, receive, send)
            finally:
                if stream is not None:
                    stream.close()
            await send({"type": "http.response.body", "body": response.body_for(request)})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})


_JSON: dict[str, Callable[[Sequence[Any]], bytes]] = {"/live": content.live, "/snapshot": content.whole}


async def _send_all(stream: Stream, receive: Any, send: Any) -> None:
    """Send what comes, until the client goes, or the stream ends."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        stream.put(None)

    listening = asyncio.create_task(listen(), name="respool: is the page still there?")
    try:
        async for part in stream:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def _in_thread(call: Callable[[], T]) -> T:
    """Call something in a thread of its own: all others may be waiting for connections, which is to be seen."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as failure:
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="respool-dashboard", daemon=True).start()
    return await future
