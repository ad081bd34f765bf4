from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from pyramid.config import Configurator
from pyramid.events import NewResponse
from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound
from pyramid.response import Response
from pyramid.tweens import MAIN
from pyramid.wsgi import wsgiapp2
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.pyramid import install
from tests.web.stands.base import Late, WSGIStand
from tests.web.stands.wsgis import Body


class PyramidStand(WSGIStand):
    name = "Pyramid"
    missing: ClassVar = {**WSGIStand.missing, "held_back_start": "tweens see responses, and read no bodies"}
    late: ClassVar = (
        Late("response callback", status=True, cleans=True),
        Late("NewResponse", status=True, cleans=True),
        Late("finished callback", cleans=True),
        Late("tween at its default place", status=True, cleans=True),
        Late("tween next to the views", status=True),
    )
    after: ClassVar = ("the close of a body",)
    unsendable: ClassVar = {
        "number": 500,
        "parts": 500,
        "a range that is not there": 416,
        "what the client has already": 304,
    }

    def build(self) -> Any:
        inner = Configurator(settings={"respool.databases": self.databases})
        inner.include("respool.web.pyramid")
        self.routes(inner)
        config = Configurator()
        install(config, *self.databases, **self.shown)
        self.routes(config)
        config.add_route("nested", "/nested/*subpath")
        config.add_view(wsgiapp2(inner.make_wsgi_app()), route_name="nested")
        config.add_tween("tests.web.stands.pyramid.ending")
        config.registry["work"] = self.work
        self.place_guest(config)
        self.add_pages(config)
        return config.make_wsgi_app()

    def place_guest(self, config: Any) -> None:
        if self.guest_at == "NewResponse":
            config.add_subscriber(lambda event: self.change(event.request, event.response), NewResponse)
        config.registry["guest"] = self.change
        if self.guest_at == "tween at its default place":
            config.add_tween("tests.web.stands.pyramid.changing")
        if self.guest_at == "tween next to the views":
            config.add_tween("tests.web.stands.pyramid.changing", over=MAIN)

    def change(self, request: Any, response: Any = None) -> None:
        status = self.work.guest()
        if status and response is not None:
            response.status_int = status

    def add_pages(self, config: Any) -> None:
        if self.guest_at == "pages":
            for kind, status in ((HTTPForbidden, 403), (HTTPNotFound, 404), (Exception, 500)):
                config.add_exception_view(self.page(status), context=kind)
            if self.handlers:
                config.add_exception_view(self.page(409), context=IntegrityError)
        elif self.handlers:
            config.add_exception_view(lambda error, request: Response("no such product", 409), context=IntegrityError)
            config.add_exception_view(lambda error, request: Response("busy", 429), context=PoolQueueFull)
        if self.guest_at == "handled":
            config.add_exception_view(lambda error, request: Response("handled"), context=LookupError)

    def page(self, status: int) -> Any:
        return lambda error, request: Response(self.work.page(), status)

    def routes(self, config: Any) -> None:
        for name, path in {
            "do": "/do/{what}/{number}",
            "refuse": "/refuse/{what}",
            "answer": "/answer/{what}/{status}",
            "stream": "/stream",
            "background": "/background",
            "failing": "/failing",
            "streamed": "/streamed",
            "cannot_send": "/unsendable/{what}",
        }.items():
            config.add_route(name, path)
            config.add_view(getattr(self, name), route_name=name)

    def do(self, request: Any) -> Any:
        if request.method == "OPTIONS":
            return Response(status=204)
        assert request.db_session is self.db.session
        if self.guest_at == "response callback":
            request.add_response_callback(self.change)
        if self.guest_at == "finished callback":
            request.add_finished_callback(self.change)
        if self.guest_at == "the close of a body":
            text = self.work.do(request.matchdict["what"], int(request.matchdict["number"]))
            return Response(app_iter=Body(text, self.work.guest))
        return Response(self.work.do(request.matchdict["what"], int(request.matchdict["number"])))

    def refuse(self, request: Any) -> Any:
        self.work.do(request.matchdict["what"], 1)
        raise HTTPForbidden

    def answer(self, request: Any) -> Any:
        return Response(self.work.do(request.matchdict["what"], 1), int(request.matchdict["status"]))

    def stream(self, request: Any) -> Any:
        return Response(app_iter=self.work.stream())

    def failing(self, request: Any) -> Any:
        return Response(app_iter=self.work.failing())

    def streamed(self, request: Any) -> Any:
        return Response(app_iter=self.work.streamed())

    def cannot_send(self, request: Any) -> Any:
        self.work.do("flushed", 1)
        if request.matchdict["what"] == "number":
            return 5
        if request.matchdict["what"] == "parts":
            return Response(app_iter=[5])
        return Response("short", conditional_response=True, last_modified=datetime(2020, 1, 1, tzinfo=UTC))

    def background(self, request: Any) -> Any:
        return Response(self.work.do("spawn", 1))


def ending(handler: Any, registry: Any) -> Any:
    """Another extension, with something to clean up."""

    def tween(request: Any) -> Any:
        response = handler(request)
        if "work" in registry:
            registry["work"].teardown()
        return response

    return tween


def changing(handler: Any, registry: Any) -> Any:
    """Another extension, with a guest."""

    def tween(request: Any) -> Any:
        response = handler(request)
        registry["guest"](request, response)
        return response

    return tween


STANDS = [PyramidStand]
