from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.django import install
from tests.web.stands.base import PENDING, STARLETTES, ASGIStand, Stand, WSGIStand

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={},
        LOGGING_CONFIG=None,
        MIDDLEWARE=["tests.web.stands.django.Ending"],
        ROOT_URLCONF=None,
        SECRET_KEY="for tests only",
    )
    import django

    django.setup()


class Ending:
    """Another extension, with something to clean up; and the application's own handlers."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self.get_response = get_response
        self.asynchronous = iscoroutinefunction(get_response)
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self.asynchronous:
            return self.answer(request)
        response = self.get_response(request)
        if (stand := stand_of(request)) is not None:
            stand.work.teardown()
        return response

    async def answer(self, request: Any) -> Any:
        response = await self.get_response(request)
        if (stand := stand_of(request)) is not None:
            stand.work.teardown()
        return response

    def process_exception(self, request: Any, error: Exception) -> Any:
        stand = stand_of(request)
        if stand is not None and stand.handlers and isinstance(error, PoolQueueFull):
            return HttpResponse("busy", status=429)
        return None


def stand_of(request: Any) -> Any:
    """The stand that is open; settings are the process's, and an example of the documents may have them now."""
    return getattr(settings.ROOT_URLCONF, "stand", None)


def failed(request: Any) -> HttpResponse:
    """Django's ``handler500``."""
    import sys

    if isinstance(sys.exc_info()[1], IntegrityError):
        return HttpResponse("no such product", status=409)
    return HttpResponse("sorry", status=500)


class Urls:
    """What Django takes for a module of URLs."""

    urlpatterns: Any = ()
    stand: Any = None
    handler500: Any = "django.views.defaults.server_error"


def urls(stand: Any) -> Any:
    routes = [
        path("do/<what>/<int:number>", stand.do),
        path("refuse/<what>", stand.refuse),
        path("answer/<what>/<int:status>", stand.answer),
        path("stream", stand.stream),
        path("background", stand.background),
    ]
    conf = Urls()
    conf.urlpatterns = [*routes, path("nested/", include(routes))]
    conf.stand = stand
    if stand.handlers:
        conf.handler500 = failed
    return conf


class DjangoStand(WSGIStand):
    name = "Django"

    def build(self) -> Any:
        from django.core.wsgi import get_wsgi_application

        settings.ROOT_URLCONF = urls(self)
        app = get_wsgi_application()
        install(app, *self.databases)
        return app

    def do(self, request: Any, what: str, number: int) -> Any:
        if request.method == "OPTIONS":
            return HttpResponse(status=204)
        return HttpResponse(self.work.do(what, number))

    def refuse(self, request: Any, what: str) -> Any:
        self.work.do(what, 1)
        raise PermissionDenied

    def answer(self, request: Any, what: str, status: int) -> Any:
        return HttpResponse(self.work.do(what, 1), status=status)

    def stream(self, request: Any) -> Any:
        return StreamingHttpResponse(self.work.stream())

    def background(self, request: Any) -> Any:
        return HttpResponse(self.work.do("spawn", 1))


class DjangoASGI(ASGIStand):
    name = "Django (ASGI)"
    missing: ClassVar = {"base_http_middleware": STARLETTES, "websocket": "Django has none", **PENDING}

    def build(self) -> Any:
        from django.core.asgi import get_asgi_application

        settings.ROOT_URLCONF = urls(self)
        app = get_asgi_application()
        install(app, *self.databases)
        return app

    async def do(self, request: Any, what: str, number: int) -> Any:
        if request.method == "OPTIONS":
            return HttpResponse(status=204)
        return HttpResponse(await self.work.do(what, number))

    async def refuse(self, request: Any, what: str) -> Any:
        await self.work.do(what, 1)
        raise PermissionDenied

    async def answer(self, request: Any, what: str, status: int) -> Any:
        return HttpResponse(await self.work.do(what, 1), status=status)

    async def stream(self, request: Any) -> Any:
        return StreamingHttpResponse(await self.work.stream())

    async def background(self, request: Any) -> Any:
        return HttpResponse(await self.work.do("spawn", 1))


class DjangoASGISync(DjangoASGI):
    kind = "sync"
    do = DjangoStand.do  # type: ignore[assignment]
    refuse = DjangoStand.refuse  # type: ignore[assignment]
    answer = DjangoStand.answer  # type: ignore[assignment]
    background = DjangoStand.background  # type: ignore[assignment]

    def stream(self, request: Any) -> Any:  # type: ignore[override]
        body = self.work.stream()

        async def parts() -> AsyncIterator[bytes]:
            from asgiref.sync import sync_to_async

            while (part := await sync_to_async(next)(body, None)) is not None:
                yield part

        return StreamingHttpResponse(parts())


__all__ = ["STANDS", "Stand"]
STANDS = [DjangoStand, DjangoASGI, DjangoASGISync]
