"""Sanic, by its own server or by ASGI: ``install(app, db)``, with the end when the head of the response is written.

By then all middlewares and signals have had their say, and an end that fails is answered by the application's exception
handlers. A handler that calls ``request.respond()`` by itself has begun its answer: there the end is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

from respool.config import needs

with needs("sanic"):
    from sanic import HTTPResponse, Request, Sanic
    from sanic.http import Stage
    from sanic.signals import Event

from respool.database.applications import check_application
from respool.ending.end import Stays
from respool.web.asgi import EXCHANGE, RequestScopeMiddleware
from respool.web.rules.client import Watch
from respool.web.rules.lifespan import start, stop
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.pages import Pages
from respool.web.rules.scopes import (
    KEY,
    SAVED,
    RequestScopes,
    called_by,
    check_databases,
    check_new,
    roll_back,
    tell_handler,
    what_is_called,
)

__all__ = ["install"]

#: The latest request of the connection whose task this is. Sanic does not tell when a request is over.
_latest: ContextVar[RequestScopes | None] = ContextVar("respool_latest_request", default=None)

#: Before all others; at the end of the application after them.
_FIRST = 1_000_000


def install(
    app: Sanic[Any, Any],
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    Handlers that are no coroutines run in the event loop: use an ``AsyncDatabase``, or a ``Database`` in threads only.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, Sanic, module=__name__)
    check_databases(databases, asynchronous=True)
    around: RequestScopeMiddleware | None = what_is_called(app)
    if around is None:
        call = partial(type(app).__call__, app)
        around = RequestScopeMiddleware(call, *databases, lifespan=False)
        around.pages.add(dashboard, databases, authorize, hosts)
        _show(app, around.pages)
        called_by(app, around)  # where it is served by ASGI
        _add(app, around)
    else:
        check_new(databases, around.databases)
        around.pages.add(dashboard, databases, authorize, hosts)
        around.add(databases, lifespan=False)
    if lifespan:

        async def warm_up(app: Sanic[Any, Any]) -> None:
            await start(databases)

        async def drain(app: Sanic[Any, Any]) -> None:
            await stop(databases)

        app.before_server_start(warm_up, priority=_FIRST)
        app.after_server_stop(drain, priority=_FIRST)


def _add(app: Sanic[Any, Any], around: RequestScopeMiddleware) -> None:
    async def begin(request: Request[Any, Any]) -> None:
        await _begin(app, around, request)

    async def handling(request: Request[Any, Any]) -> None:
        request.ctx.respool.handling = True
        if request.route is not None:
            tell_handler(request.ctx.respool.found, request.route.handler, request.method, route=request.uri_template)

    async def handled(request: Request[Any, Any]) -> None:
        request.ctx.respool.handling = False

    async def responds(request: Request[Any, Any], response: Any) -> None:
        state = request.ctx.respool
        if state.handling and state.ours is not None:  # the handler goes on, and makes the body
            with suppress(Exception):  # told when the head is to be written: here Sanic would only log it
                await state.ours.conclude(response.status, stays=Stays.ON_FAILURE)
                state.begun = True

    async def failed(request: Request[Any, Any], exception: Exception) -> None:
        state: _State | None = getattr(request.ctx, KEY, None)
        if state is None or state.ours is None:
            return
        stream: Any = request.stream
        if state.begun and stream is not None and stream.stage is Stage.HANDLER:
            await stream.send(b"", False)  # what the handler has begun is not to be taken back,
            stream.stage = Stage.FAILED  # and is not the whole of it
        await roll_back(state.found, exception)

    app.signal(Event.HTTP_LIFECYCLE_HANDLE, priority=_FIRST)(begin)
    app.signal(Event.HTTP_HANDLER_BEFORE)(handling)
    app.signal(Event.HTTP_HANDLER_AFTER, priority=_FIRST)(handled)
    app.signal(Event.HTTP_LIFECYCLE_EXCEPTION, priority=_FIRST)(failed)
    app.register_middleware(responds, "response", priority=_FIRST)  # the last, as responses go
    handler: Any = app.error_handler
    handler.default = _overload_first(handler.default)


async def _begin(app: Sanic[Any, Any], around: RequestScopeMiddleware, request: Request[Any, Any]) -> None:
    """Begin a request, before anything else of it."""
    state = request.ctx.respool = _State()
    if app.asgi:
        scope = request.transport.scope
        if scope["type"] == "http":
            state.ours, state.found = scope[EXCHANGE].scopes, scope[KEY]
        return
    if around.pages.place_of(request.path) is not None:
        return
    around.require_readiness()
    label = f"{request.method} {request.path}"
    if (before := _latest.get()) is not None:
        before.leave()  # else each would keep the one before it
    # in force in the connection's task, until its end or its next request
    ours = RequestScopes(around.databases, state.found, label, Watch(lambda: _gone(request)))
    _latest.set(ours)
    if request.headers.get("upgrade", "").lower() == "websocket":
        await ours.conclude(None)  # messages have scopes of their own
        ours.hide()
        return
    state.ours = ours
    stream: Any = request.stream
    kind: Any = type(stream)
    stream.__class__ = _ending(kind)
    stream.response_func = stream.http1_response_header


def _show(app: Sanic[Any, Any], pages: Pages) -> None:
    """Have the application's own server answer what is for one of its pages, before anything else of the application."""
    kind: Any = type(app)

    async def handle_request(self: Any, request: Request[Any, Any]) -> None:
        place = None if self.asgi else pages.place_of(request.path)
        if place is None:
            await kind.handle_request(self, request)
            return
        client: Any = request.conn_info
        asked = (request.method, request.path, place, request.headers.items(), client.client_ip)
        page, stream = await pages.answer(request, *asked)
        response = HTTPResponse(status=page.status, headers=dict(page.headers()), content_type=page.kind)
        connection: Any = request.stream
        connection.respond(response)  # and not request.respond(), which would call the application's middleware
        if stream is None:
            await response.send(page.body, end_stream=True)
            return
        try:
            async for part in stream:
                await response.send(part)
            await response.send(end_stream=True)
        finally:
            stream.close()

    async def stop(app: Sanic[Any, Any]) -> None:
        pages.close()

    body = {"__slots__": (), "__module__": kind.__module__, "handle_request": handle_request}
    app.__class__ = type(kind)(kind.__name__, (kind,), body)
    app.before_server_stop(stop)


