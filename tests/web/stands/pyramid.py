from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.response import Response
from pyramid.wsgi import wsgiapp2
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.pyramid import install
from tests.web.stands.base import WSGIStand


class PyramidStand(WSGIStand):
    name = "Pyramid"

    def build(self) -> Any:
        inner = Configurator(settings={"respool.databases": self.databases})
        inner.include("respool.web.pyramid")
        self.routes(inner)
        config = Configurator()
        install(config, *self.databases)
        self.routes(config)
        config.add_route("nested", "/nested/*subpath")
        config.add_view(wsgiapp2(inner.make_wsgi_app()), route_name="nested")
        config.add_tween("tests.web.stands.pyramid.ending")
        config.registry["work"] = self.work
        if self.handlers:
            config.add_exception_view(lambda error, request: Response("no such product", 409), context=IntegrityError)
            config.add_exception_view(lambda error, request: Response("busy", 429), context=PoolQueueFull)
        return config.make_wsgi_app()

    def routes(self, config: Any) -> None:
        for name, path in {
            "do": "/do/{what}/{number}",
            "refuse": "/refuse/{what}",
            "answer": "/answer/{what}/{status}",
            "stream": "/stream",
            "background": "/background",
        }.items():
            config.add_route(name, path)
            config.add_view(getattr(self, name), route_name=name)

    def do(self, request: Any) -> Any:
        if request.method == "OPTIONS":
            return Response(status=204)
        assert request.db_session is self.db.session
        return Response(self.work.do(request.matchdict["what"], int(request.matchdict["number"])))

    def refuse(self, request: Any) -> Any:
        self.work.do(request.matchdict["what"], 1)
        raise HTTPForbidden

    def answer(self, request: Any) -> Any:
        return Response(self.work.do(request.matchdict["what"], 1), int(request.matchdict["status"]))

    def stream(self, request: Any) -> Any:
        return Response(app_iter=self.work.stream())

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


STANDS = [PyramidStand]
