from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.signals import request_finished
from django.http import HttpResponse, StreamingHttpResponse
from django.template.response import SimpleTemplateResponse
from django.urls import include, path
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.django import install
from tests.web.stands.base import STARLETTES, ASGIStand, Late, Stand, WSGIStand
from tests.web.stands.middleware import HoldsBack as HoldsBackASGI
from tests.web.stands.wsgis import HoldsBack

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
        if (stand := stand_of(request)) is None:
            return response
        stand.work.teardown()
        return stand.change(response) if stand.guest_at == "middleware" else response

    async def answer(self, request: Any) -> Any:
        response = await self.get_response(request)
        if (stand := stand_of(request)) is None:
            return response
        stand.work.teardown()
        return await stand.change_async(response) if stand.guest_at == "middleware" else response

    def process_exception(self, request: Any, error: Exception) -> Any:
        stand = stand_of(request)
        if stand is not None and stand.handlers and isinstance(error, PoolQueueFull):
            return HttpResponse("busy", status=429)
        if stand is not None and stand.guest_at == "handled" and isinstance(error, LookupError):
            return HttpResponse("handled")
        return None

    def process_template_response(self, request: Any, response: Any) -> Any:
        if stand_of(request).guest_at == "process_template_response":
            response.status_code = stand_of(request).work.guest() or response.status_code
        return response


def stand_of(request: Any) -> Any:
    """The stand that is open; settings are the process's, and an example of the documents may have them now."""
    return getattr(settings.ROOT_URLCONF, "stand", None)


def failed(request: Any) -> HttpResponse:
    """Django's ``handler500``."""
    if isinstance(sys.exc_info()[1], IntegrityError):
        return HttpResponse("no such product", status=409)
    return HttpResponse("sorry", status=500)


class Urls:
    """What Django takes for a module of URLs."""

    urlpatterns: Any = ()
    stand: Any = None
    handler403: Any = "django.views.defaults.permission_denied"
    handler404: Any = "django.views.defaults.page_not_found"
    handler500: Any = "django.views.defaults.server_error"


def urls(stand: Any) -> Any:
    routes = [
        path("do/<what>/<int:number>", stand.do),
        path("refuse/<what>", stand.refuse),
        path("answer/<what>/<int:status>", stand.answer),
        path("stream", stand.stream),
        path("background", stand.background),
        path("failing", stand.failing),
        path("streamed", stand.streamed),
        path("unsendable/<what>", stand.cannot_send),
    ]
    conf = Urls()
    conf.urlpatterns = [*routes, path("nested/", include(routes))]
    conf.stand = stand
    if stand.guest_at == "pages":
        conf.handler403, conf.handler404, conf.handler500 = stand.page(403), stand.page(404), stand.page(500)
    elif stand.handlers:
        conf.handler500 = failed
    return conf


class Lazy(SimpleTemplateResponse):
    """A response that is made when all middlewares have seen it."""

    def __init__(self, make: Any) -> None:
        super().__init__("")
        self.make = make

    @property
    def rendered_content(self) -> Any:
        return self.make()


