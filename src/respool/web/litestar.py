"""Litestar: ``install(app, db)``, a plugin for ``Litestar(plugins=[…])``, and the session as a dependency.

Both are around the whole application: its routing, middleware, error pages and ``before_send`` hooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any

from respool.config import needs

with needs("litestar"):
    from litestar import Litestar, Request, Response
    from litestar.config.app import AppConfig
    from litestar.di import Provide
    from litestar.exceptions.responses import create_exception_response
    from litestar.plugins import InitPluginProtocol
    from litestar.utils.scope.state import ScopeState

from respool.database.applications import check_application
from respool.database.base import DatabaseBase
from respool.scope.scope import put_back
from respool.web.asgi import EXCHANGE, RequestScopeMiddleware
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.scopes import KEY, called_by, check_databases, check_new, making, roll_back, what_is_called

__all__ = ["RespoolPlugin", "answer_failure", "install", "session_of"]


def install(
    app: Litestar,
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

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
    check_application(app, Litestar, module=__name__)
    _install(app, app, databases, lifespan, (dashboard, authorize, hosts))


class RespoolPlugin(InitPluginProtocol):
    """The same as a plugin: ``Litestar(plugins=[RespoolPlugin(db, session="session")])``.

    Args:
        databases: as for :func:`install`.
        lifespan: as for :func:`install`.
        session: under which name handlers may ask for the first database's session; ``None``: they may not.
        dashboard, authorize, hosts: as for :func:`install`.
    """

    def __init__(
        self,
        *databases: Any,
        lifespan: bool = True,
        session: str | None = "session",
        dashboard: str | None = None,
        authorize: Any = None,
        hosts: Sequence[str] = (),
    ) -> None:
        self.databases = check_databases(databases, asynchronous=True)
        self.lifespan = lifespan
        self.session = session
        self._page = (dashboard, authorize, hosts)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar while the application is made."""
        there: list[Any] = [getattr(plugin, "app", None) for plugin in app_config.plugins]
        app = next(app for app in there if isinstance(app, Litestar))  # Litestar's own plugin for OpenAPI has it
        _install(app, app_config, self.databases, self.lifespan, self._page)
        if self.session is not None:
            app_config.dependencies.setdefault(self.session, session_of(self.databases[0]))
        return app_config


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
    route = scope.get("route_handler")
    handlers: Mapping[Any, Any] = route.resolve_exception_handlers() if route else scope["app"].exception_handlers
    handler = next((handlers[cls] for cls in (*type(error).__mro__, 500) if cls in handlers), None)
    response = (handler or create_exception_response)(request, error)
    response = await response if isawaitable(response) else response
    await response.to_asgi_response(app=None, request=request)(scope, receive, send)
    return handler is not None


def _install(app: Litestar, config: Any, databases: tuple[Any, ...], lifespan: bool, page: tuple[Any, ...]) -> None:
    """Put databases around an application.

    Args:
        app: the application.
        config: where its hooks are: itself, or what it is being made from.
        databases, lifespan: as for :func:`install`.
        page: where the databases are shown, and to whom.
    """
    check_databases(databases, asynchronous=True)
    around: RequestScopeMiddleware | None = what_is_called(app)
    if around is not None:
        check_new(databases, around.databases)
        around.pages.add(page[0], databases, *page[1:])
        around.add(databases, lifespan=lifespan)
        return
    inner: Any = partial(_call, type(app).__call__, app)
    around = RequestScopeMiddleware(inner, *databases, lifespan=lifespan)
    around.pages.add(page[0], databases, *page[1:])
    called_by(app, around)
    config.after_exception.insert(0, _failed)
    config.before_send.insert(0, _sends)
    for kind in OVERLOAD:
        config.exception_handlers.setdefault(kind, _overloaded)


async def _call(call: Any, app: Litestar, scope: Any, receive: Any, send: Any) -> None:
    """The application itself; a middleware of its, as for compression, may hold the start of an answer back."""
    if scope["type"] != "http":
        await call(app, scope, receive, send)
        return
    scopes = scope[EXCHANGE].scopes
    scopes.hold_back(None, lambda: bool(ScopeState.from_scope(scope).response_started))
    token = making.set(scopes)
    try:
        await call(app, scope, receive, send)
    finally:
        put_back(making, token)


async def _failed(error: Exception, scope: Any) -> None:
    """Called before an exception is answered."""
    if scope["type"] == "http":
        await roll_back(scope.get(KEY, {}), error)


async def _sends(message: Any, scope: Any) -> None:
    """Called before a message leaves."""
    if message["type"] == "http.response.start" and EXCHANGE in scope:
        scope[EXCHANGE].scopes.let_through()


def _overloaded(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    answer = refusal(error, request.headers.get("accept"), json=True)
    media_type = "application/json" if answer.json else "text/plain"
    return Response(answer.body.encode(), status_code=answer.status, headers=answer.headers, media_type=media_type)
