"""Bottle: ``install(app, db)``, with the commit as the outermost plugin of every route.

So one that fails is answered by the application's own page for 500.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from respool.config import needs

with needs("bottle"):
    import bottle

from respool.session.applications import check_application
from respool.session.transaction import drive
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import ENVIRON_KEY, check_databases, check_new, request_end
from respool.web.wsgi import RequestScopeMiddleware

__all__ = ["RespoolPlugin", "install"]


def install(app: bottle.Bottle, *databases: Any) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database``; they are committed in this order.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(app, bottle.Bottle, module=__name__)
    check_databases(databases, asynchronous=False)
    check_new(databases, [db for plugin in app.plugins if isinstance(plugin, RespoolPlugin) for db in plugin.databases])
    vars(app)["wsgi"] = RequestScopeMiddleware(app.wsgi, *databases)  # Bottle itself would let it be set once only
    app.plugins.insert(0, RespoolPlugin(*databases))  # the first is around all others, the one for JSON among them
    app.reset()


class RespoolPlugin:
    """Ends the request's scopes when a route's function has returned. :func:`install` adds it.

    Args:
        databases: whose.
    """

    name = "respool"
    api = 2

    def __init__(self, *databases: Any) -> None:
        self.databases = databases

    def apply(self, callback: Callable[..., Any], route: object) -> Callable[..., Any]:
        """Called by Bottle for each route."""

        @wraps(callback)
        def call(*args: Any, **keywords: Any) -> Any:
            try:
                out = callback(*args, **keywords)
                ours = out if isinstance(out, bottle.HTTPResponse) else bottle.response
                self._finish(ours.status_code)
            except bottle.HTTPResponse as answer:
                self._finish(answer.status_code)
                raise
            except OVERLOAD as error:
                told = refusal(error, bottle.request.get_header("Accept"))
                if told.json:
                    headers = {"Content-Type": told.content_type, **told.headers}
                    raise bottle.HTTPResponse(told.body, told.status, headers) from error
                raise bottle.HTTPError(told.status, told.text, error, headers=told.headers) from error
            return out

        return call

    def _finish(self, status: int) -> None:
        drive(request_end(bottle.request.environ[ENVIRON_KEY], self.databases, status))
