"""Starlette: ``install(app, db)``, and its registered exception handlers for a commit that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from respool.config import needs

with needs("starlette"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import Request

from respool.database.applications import check_application
from respool.web.stack import call_handler, install_around

__all__ = ["answer_failure", "install"]


def install(
    app: Starlette,
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    It is around all middleware, whether that was added before or will be later.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already.
        RuntimeError: the application has started.
    """
    check_application(app, Starlette, module=__name__)
    install_around(app, databases, lifespan, (dashboard, authorize, hosts), Middleware, run_in_threadpool)


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
    response = await call_handler(handler, request, error, run_in_threadpool)
    if response is not None:
        await response(scope, receive, send)
    return handled
