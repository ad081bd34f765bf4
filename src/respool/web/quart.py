"""Quart: ``install(app, db)``, around the application, with the end when its answer is sent.

By then after_request functions, the saving of the browser's session, receivers of signals and teardown functions have
run. Where the end fails the request is dispatched once more, and fails with its error from the start, so that the
application's error handlers answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from respool.config import needs

with needs("quart"):
    from quart import Quart, current_app, has_request_context, request

from respool.database.applications import check_application
from respool.web.asgi import EXCHANGE, Beginning, RequestScopeMiddleware
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.scopes import (
    KEY,
    called_by,
    check_databases,
    check_new,
    roll_back,
    seal,
    tell_handler,
    what_is_called,
)

__all__ = ["Respool", "install"]

_EXTENSION = "respool"
#: Where the error of a failed end is found in the ASGI scope.
_FAILURE = f"{KEY}.failure"


def install(
    app: Quart,
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
    check_application(app, Quart, module=__name__)
    check_databases(databases, asynchronous=True)
    around: RequestScopeMiddleware | None = what_is_called(app)
    if around is not None:
        check_new(databases, around.databases)
        around.pages.add(dashboard, databases, authorize, hosts)
        around.add(databases, lifespan=lifespan)
        app.extensions[_EXTENSION].extend(databases)
        return
    around = RequestScopeMiddleware(partial(type(app).__call__, app), *databases, lifespan=lifespan)
    around.pages.add(dashboard, databases, authorize, hosts)
    around.answer_failure = partial(_answer_failure, app)
    called_by(app, around)
    _wrap(app, around)
    app.extensions[_EXTENSION] = list(databases)
    for kind in OVERLOAD:
        app.error_handler_spec[None][None].setdefault(kind, _overloaded)


class Respool:
    """The same in the way of Quart's extensions: ``Respool(app, db)``, or ``Respool(db)`` and ``init_app(app)`` later.

    Args:
        app: the application, if there is one yet.
        databases, dashboard, authorize, hosts: as for :func:`install`.
    """

    def __init__(
        self,
        app: Any = None,
        *databases: Any,
        dashboard: str | None = None,
        authorize: Any = None,
        hosts: Sequence[str] = (),
    ) -> None:
        self._page: dict[str, Any] = {"dashboard": dashboard, "authorize": authorize, "hosts": hosts}
        if isinstance(app, Quart):
            self.databases = databases
            self.init_app(app)
        else:
            self.databases = databases if app is None else (app, *databases)

    def init_app(self, app: Quart) -> None:
        """Install the databases in an application."""
        install(app, *self.databases, **self._page)


def _wrap(app: Any, around: RequestScopeMiddleware) -> None:
    """Have the application tell of errors before it answers them, and when its answer is made."""
    dispatch, process_response = app.dispatch_request, app.process_response
    connection: Any = app.asgi_http_class

    async def tell_and_dispatch(*context: Any) -> Any:
        view = app.view_functions.get(request.endpoint)
        if view is not None:
            route = None if request.url_rule is None else request.url_rule.rule
            tell_handler(_found(), view, request.method, route=route)
        return await dispatch(*context)

    async def process_and_seal(response: Any, *context: Any) -> Any:
        response = await process_response(response, *context)
        seal(_found(), response.status_code)
        return response

    def after_rollback(handle: Any) -> Any:
        async def handle_after_rollback(error: Exception) -> Any:
            await roll_back(_found(), error, _status(error))
            return await handle(error)

        return handle_after_rollback

    class Connection(connection):  # type: ignore[misc]
        async def __call__(self, receive: Any, send: Any) -> None:
            def answer(scope: Any, receive: Any, send: Any) -> Any:
                return connection.__call__(self, receive, send)

            app: Any = Beginning(answer)
            if EXCHANGE not in self.scope:  # somebody has called app.asgi_app, and not the application
                app = RequestScopeMiddleware(app, *around.databases)
                app.answer_failure = around.answer_failure
            await app(self.scope, receive, send)

    app.asgi_http_class = Connection
    app.dispatch_request = tell_and_dispatch
    app.process_response = process_and_seal
    app.handle_user_exception = after_rollback(app.handle_user_exception)
    app.handle_exception = after_rollback(app.handle_exception)
    app.before_request_funcs.setdefault(None, []).insert(0, _fail)


def _found() -> Any:
    """The scopes of the request, if this is one."""
    return request.scope.get(KEY, {}) if has_request_context() else {}


def _status(error: Any) -> int | None:
    """The status of an exception that is an answer, as Werkzeug's are."""
    if not hasattr(error, "get_response"):
        return None
    status: int | None = error.code if error.response is None else getattr(error.response, "status_code", None)
    return status


async def _fail() -> None:
    failure: Any = request.scope.get(_FAILURE)
    if failure is not None:
        raise failure


async def _answer_failure(app: Any, scope: Any, receive: Any, send: Any, error: Exception, outermost: bool) -> bool:
    """Answer an error as if a handler had raised it.

    Returns:
        that the error is dealt with: Quart has a page for every one, and tells of it in its log.
    """
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive_again() -> Any:
        return body.pop() if body else await receive()

    await app.asgi_app({**scope, _FAILURE: error}, receive_again, send)
    return True


async def _overloaded(error: Exception) -> Any:
    answer = refusal(error, request.headers.get("Accept"))
    kind: Any = current_app.aborter.mapping.get(answer.status)
    if kind is not None:
        unavailable = kind(retry_after=int(answer.headers["Retry-After"]))
        own: Any = await current_app.handle_http_exception(unavailable)  # by the application's handler, if it has one
        if own is not unavailable and (own := await current_app.make_response(own)).status_code == answer.status:
            own.headers.setdefault("Retry-After", answer.headers["Retry-After"])
            return own
    return answer.body, answer.status, {"Content-Type": answer.content_type, **answer.headers}
