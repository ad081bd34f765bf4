"""Flask: ``install(app, db)``, with the commit as the last of its ``after_request`` functions.

So one that fails is answered by the application's error handlers.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request

from respool.session.transaction import drive
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import ENVIRON_KEY, check_databases, check_new, request_end
from respool.web.wsgi import RequestScopeMiddleware

__all__ = ["Respool", "install"]

_EXTENSION = "respool"


def install(app: Flask, *databases: Any) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database``; they are committed in this order.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_databases(databases, asynchronous=False)
    installed: list[Any] = app.extensions.setdefault(_EXTENSION, [])
    check_new(databases, installed)
    app.wsgi_app = RequestScopeMiddleware(app.wsgi_app, *databases)  # type: ignore[method-assign, arg-type]
    if not installed:
        # Called in reverse order: what is first here comes last, after all that may still work with the session.
        app.after_request_funcs.setdefault(None, []).insert(0, _finisher(app, installed))
        for kind in OVERLOAD:
            app.error_handler_spec[None][None].setdefault(kind, _overloaded)
    installed.extend(databases)


class Respool:
    """The same in the way of Flask's extensions: ``Respool(app, db)``, or ``Respool(db)`` and ``init_app(app)`` later.

    Args:
        app: the application, if there is one yet.
        databases: as for :func:`install`.
    """

    def __init__(self, app: Any = None, *databases: Any) -> None:
        if isinstance(app, Flask):
            self.databases = databases
            self.init_app(app)
        else:
            self.databases = databases if app is None else (app, *databases)

    def init_app(self, app: Flask) -> None:
        """Install the databases in an application."""
        install(app, *self.databases)


def _finisher(app: Flask, databases: list[Any]) -> Any:
    def finish(response: Response) -> Response:
        try:
            drive(request_end(request.environ[ENVIRON_KEY], databases, response.status_code))
        except Exception as failure:
            answer = app.make_response(app.handle_user_exception(failure))
            if answer.status_code < 400:
                raise
            return answer
        return response

    return finish


def _overloaded(error: Exception) -> tuple[str, int, dict[str, str]]:
    answer = refusal(error)
    return answer.text, answer.status, answer.headers
