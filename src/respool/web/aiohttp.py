"""aiohttp: ``install(app, db)``: a middleware that ends the request's scopes before the response is prepared.

As everywhere in aiohttp the order counts: middlewares that were there before see a commit that fails, and may answer it;
those added later may use the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from respool.config import needs

with needs("aiohttp"):
    from aiohttp import web

from respool.session.applications import check_application
from respool.web.lifespan import start, stop
from respool.web.limits import Readiness
from respool.web.native import NativeRequest
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import KEY, check_databases, check_new, end_request, without_scopes

__all__ = ["DATABASES", "install"]

#: The databases that are installed: ``app[DATABASES]``.
DATABASES: web.AppKey[list[Any]] = web.AppKey("respool.databases", list)

#: Where the scopes of a request are found by name. Older versions have plain strings only.
_SCOPES: Any = web.RequestKey(KEY, dict) if hasattr(web, "RequestKey") else KEY


def install(app: web.Application, *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application, and of those within it, a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, web.Application, module=__name__)
    check_databases(databases, asynchronous=True)
    installed = app.get(DATABASES, [])
    check_new(databases, installed)
    if not installed:
        app[DATABASES] = installed
        app.middlewares.insert(0, _refuse)
        app.middlewares.append(_scope(installed))
        app.on_response_prepare.append(_finisher(installed))
    installed.extend(databases)
    if lifespan:

        async def live(app: web.Application) -> AsyncIterator[None]:
            await start(databases)
            yield
            await stop(databases)

        app.cleanup_ctx.insert(0, live)


def _scope(databases: list[Any]) -> Any:
    readiness = Readiness(databases)

    @web.middleware
    async def scope(request: web.Request, handler: Any) -> web.StreamResponse:
        readiness.require()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            with without_scopes(databases):
                messages: web.StreamResponse = await handler(request)
                return messages
        found = request.setdefault(_SCOPES, {})
        ours = NativeRequest(databases, found, f"{request.method} {request.path}", _gone(request))
        ours.enter()
        try:
            response: web.StreamResponse = await handler(request)
            await ours.end(response.status)
        except BaseException as error:
            await ours.end(getattr(error, "status", None), None if isinstance(error, web.HTTPException) else error)
            raise
        finally:
            ours.leave()
        return response

    return scope


def _finisher(databases: list[Any]) -> Any:
    """For handlers that send their response by themselves; any other one's request has ended already."""

    async def end_before_the_first_byte(request: web.Request, response: web.StreamResponse) -> None:
        await end_request(request.get(_SCOPES, {}), databases, response.status)

    return end_before_the_first_byte


@web.middleware
async def _refuse(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer a request that got no connection, unless a middleware of the application's has."""
    try:
        response: web.StreamResponse = await handler(request)
    except OVERLOAD as error:
        if request.writer.output_size:
            raise
        answer = refusal(error, request.headers.get("Accept"))
        headers = {"Content-Type": answer.content_type, **answer.headers}
        return web.Response(status=answer.status, reason=answer.text, headers=headers, text=answer.body)
    return response


def _gone(request: web.Request) -> Callable[[], bool]:
    return lambda: request.transport is None or request.transport.is_closing()
