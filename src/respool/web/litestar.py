"""Litestar: ``install(app, db)``, a plugin for ``Litestar(plugins=[…])``, and the session as a dependency."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isawaitable
from typing import Any

from respool.config import needs

with needs("litestar"):
    from litestar import Litestar, Request, Response
    from litestar.config.app import AppConfig
    from litestar.di import Provide
    from litestar.exceptions.responses import create_exception_response
    from litestar.plugins import InitPluginProtocol

from respool.session.applications import check_application
from respool.session.base import DatabaseBase
from respool.web.asgi import RequestScopeMiddleware
from respool.web.lifespan import start, stop
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import check_databases, check_new

__all__ = ["RespoolPlugin", "answer_failure", "install", "session_of"]


def install(app: Litestar, *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, Litestar, module=__name__)
    check_databases(databases, asynchronous=True)
    outer: Any = app.asgi_handler
    installed: list[Any] = []
    while isinstance(outer, RequestScopeMiddleware):
        installed.extend(outer.databases)
        outer = outer.app
    check_new(databases, installed)
    inner: Any = app.asgi_handler
    app.asgi_handler = RequestScopeMiddleware(inner, *databases)  # type: ignore[assignment]
    _add_handlers(app.exception_handlers)
    if lifespan:
        _add_hooks(app, databases)


class RespoolPlugin(InitPluginProtocol):
    """The same as a plugin: ``Litestar(plugins=[RespoolPlugin(db, session="session")])``.

    Args:
        databases: as for :func:`install`.
        lifespan: as for :func:`install`.
        session: under which name handlers may ask for the first database's session; ``None``: they may not.
    """

    def __init__(self, *databases: Any, lifespan: bool = True, session: str | None = "session") -> None:
        self.databases = check_databases(databases, asynchronous=True)
        self.lifespan = lifespan
        self.session = session

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar while the application is made."""
        app_config.middleware.insert(0, self._around)
        _add_handlers(app_config.exception_handlers)
        if self.session is not None:
            app_config.dependencies.setdefault(self.session, session_of(self.databases[0]))
        if self.lifespan:
            _add_hooks(app_config, self.databases)
        return app_config

    def _around(self, app: Any) -> Any:
        return RequestScopeMiddleware(app, *self.databases)


def session_of(database: DatabaseBase[Any]) -> Provide:
    """The session of the request as a dependency, for ``Litestar(dependencies={"session": …})``.

    Args:
        database: whose session.
    """
    return Provide(lambda: database.session, sync_to_thread=False)


async def answer_failure(scope: Any, receive: Any, send: Any, error: Exception, outermost: bool) -> bool:
    """Answer an error by the application's exception handlers, or as Litestar does where there is none for it.

    Litestar itself refuses to: as far as it knows the response has begun.

    Args:
        scope, receive, send: the request, as ASGI gives it.
        error: what came out of the application.
        outermost: of no interest here.

    Returns:
        whether a handler was found and the error is dealt with.
    """
    if isinstance(error.__cause__, Exception):
        error = error.__cause__  # "Exception caught after response started"
    request: Request[Any, Any, Any] = Request(scope, receive, send)
    handlers: Mapping[Any, Any] = scope["route_handler"].resolve_exception_handlers()
    handler = next((handlers[cls] for cls in (*type(error).__mro__, 500) if cls in handlers), None)
    response = (handler or create_exception_response)(request, error)
    response = await response if isawaitable(response) else response
    await response.to_asgi_response(app=None, request=request)(scope, receive, send)
    return handler is not None


def _add_handlers(handlers: Any) -> None:
    for kind in OVERLOAD:
        handlers.setdefault(kind, _overloaded)


def _overloaded(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    answer = refusal(error, request.headers.get("accept"), json=True)
    media_type = "application/json" if answer.json else "text/plain"
    return Response(answer.body.encode(), status_code=answer.status, headers=answer.headers, media_type=media_type)


def _add_hooks(app: Any, databases: Any) -> None:
    async def warm_up() -> None:
        await start(databases)

    async def drain() -> None:
        await stop(databases)

    app.on_startup.insert(0, warm_up)
    app.on_shutdown.append(drain)