class _State:
    """What there is to know of one request, as ``request.ctx.respool``."""

    __slots__ = ("begun", "found", "handling", "ours")

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}  #: its scopes by name
        self.ours: RequestScopes | None = None
        self.handling = False  #: the handler is at work
        self.begun = False  #: it has begun the answer by itself


@cache
def _ending(kind: Any) -> Any:
    """The class of a connection, which ends the request before it writes the head of a response."""
    if "respool" in vars(kind):
        return kind

    async def http1_response_header(self: Any, data: Any, end_stream: bool) -> None:
        response = self.response
        state: _State | None = getattr(self.request.ctx, KEY, None) if self.request is not None else None
        if state is not None and state.ours is not None and isinstance(response.status, int) and response.status >= 200:
            len(data)  # what cannot be sent is told before
            await state.ours.conclude(response.status, stays=Stays.ON_FAILURE)
            if response.status >= 400 and state.ours.saved:
                state.ours.tell_saved(response.status)
                response.headers[SAVED] = "yes"
        await kind.http1_response_header(self, data, end_stream)

    body = {"__slots__": (), "__module__": kind.__module__, "respool": True}
    body["http1_response_header"] = http1_response_header
    return type(kind)(kind.__name__, (kind,), body)


def _overload_first(default: Any) -> Any:
    """Answer what no handler of the application's does."""

    def answer(request: Request[Any, Any], error: Exception) -> Any:
        if not isinstance(error, OVERLOAD):
            return default(request, error)
        told = refusal(error, request.headers.get("accept"), json=request.app.config.FALLBACK_ERROR_FORMAT == "json")
        return HTTPResponse(told.body, status=told.status, headers=told.headers, content_type=told.content_type)

    return answer


def _gone(request: Request[Any, Any]) -> bool:
    """Whether nobody is there any more who waits for the answer; what a request has left behind is not for its client."""
    stream: Any = request.stream
    waits = stream.request is request and stream.stage in (Stage.HANDLER, Stage.RESPONSE)
    return waits and bool(getattr(request.conn_info, "lost", False))
