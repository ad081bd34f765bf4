"""Sanic, by its own server or by ASGI: ``install(app, db)``, with the commit as the last of its response middlewares.

Sanic logs what a response middleware raises and goes on; so a commit that fails is answered here, by the application's
exception handlers.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from inspect import isawaitable
from typing import Any

from respool.config import needs

with needs("sanic"):
    from sanic import HTTPResponse, Request, Sanic
    from sanic.signals import Event

from respool.session.applications import check_application
from respool.web.asgi import RequestScopeMiddleware
from respool.web.lifespan import start, stop
from respool.web.limits import Readiness
from respool.web.native import NativeRequest
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import KEY, called_by, check_databases, check_new, end_request

__all__ = ["install"]

#: The latest request of the connection whose task this is. Sanic does not tell when a request is over.
_latest: ContextVar[NativeRequest | None] = ContextVar("respool_latest_request", default=None)


def install(app: Sanic[Any, Any], *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application a session of each database.

    Handlers that are no coroutines run in the event loop: use an ``AsyncDatabase``, or a ``Database`` in threads only.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, Sanic, module=__name__)
    check_databases(databases, asynchronous=True)
    installed: list[Any] | None = getattr(app.ctx, KEY, None)
    check_new(databases, installed or ())
    if installed is None:
        installed = app.ctx.respool = []
        _add(app, installed)
    installed.extend(databases)
    call = partial(type(app).__call__, app)
    called_by(app, RequestScopeMiddleware(call, *databases, lifespan=False))  # where it is served by ASGI
    if lifespan:

        async def warm_up(app: Sanic[Any, Any]) -> None:
            await start(databases)

        async def drain(app: Sanic[Any, Any]) -> None:
            await stop(databases)

        app.before_server_start(warm_up)
        app.after_server_stop(drain)


def _add(app: Sanic[Any, Any], databases: list[Any]) -> None:
    readiness = Readiness(databases)

    async def begin(request: Request[Any, Any]) -> None:
        if app.asgi:
            found = request.transport.scope.get(KEY)
        else:
            readiness.require()
            found = {}
            ours = NativeRequest(databases, found, f"{request.method} {request.path}", lambda: _gone(request))
            if (before := _latest.get()) is not None:
                before.leave()  # else each would keep the one before it
            _latest.set(ours)
            ours.enter()  # in force in the connection's task, until its end or its next request
            if request.headers.get("upgrade", "").lower() == "websocket":
                await ours.end(None)  # messages have scopes of their own
                ours.scopes.hide()
        request.ctx.respool = found or {}

    async def end(request: Request[Any, Any], response: Any) -> Any:
        try:
            await end_or_raise(request, response)
        except Exception as failure:
            return await _answer_failure(app, request, failure)
        return None

    async def end_or_raise(request: Request[Any, Any], response: Any) -> None:
        await end_request(getattr(request.ctx, KEY, {}), databases, response.status)

    app.signal(Event.HTTP_LIFECYCLE_HANDLE)(begin)
    app.register_middleware(end, "response", priority=1_000_000)  # the last, before the first byte of a stream too
    app.signal(Event.HTTP_LIFECYCLE_RESPONSE)(end_or_raise)  # where another middleware had the last word
    handler: Any = app.error_handler
    handler.default = _overload_first(handler.default)


def _overload_first(default: Any) -> Any:
    """Answer what no handler of the application's does."""

    def answer(request: Request[Any, Any], error: Exception) -> Any:
        if not isinstance(error, OVERLOAD):
            return default(request, error)
        told = refusal(error, request.headers.get("accept"), json=request.app.config.FALLBACK_ERROR_FORMAT == "json")
        return HTTPResponse(told.body, status=told.status, headers=told.headers, content_type=told.content_type)

    return answer


async def _answer_failure(app: Sanic[Any, Any], request: Request[Any, Any], failure: Exception) -> Any:
    handler: Any = app.error_handler
    answer = handler.response(request, failure)
    answer = await answer if isawaitable(answer) else answer
    return answer if answer.status >= 400 else handler.default(request, failure)


def _gone(request: Request[Any, Any]) -> bool:
    return bool(getattr(request.conn_info, "lost", False))
