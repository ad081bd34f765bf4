"""Django, WSGI and ASGI: ``install(application, db)``, or the middleware by the settings. Its ORM is not needed.

In the settings::

    MIDDLEWARE = ["respool.web.django.RequestScopeMiddleware", …]      # the first is around all others
    RESPOOL_DATABASES = ["shop.models.db"]

A commit that fails is an exception for Django, which answers it by ``handler500``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from respool.config import needs

with needs("django", "django", "asgiref"):
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.exception import convert_exception_to_response
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.utils.module_loading import import_string

from respool.errors import ConfigError
from respool.session.applications import check_application
from respool.session.ending import end_async
from respool.session.transaction import drive
from respool.session.workers import perform
from respool.web import asgi, wsgi
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import (
    ENVIRON_KEY,
    KEY,
    RequestScopes,
    called_by,
    check_databases,
    check_new,
    end_request,
    request_end,
)

__all__ = ["RequestScopeMiddleware", "install"]


def install(application: Any, *databases: Any, lifespan: bool = True) -> None:
    """Give each request of an application a session of each database.

    Args:
        application: what ``get_wsgi_application()`` or ``get_asgi_application()`` returns.
        databases: any number of ``Database``, and of ``AsyncDatabase`` under ASGI; they are committed in this order.
        lifespan: under ASGI: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(application, WSGIHandler, ASGIHandler, module=__name__)
    asynchronous = isinstance(application, ASGIHandler)
    check_databases(databases, asynchronous=asynchronous)
    installed: list[Any] = vars(application).setdefault("respool_databases", [])
    check_new(databases, installed)
    call = partial(type(application).__call__, application)
    if asynchronous:
        called_by(application, asgi.RequestScopeMiddleware(call, *databases, lifespan=lifespan))
    else:
        called_by(application, wsgi.RequestScopeMiddleware(call, *databases))
    name = "get_response_async" if asynchronous else "get_response"
    within = RequestScopeMiddleware(getattr(application, name), *databases)
    setattr(application, name, convert_exception_to_response(within))
    application._exception_middleware.append(within.process_exception)  # after those of the settings
    installed.extend(databases)


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
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer a request."""
        if self.asynchronous:
            return self._answer_async(request)
        found = request.META.setdefault(ENVIRON_KEY, {})
        scopes = RequestScopes(self.databases, found, f"{request.method} {request.path}")
        scopes.enter()
        try:
            response = self.get_response(request)
            drive(request_end(found, self.databases, response.status_code))
        except BaseException as error:
            drive(scopes.end(None, error))
            scopes.leave()
            return self._refuse_or_raise(request, error)
        response._resource_closers.append(scopes.leave)  # streams are read with the ended scopes in force
        return response

    def process_exception(self, request: Any, error: Exception) -> Any:
        """Called by Django for an exception of a view's, after those of the middlewares within this one."""
        if not isinstance(error, OVERLOAD):
            return None
        answer = refusal(error, request.headers.get("Accept"))
        kind = answer.content_type
        return HttpResponse(answer.body, status=answer.status, headers=answer.headers, content_type=kind)

    async def _answer_async(self, request: Any) -> Any:
        found = request.scope.setdefault(KEY, {})
        scopes = RequestScopes(self.databases, found, f"{request.method} {request.path}")
        scopes.enter()  # in force in this task until its end: streams are read in it
        try:
            response = await self.get_response(request)
            await end_request(found, self.databases, response.status_code)
        except BaseException as error:
            await end_async(scopes.end(None, error), perform)
            return self._refuse_or_raise(request, error)
        return response

    def _refuse_or_raise(self, request: Any, error: BaseException) -> Any:
        if isinstance(error, OVERLOAD):
            return self.process_exception(request, error)
        raise error


def _from_settings() -> list[Any]:
    names = getattr(settings, "RESPOOL_DATABASES", None)
    if not names:
        raise ConfigError(
            "the setting RESPOOL_DATABASES is missing",
            advice=['name the places of the databases: RESPOOL_DATABASES = ["shop.models.db"]'],
            setting="RESPOOL_DATABASES",
        )
    return [import_string(name) if isinstance(name, str) else name for name in names]