class DjangoStand(WSGIStand):
    name = "Django"
    template = "/do/<what>/<int:number>"
    late: ClassVar = (
        Late("middleware", status=True, cleans=True),
        Late("process_template_response", status=True, cleans=True),
        Late("rendering", cleans=True),
        Late("a post-render callback", cleans=True),
    )
    after: ClassVar = ("a closer of a response", "request_finished")
    unsendable: ClassVar = {"nothing": 500, "number": 500, "rendering": 500}

    def build(self) -> Any:
        from django.core.wsgi import get_wsgi_application

        settings.ROOT_URLCONF = urls(self)
        app: Any = get_wsgi_application()
        install(app, *self.databases, **self.shown)
        return HoldsBack(app) if self.guest_at == "gzip" else app

    def change(self, response: Any) -> Any:
        status = self.work.guest()
        return HttpResponse("changed", status=status) if status else response

    def page(self, status: int) -> Any:
        def answer(request: Any, exception: Any = None) -> HttpResponse:
            conflict = self.handlers and isinstance(sys.exc_info()[1], IntegrityError)
            return HttpResponse(self.work.page(), status=409 if conflict else status)

        return answer

    def do(self, request: Any, what: str, number: int) -> Any:
        if request.method == "OPTIONS":
            return HttpResponse(status=204)
        text = self.work.do(what, number)
        response: Any = HttpResponse(text)
        if self.guest_at == "process_template_response":
            response = Lazy(lambda: text)
        if self.guest_at == "rendering":
            response = Lazy(lambda: self.work.guest() or text)
        if self.guest_at == "a post-render callback":
            response = Lazy(lambda: text)
            response.add_post_render_callback(lambda response: self.work.guest())
        if self.guest_at == "a closer of a response":
            response._resource_closers.append(self.work.guest)
        if self.guest_at == "request_finished":
            request_finished.connect(self.finished)
        return response

    def finished(self, **keywords: Any) -> None:
        request_finished.disconnect(self.finished)
        self.work.guest()

    def failing(self, request: Any) -> Any:
        return StreamingHttpResponse(self.work.failing())

    def streamed(self, request: Any) -> Any:
        return StreamingHttpResponse(self.work.streamed())

    def cannot_send(self, request: Any, what: str) -> Any:
        self.work.do("flushed", 1)
        if what == "rendering":
            return Lazy(lambda: 1 / 0)
        return None if what == "nothing" else 5

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
    template = "/do/<what>/<int:number>"
    missing: ClassVar = {
        "base_http_middleware": STARLETTES,
        "websocket": "Django has none",
        "error_pages": "Django calls its error handlers as sync functions",
        "error_page_of_a_failed_commit": "Django calls its error handlers as sync functions",
        "stopping": "Django has no start and stop",
    }
    late: ClassVar = (Late("middleware", status=True, cleans=True),)
    after: ClassVar = ("request_finished",)
    unsendable: ClassVar = DjangoStand.unsendable

    async def change_async(self, response: Any) -> Any:
        status = await self.work.guest()
        return HttpResponse("changed", status=status) if status else response

    def finished(self, **keywords: Any) -> None:
        request_finished.disconnect(self.finished)
        async_to_sync(self.work.guest)()

    def build(self) -> Any:
        from django.core.asgi import get_asgi_application

        settings.ROOT_URLCONF = urls(self)
        app: Any = get_asgi_application()
        install(app, *self.databases, **self.shown)
        return HoldsBackASGI(app) if self.guest_at == "gzip" else app

    async def do(self, request: Any, what: str, number: int) -> Any:
        if request.method == "OPTIONS":
            return HttpResponse(status=204)
        response = HttpResponse(await self.work.do(what, number))
        if self.guest_at == "request_finished":
            request_finished.connect(self.finished)
        return response

    async def refuse(self, request: Any, what: str) -> Any:
        await self.work.do(what, 1)
        raise PermissionDenied

    async def answer(self, request: Any, what: str, status: int) -> Any:
        return HttpResponse(await self.work.do(what, 1), status=status)

    async def stream(self, request: Any) -> Any:
        return StreamingHttpResponse(await self.work.stream())

    async def failing(self, request: Any) -> Any:
        return StreamingHttpResponse(await self.work.failing())

    async def streamed(self, request: Any) -> Any:
        return StreamingHttpResponse(await self.work.streamed())

    async def cannot_send(self, request: Any, what: str) -> Any:
        await self.work.do("flushed", 1)
        if what == "rendering":
            return Lazy(lambda: 1 / 0)
        return None if what == "nothing" else 5

    async def background(self, request: Any) -> Any:
        return HttpResponse(await self.work.do("spawn", 1))


class DjangoASGISync(DjangoASGI):
    kind = "sync"
    missing: ClassVar = {
        "base_http_middleware": STARLETTES,
        "websocket": "Django has none",
        "stopping": "Django has no start and stop",
    }
    late: ClassVar = DjangoStand.late
    after: ClassVar = DjangoStand.after
    change = DjangoStand.change
    page = DjangoStand.page
    finished = DjangoStand.finished

    async def change_async(self, response: Any) -> Any:
        return await sync_to_async(self.change)(response)

    do = DjangoStand.do  # type: ignore[assignment]
    refuse = DjangoStand.refuse  # type: ignore[assignment]
    answer = DjangoStand.answer  # type: ignore[assignment]
    background = DjangoStand.background  # type: ignore[assignment]
    cannot_send = DjangoStand.cannot_send  # type: ignore[assignment]

    def stream(self, request: Any) -> Any:  # type: ignore[override]
        return self.streaming(self.work.stream())

    def failing(self, request: Any) -> Any:  # type: ignore[override]
        return self.streaming(self.work.failing())

    def streamed(self, request: Any) -> Any:  # type: ignore[override]
        return self.streaming(self.work.streamed())

    def streaming(self, body: Any) -> Any:
        async def parts() -> AsyncIterator[bytes]:
            while (part := await sync_to_async(next)(body, None)) is not None:
                yield part

        return StreamingHttpResponse(parts())


__all__ = ["STANDS", "Stand"]
STANDS = [DjangoStand, DjangoASGI, DjangoASGISync]
