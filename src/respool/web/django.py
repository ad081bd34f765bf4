"""Django, WSGI and ASGI: ``install(application, db)``, or the middleware by the settings. Its ORM is not needed.

In the settings::

    MIDDLEWARE = ["respool.web.django.RequestScopeMiddleware", …]      # the first is around all others
    RESPOOL_DATABASES = ["shop.models.db"]

With ``install`` the commit is the last thing before the first byte; by the settings it comes when the other middlewares
have answered, or with the first part of a stream. One that fails is an exception for Django, and ``handler500`` answers it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial, wraps
from typing import Any

from respool.config import needs

with needs("django", "django", "asgiref"):
    from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction, sync_to_async
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.exception import convert_exception_to_response
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.signals import got_request_exception
    from django.http import HttpResponse
    from django.urls import set_urlconf
    from django.utils.module_loading import import_string

from respool.database.applications import check_application
from respool.ending.aio import end_async
from respool.ending.workers import perform
from respool.errors import ConfigError
from respool.web import asgi, wsgi
from respool.web.rules.exchange import Exchange
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.scopes import (
    ENVIRON_KEY,
    KEY,
    RequestScopes,
    called_by,
    check_databases,
    check_new,
    end_request,
    roll_back,
    seal,
    tell_handler,
)

__all__ = ["RequestScopeMiddleware", "dashboard_view", "install"]

#: Where the ASGI scope has the request, until it is over.
_REQUEST = "respool.django"


def install(
    application: Any,
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    Args:
        application: what ``get_wsgi_application()`` or ``get_asgi_application()`` returns.
        databases: any number of ``Database``, and of ``AsyncDatabase`` under ASGI; they are committed in this order.
        lifespan: under ASGI: warm the databases up when the application starts, and close them when it has stopped.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(application, WSGIHandler, ASGIHandler, module=__name__)
    asynchronous = isinstance(application, ASGIHandler)
    check_databases(databases, asynchronous=asynchronous)
    installed: list[Any] = vars(application).setdefault("respool_databases", [])
    check_new(databases, installed)
    if installed:
        application.respool_around.pages.add(dashboard, databases, authorize, hosts)
        application.respool_around.add(databases, **({"lifespan": lifespan} if asynchronous else {}))
        installed.extend(databases)
        return
    page: Any = {"dashboard": dashboard, "authorize": authorize, "hosts": hosts}
    handler: Any = type(application)
    call = partial(handler.__call__, application)
    around: Any
    if asynchronous:
        around = asgi.RequestScopeMiddleware(call, *databases, lifespan=lifespan, **page)
        around.answer_failure = partial(_answer_async, application)
    else:
        answer = partial(_answer, handler.__call__, application)
        around = wsgi.RequestScopeMiddleware(call, *databases, answer_failure=answer, **page)
    application.respool_around = around
    called_by(application, _closing(around) if asynchronous else around)
    _watch(application)
    installed.extend(databases)


def dashboard_view(
    *databases: Any, authorize: Any = None, title: str | None = None, hosts: Sequence[str] = ()
) -> Callable[..., Any]:
    """The page that shows databases, as a view for ``re_path(r"^respool(?P<path>/.*)?$", …)``.

    Where it is among the urls, the middlewares of the settings are in front of it. It asks for what is new every two
    seconds; nothing is streamed.

    Args:
        databases, authorize, title, hosts: as for :func:`respool.observe.dashboard.dashboard`; ``request.raw`` of what
            ``authorize`` gets is Django's request.

    Raises:
        ConfigError: no database was given, or something else.
    """
    from respool.observe.dashboard import Request, dashboard

    page = dashboard(*databases, authorize=authorize, title=title, hosts=hosts)

    def view(request: Any, path: str = "") -> HttpResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        version = request.META.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2]
        client, root = request.META.get("REMOTE_ADDR"), request.path.removesuffix(path)
        asked = Request(request.method, path, headers, client, root, version, request)
        answer = page.handle(asked)
        return HttpResponse(answer.body_for(asked), status=answer.status, headers=dict(answer.headers()))

    return view


# -- within an application -----------------------------------------------------------------------------------------------


def _watch(application: Any) -> None:
    """Have an application tell what has become of a view, before middlewares and error handlers run."""
    respond, respond_async = application.get_response, application.get_response_async
    atomic = application.make_view_atomic

    def get_response(request: Any) -> Any:
        exchange = Exchange.of(request.environ)
        if exchange is not None:
            exchange.note = request
        return respond(request)

    async def get_response_async(request: Any) -> Any:
        request.scope[_REQUEST] = request
        return await respond_async(request)

    application.get_response, application.get_response_async = get_response, get_response_async
    application.make_view_atomic = lambda view: _settling(atomic(view))
    application._exception_middleware.insert(0, _take_back)
    application._exception_middleware.append(_refuse)  # after those of the settings


def _settling(view: Any) -> Any:
    @wraps(view)
    def settling(request: Any, *args: Any, **keywords: Any) -> Any:
        _tell(request, view)
        response = view(request, *args, **keywords)
        _settle(request, response)
        return response

    @wraps(view)
    async def settling_async(request: Any, *args: Any, **keywords: Any) -> Any:
        _tell(request, view)
        response = await view(request, *args, **keywords)
        _settle(request, response)
        return response

    return settling_async if iscoroutinefunction(view) else settling


def _tell(request: Any, view: Any) -> None:
    found = request.scope.get(KEY, {}) if hasattr(request, "scope") else request.META.get(ENVIRON_KEY, {})
    match = request.resolver_match
    tell_handler(found, view, request.method, route=None if match is None else f"/{match.route}")


def _settle(request: Any, response: Any) -> None:
    status = getattr(response, "status_code", 500)
    exchange = Exchange.of(request.META)
    if exchange is not None:
        exchange.settle(status)
    elif hasattr(request, "scope"):
        seal(request.scope.get(KEY, {}), status)


def _take_back(request: Any, error: BaseException | None) -> None:
    """An error is about to be answered. Django does so in threads, also under ASGI."""
    if request is None or error is None:
        return
    exchange = Exchange.of(request.META)
    if exchange is not None:
        exchange.take_back(error)
    elif scopes := getattr(request, "scope", {}).get(KEY):
        async_to_sync(roll_back)(scopes, error, 500)


def _unexpected(sender: Any, request: Any = None, **keywords: Any) -> None:
    """Whatever has raised it, what answers it comes after this."""
    _take_back(request, sys.exc_info()[1])


got_request_exception.connect(_unexpected)


def _answer(call: Any, application: Any, environ: Any, start_response: Any, error: Exception) -> Iterable[bytes] | None:
    """Answer an exception as if the outermost middleware had raised it."""
    exchange = Exchange.of(environ)
    if exchange is None or exchange.note is None:
        return None
    request = exchange.note
    failing = copy(application)
    failing.request_class = lambda environ: request
    failing.get_response = partial(_page, error=error)
    return call(failing, environ, start_response)  # type: ignore[no-any-return]


def _closing(around: Any) -> Any:
    """Django itself leaves the body of a request open when an exception comes out of sending the answer."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        try:
            await around(scope, receive, send)
        finally:
            body = getattr(scope.pop(_REQUEST, None), "_stream", None)
            if body is not None and not body.closed:
                body.close()

    return serve


