"""Starlette: ``install(app, db)``, and its registered exception handlers for a commit that fails."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from respool.config import needs

with needs("starlette"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

from respool.session.applications import check_application
from respool.web.asgi import RequestScopeMiddleware
from respool.web.requests import check_databases, check_new

__all__ = ["answer_failure", "install"]


def install(app: Starlette, *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, Starlette, module=__name__)
    check_databases(databases, asynchronous=True)
    ours: Any = RequestScopeMiddleware
    check_new(databases, [db for middleware in app.user_middleware if middleware.cls is ours for db in middleware.args])
    app.add_middleware(ours, *databases, lifespan=lifespan)


async def answer_failure(scope: Any, receive: Any, send: Any, error: Exception, outermost: bool) -> bool:
    """Answer an error by the handler that the application has registered for it.

    The framework itself refuses to: as far as it knows the response has begun.

    Args:
        scope, receive, send: the request, as ASGI gives it.
        error: what came out of the application.
        outermost: the middleware is around the whole application, so nothing outside of it will call the handler
            for all that is unexpected.

    Returns:
        whether a handler was found and the error is dealt with.
    """
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # "Caught handled exception, but response already started"
    handlers, by_status = scope.get("starlette.exception_handlers", ({}, {}))
    handler = by_status.get(error.status_code) if isinstance(error, HTTPException) else None
    handler = handler or next((handlers[cls] for cls in type(error).__mro__ if cls in handlers), None)
    handled = handler is not None
    if handler is None and outermost:
        registered = scope["app"].exception_handlers
        handler = registered.get(500) or registered.get(Exception)
    if handler is None:
        return False
    request = Request(scope, receive, send)
    if iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
        response = await handler(request, error)
    else:
        response = await run_in_threadpool(handler, request, error)
    if response is not None:
        await response(scope, receive, send)
    return handled
