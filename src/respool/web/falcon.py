"""Falcon, WSGI and ASGI: ``install(app, db)``, with the commit as the last ``process_response``.

So one that fails is answered by the application's error handlers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from respool.config import needs

with needs("falcon"):
    import falcon
    import falcon.asgi

from respool.session.applications import check_application
from respool.session.transaction import drive
from respool.web import asgi, wsgi
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import ENVIRON_KEY, KEY, called_by, check_databases, check_new, end_request, request_end

__all__ = ["install"]


def install(app: Any, *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application: a ``falcon.App``, or a ``falcon.asgi.App``.
        databases: any number of ``Database``, and of ``AsyncDatabase`` under ASGI; they are committed in this order.
        lifespan: under ASGI: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(app, falcon.App, falcon.asgi.App, module=__name__)
    asynchronous = isinstance(app, falcon.asgi.App)
    check_databases(databases, asynchronous=asynchronous)
    present: list[Any] = app._unprepared_middleware
    check_new(databases, [db for each in present if isinstance(each, _Finisher) for db in each.databases])
    call = partial(type(app).__call__, app)
    if asynchronous:
        called_by(app, asgi.RequestScopeMiddleware(call, *databases, lifespan=lifespan))
    else:
        called_by(app, wsgi.RequestScopeMiddleware(call, *databases))
    # Responses are processed in reverse order: what is first here comes last. add_middleware() takes note of it.
    present.insert(0, _Finisher(databases))
    app.add_middleware([])
    for kind in OVERLOAD:
        if kind not in app._error_handlers:
            app.add_error_handler(kind, _overloaded_async if asynchronous else _overloaded)


class _Finisher:
    def __init__(self, databases: tuple[Any, ...]) -> None:
        self.databases = databases

    def process_response(self, req: Any, resp: Any, resource: object, req_succeeded: bool) -> None:
        drive(request_end(req.env[ENVIRON_KEY], self.databases, resp.status_code))

    async def process_response_async(self, req: Any, resp: Any, resource: object, req_succeeded: bool) -> None:
        await end_request(req.scope[KEY], self.databases, resp.status_code)


def _overloaded(req: Any, resp: Any, error: Any, params: Any) -> None:
    answer = refusal(error, req.get_header("Accept"), json=True)
    resp.status, resp.text = f"{answer.status} {answer.text}", answer.body
    resp.content_type = answer.content_type
    resp.set_headers(answer.headers)


async def _overloaded_async(req: Any, resp: Any, error: Any, params: Any) -> None:
    _overloaded(req, resp, error, params)
