"""Quart: ``install(app, db)``, with the commit as the last of its ``after_request`` functions.

So one that fails is answered by the application's error handlers.
"""

from __future__ import annotations

from typing import Any

from respool.config import needs

with needs("quart"):
    from quart import Quart, Response, current_app, request

from respool.session.applications import check_application
from respool.web.asgi import RequestScopeMiddleware
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import KEY, check_databases, check_new, end_request

__all__ = ["Respool", "install"]

_EXTENSION = "respool"


def install(app: Quart, *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, Quart, module=__name__)
    check_databases(databases, asynchronous=True)
    installed: list[Any] = app.extensions.setdefault(_EXTENSION, [])
    check_new(databases, installed)
    outer: Any = RequestScopeMiddleware(app.asgi_app, *databases, lifespan=lifespan)  # type: ignore[arg-type]
    app.asgi_app = outer  # type: ignore[method-assign]
    if not installed:
        # Called in reverse order: what is first here comes last, after all that may still work with the session.
        app.after_request_funcs.setdefault(None, []).insert(0, _finisher(app, installed))
        for kind in OVERLOAD:
            app.error_handler_spec[None][None].setdefault(kind, _overloaded)
    installed.extend(databases)


class Respool:
    """The same in the way of Quart's extensions: ``Respool(app, db)``, or ``Respool(db)`` and ``init_app(app)`` later.

    Args:
        app: the application, if there is one yet.
        databases: as for :func:`install`.
    """

    def __init__(self, app: Any = None, *databases: Any) -> None:
        if isinstance(app, Quart):
            self.databases = databases
            self.init_app(app)
        else:
            self.databases = databases if app is None else (app, *databases)

    def init_app(self, app: Quart) -> None:
        """Install the databases in an application."""
        install(app, *self.databases)


def _finisher(app: Quart, databases: list[Any]) -> Any:
    async def finish(response: Response) -> Response:
        try:
            scope: Any = request.scope
            await end_request(scope[KEY], databases, response.status_code)
        except Exception as failure:
            answer: Any = await app.make_response(await app.handle_user_exception(failure))
            if answer.status_code < 400:
                raise
            return answer  # type: ignore[no-any-return]
        return response

    return finish


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