async def _answer_async(
    application: Any, scope: Any, receive: Any, send: Any, error: Exception, outermost: bool
) -> bool:
    request = scope.get(_REQUEST)
    if request is None:
        return False
    response = await sync_to_async(_page)(request, error)
    await application.send_response(response, send)
    await sync_to_async(response.close)()
    return True


def _page(request: Any, error: Exception) -> Any:
    def fail(request: Any) -> Any:
        raise error

    set_urlconf(
        getattr(request, "urlconf", settings.ROOT_URLCONF)
    )  # whose handlers those are: what answers a view has set it
    return _refuse(request, error) or convert_exception_to_response(fail)(request)


def _refuse(request: Any, error: BaseException) -> Any:
    """Called by Django for an exception of a view's, after the middlewares of the settings."""
    if not isinstance(error, OVERLOAD):
        return None
    answer = refusal(error, request.headers.get("Accept"))
    kind = answer.content_type
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers, content_type=kind)


# -- by the settings -----------------------------------------------------------------------------------------------------


class RequestScopeMiddleware:
    """One session for each request and database, ended before the answer leaves.

    A request that gets no connection is answered 503 with ``Retry-After``, unless the ``process_exception`` of another
    middleware does so.

    Args:
        get_response: the rest of the application.
        databases: any number of them; without any, those of the setting ``RESPOOL_DATABASES``: the dotted names of
            their places, or the databases themselves.

    Raises:
        ConfigError: there is none, or one needs asyncio, where the application is served by WSGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any], *databases: Any) -> None:
        self.get_response = get_response
        self.asynchronous = iscoroutinefunction(get_response)
        self.databases = check_databases(databases or _from_settings(), asynchronous=self.asynchronous)
        self.process_view: Any = _see
        if self.asynchronous:
            markcoroutinefunction(self)
            self.process_view = _see_async  # of another kind Django would call it in a thread

    def __call__(self, request: Any) -> Any:
        """Answer a request."""
        if self.asynchronous:
            return self._answer_async(request)
        exchange = Exchange.of(request.META)
        if exchange is not None:
            exchange.join(self.databases)
            return self.get_response(request)
        exchange = Exchange(self.databases, request.META, lambda status, headers: lambda data: None)
        try:
            response = self._answer(exchange, request)
        except BaseException as error:
            exchange.finish(None, error)
            exchange.scopes.leave()
            if not isinstance(error, OVERLOAD):
                raise
            return _refuse(request, error)
        response._resource_closers.append(exchange.scopes.leave)  # streams are read with the ended scopes in force
        return response

    def _answer(self, exchange: Exchange, request: Any) -> Any:
        response = self.get_response(request)
        try:
            exchange.start(str(response.status_code), [])
            if getattr(response, "streaming", False) and not response.is_async:
                response.streaming_content = exchange.stream(response.streaming_content)
            else:
                exchange.conclude()
        except Exception as failure:
            exchange.take_back(failure)
            response = _page(request, failure)
            exchange.start(str(response.status_code), [])
            exchange.conclude()
        return response

    def process_exception(self, request: Any, error: Exception) -> Any:
        """Called by Django for an exception of a view's, after those of the middlewares within this one."""
        return _refuse(request, error)

    async def _answer_async(self, request: Any) -> Any:
        found = request.scope.setdefault(KEY, {})
        # in force in this task until its end: streams are read in it
        scopes = RequestScopes(self.databases, found, f"{request.method} {request.path}")
        try:
            response = await self.get_response(request)
            await end_request(found, self.databases, response.status_code)
        except BaseException as error:
            await end_async(scopes.end(None, error), perform)
            if not isinstance(error, OVERLOAD):
                raise
            return _refuse(request, error)
        return response


def _see(request: Any, view: Any, args: Any, keywords: Any) -> None:
    """Called by Django before a view."""
    _tell(request, view)


async def _see_async(request: Any, view: Any, args: Any, keywords: Any) -> None:
    _tell(request, view)


def _from_settings() -> list[Any]:
    names = getattr(settings, "RESPOOL_DATABASES", None)
    if not names:
        raise ConfigError(
            "the setting RESPOOL_DATABASES is missing",
            advice=['name the places of the databases: RESPOOL_DATABASES = ["shop.models.db"]'],
            setting="RESPOOL_DATABASES",
        )
    return [import_string(name) if isinstance(name, str) else name for name in names]
