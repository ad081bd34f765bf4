"""Bottle: ``install(app, db)``, with the commit as the last thing before the first byte.

One that fails is answered by the application's own page for 500.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from typing import Any

from respool.config import needs

with needs("bottle"):
    import bottle

from respool.database.applications import check_application
from respool.web.rules.exchange import Exchange, Within
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.pages import Pages
from respool.web.rules.scopes import ENVIRON_KEY, check_databases, check_new, tell_handler
from respool.web.wsgi import RequestScopeMiddleware

__all__ = ["RespoolPlugin", "install"]

#: What Bottle makes into a body without running any code of the application's.
_READY = (str, bytes, dict, list, tuple, type(None))


def install(
    app: bottle.Bottle,
    *databases: Any,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database``; they are committed in this order.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(app, bottle.Bottle, module=__name__)
    check_databases(databases, asynchronous=False)
    check_new(databases, [db for plugin in app.plugins if isinstance(plugin, RespoolPlugin) for db in plugin.databases])
    pages = vars(app).setdefault("respool_pages", Pages())
    pages.add(dashboard, databases, authorize, hosts)
    around = RequestScopeMiddleware(app.wsgi, *databases, answer_failure=partial(_answer, app))
    around.pages = pages
    vars(app)["wsgi"] = around  # Bottle itself would let it be set once only
    if not any(isinstance(plugin, RespoolPlugin) for plugin in app.plugins):
        vars(app)["_cast"] = _taking_back(app._cast)
    app.plugins.insert(0, RespoolPlugin(*databases))  # the first is around all others, the one for JSON among them
    app.reset()


class RespoolPlugin:
    """Tells what has become of a route's function, before hooks and pages run. :func:`install` adds it.

    Args:
        databases: those of the application.
    """

    name = "respool"
    api = 2

    def __init__(self, *databases: Any) -> None:
        self.databases = databases

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Called by Bottle for each route."""

        @wraps(callback)
        def call(*args: Any, **keywords: Any) -> Any:
            exchange = Exchange.of(bottle.request.environ)
            tell_handler(bottle.request.environ.get(ENVIRON_KEY, {}), route.callback, route=route.rule)
            try:
                out = callback(*args, **keywords)
                return out if exchange is None else _settled(exchange, out)
            except bottle.HTTPResponse as answer:
                if exchange is not None:
                    _settled(exchange, answer)
                raise
            except OVERLOAD as error:
                raise _overloaded(error) from error

        return call


def _settled(exchange: Exchange, out: Any) -> Any:
    """What a route's function has returned or raised, with a body that is refused the request's session."""
    answer = out if isinstance(out, bottle.HTTPResponse) else None
    status: int = (bottle.response if answer is None else answer).status_code
    if status >= 400:
        return out
    exchange.settle(status)
    body = out if answer is None else answer.body
    if isinstance(body, _READY) or hasattr(body, "read") or not hasattr(body, "__iter__"):
        return out
    body = Within(exchange.environ, body, [status])  # Bottle looks at its first part by itself
    if answer is None:
        return body
    answer.body = body
    return out


def _taking_back(cast: Any) -> Any:
    """What is called with an error, before the page for it."""

    def cast_(out: Any, *args: Any) -> Any:
        exchange = Exchange.of(bottle.request.environ)
        if exchange is not None and isinstance(out, bottle.HTTPError):
            exchange.take_back(out)
        return cast(out, *args)

    return cast_


def _overloaded(error: BaseException) -> bottle.HTTPResponse:
    told = refusal(error, bottle.request.get_header("Accept"))
    if told.json:
        return bottle.HTTPResponse(told.body, told.status, {"Content-Type": told.content_type, **told.headers})
    return bottle.HTTPError(told.status, told.text, error, headers=told.headers)


def _answer(app: bottle.Bottle, environ: Any, start_response: Any, error: Exception) -> Iterable[bytes] | None:
    """Answer an exception as if it had been raised by a route's function."""
    if not app.catchall:
        return None
    bottle.request.bind(environ)
    bottle.response.bind()
    if isinstance(error, OVERLOAD):
        out = _overloaded(error)
    else:
        stack = "".join(traceback.format_exception(error))
        environ["wsgi.errors"].write(stack)
        out = bottle.HTTPError(500, "Internal Server Error", error, stack)
    out.apply(bottle.response)
    app.trigger_hook("after_request")
    body: Iterable[bytes] = app._cast(out)
    start_response(bottle.response._wsgi_status_line(), bottle.response.headerlist)
    return body
