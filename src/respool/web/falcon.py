"""Falcon, WSGI and ASGI: ``install(app, db)``, with the commit as the last thing before the first byte.

One that fails is answered by the application's error handlers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from functools import partial
from typing import Any

from respool.config import needs

with needs("falcon"):
    import falcon
    import falcon.asgi

from respool.database.applications import check_application
from respool.web import asgi, wsgi
from respool.web.rules.exchange import Exchange
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.scopes import (
    ENVIRON_KEY,
    KEY,
    called_by,
    check_databases,
    check_new,
    roll_back,
    seal,
    tell_handler,
)

__all__ = ["install"]

#: Where the ASGI scope has the request, until it is over.
_REQUEST = "respool.falcon"


def install(
    app: Any,
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application: a ``falcon.App``, or a ``falcon.asgi.App``.
        databases: any number of ``Database``, and of ``AsyncDatabase`` under ASGI; they are committed in this order.
        lifespan: under ASGI: warm the databases up when the application starts, and close them when it has stopped.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(app, falcon.App, falcon.asgi.App, module=__name__)
    asynchronous = isinstance(app, falcon.asgi.App)
    check_databases(databases, asynchronous=asynchronous)
    present: list[Any] = app._unprepared_middleware
    installed = [each for each in present if isinstance(each, _Requests)]
    check_new(databases, [db for each in installed for db in each.databases])
    if installed:
        installed[0].around.pages.add(dashboard, databases, authorize, hosts)
        installed[0].add(databases, lifespan=lifespan)
        return
    page: Any = {"dashboard": dashboard, "authorize": authorize, "hosts": hosts}
    kind = type(app)
    app.__class__ = _watched(kind, _WatchedASGI if asynchronous else _Watched)
    call = partial(kind.__call__, app)
    around: Any
    if asynchronous:
        around = asgi.RequestScopeMiddleware(call, *databases, lifespan=lifespan, **page)
        around.answer_failure = partial(_answer_async, kind.__call__, app)
    else:
        answer = partial(_answer, kind.__call__, app)
        around = wsgi.RequestScopeMiddleware(call, *databases, answer_failure=answer, **page)
    called_by(app, _forgetting(around) if asynchronous else around)
    present.insert(0, _Requests(around))  # add_middleware() takes note of it
    app.add_middleware([])
    for kind in OVERLOAD:
        if kind not in app._error_handlers:
            app.add_error_handler(kind, _overloaded_async if asynchronous else _overloaded)


def _forgetting(around: Any) -> Any:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        try:
            await around(scope, receive, send)
        finally:
            scope.pop(_REQUEST, None)  # it has the scope, too: neither keeps the other

    return serve


class _Requests:
    """Takes note of the request, before anybody else's middleware."""

    def __init__(self, around: Any) -> None:
        self.around = around

    @property
    def databases(self) -> tuple[Any, ...]:
        return self.around.databases  # type: ignore[no-any-return]

    def add(self, databases: tuple[Any, ...], *, lifespan: bool) -> None:
        if isinstance(self.around, asgi.RequestScopeMiddleware):
            self.around.add(databases, lifespan=lifespan)
        else:
            self.around.add(databases)

    def process_request(self, req: Any, resp: Any) -> None:
        exchange = Exchange.of(req.env)
        if exchange is not None:
            exchange.note = req

    async def process_request_async(self, req: Any, resp: Any) -> None:
        req.scope[_REQUEST] = req


class _Watched:
    """An application that tells what has become of a responder, before middlewares and error handlers run."""

    __slots__ = ()

    def _get_responder(self, req: Any) -> Any:
        responder, *rest = super()._get_responder(req)  # type: ignore[misc]
        exchange = Exchange.of(req.env)
        if exchange is None:
            return (responder, *rest)
        tell_handler(req.env.get(ENVIRON_KEY, {}), responder, route=rest[-1])

        def respond(req: Any, resp: Any, **params: Any) -> None:
            responder(req, resp, **params)
            exchange.settle(resp.status_code)

        return (respond, *rest)

    def _handle_exception(self, req: Any, resp: Any, ex: Exception, params: Any) -> Any:
        exchange = Exchange.of(req.env)
        if exchange is not None and _status_of(ex) >= 400:
            exchange.take_back(ex)
        return super()._handle_exception(req, resp, ex, params)  # type: ignore[misc]


class _WatchedASGI:
    """The same under ASGI."""

    __slots__ = ()

    def _get_responder(self, req: Any) -> Any:
        responder, *rest = super()._get_responder(req)  # type: ignore[misc]
        found = req.scope.get(KEY)
        if found is None:
            return (responder, *rest)
        tell_handler(found, responder, route=rest[-1])

        async def respond(req: Any, resp: Any, **params: Any) -> None:
            await responder(req, resp, **params)
            seal(found, resp.status_code)

        return (respond, *rest)

    async def _handle_exception(self, req: Any, resp: Any, ex: Exception, params: Any, ws: Any = None) -> Any:
        if (found := req.scope.get(KEY)) is not None:
            await roll_back(found, ex, _status_of(ex))
        return await super()._handle_exception(req, resp, ex, params, ws)  # type: ignore[misc]


def _watched(kind: Any, watched: Any) -> Any:
    return type(kind)(kind.__name__, (watched, kind), {"__slots__": (), "__module__": kind.__module__})


def _status_of(ex: Exception) -> int:
    """A redirection is raised, too."""
    return ex.status_code if isinstance(ex, falcon.HTTPStatus | falcon.HTTPError) else 500


def _answer(call: Any, app: Any, environ: Any, start_response: Any, error: Exception) -> Iterable[bytes]:
    """Answer an exception as if the responder had raised it."""

    def fail(req: Any, resp: Any) -> None:
        raise error

    exchange = Exchange.of(environ)
    failing = _failing(app, exchange.note if exchange is not None else None, fail)
    return call(failing, environ, start_response)  # type: ignore[no-any-return]


async def _answer_async(
    call: Any, app: Any, scope: Any, receive: Any, send: Any, error: Exception, outermost: bool
) -> bool:
    async def fail(req: Any, resp: Any) -> None:
        raise error

    async def receive_again() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await call(_failing(app, scope.get(_REQUEST), fail), scope, receive_again, send)
    return True


def _failing(app: Any, request: Any, fail: Any) -> Any:
    """The application as it would be for this request, if nothing came before the failure."""
    requests, _, responses = app._middleware
    if not app._independent_middleware:
        responses = [respond for _, respond in reversed(requests) if respond]
    failing = copy(app)
    failing._independent_middleware = True
    failing._middleware = ([fail], (), responses)
    if request is not None:
        failing._request_type = lambda *args, **keywords: request
    return failing


def _overloaded(req: Any, resp: Any, error: Any, params: Any) -> None:
    answer = refusal(error, req.get_header("Accept"), json=True)
    resp.status, resp.text = f"{answer.status} {answer.text}", answer.body
    resp.content_type = answer.content_type
    resp.set_headers(answer.headers)


async def _overloaded_async(req: Any, resp: Any, error: Any, params: Any) -> None:
    _overloaded(req, resp, error, params)
