from __future__ import annotations

from typing import Any, ClassVar

import bottle
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.bottle import install
from tests.web.stands.base import Late, WSGIStand
from tests.web.stands.wsgis import Body


class BottleStand(WSGIStand):
    name = "Bottle"
    template = "/do/<what>/<number:int>"
    missing: ClassVar = {**WSGIStand.missing, "held_back_start": "Bottle holds it back by itself"}
    late: ClassVar = (
        Late("after_request", status=True, cleans=True),
        Late("plugin", status=True),
    )
    after: ClassVar = ("the close of a body",)
    unsendable: ClassVar = {"number": 500, "json": 500, "first": 500, "parts": 500}

    def build(self) -> Any:
        app = bottle.Bottle()
        install(app, *self.databases, **self.shown)
        self.routes(app)
        app.add_hook("after_request", self.work.teardown)
        if self.guest_at == "after_request":
            app.add_hook("after_request", self.change)
        if self.guest_at == "plugin":
            app.install(self.changing)
        nested = bottle.Bottle()
        self.routes(nested)
        install(nested, *self.databases)
        app.mount("/nested/", nested.wsgi)
        if self.guest_at == "pages":
            for status in (403, 404, 500):
                app.error(status)(self.page)
        elif self.handlers:
            app.error(500)(self.failed)
            app.error(503)(self.busy)
        if self.guest_at == "handled":
            app.error(500)(self.handled)
        return app

    def change(self) -> None:
        bottle.response.status = self.work.guest() or bottle.response.status

    def changing(self, callback: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            out = callback(*args, **keywords)
            self.change()
            return out

        return call

    def page(self, error: Any) -> str:
        if self.handlers and isinstance(error.exception, IntegrityError):
            bottle.response.status = 409
        return str(self.work.page())

    @staticmethod
    def handled(error: Any) -> str:
        bottle.response.status = 200
        return "handled"

    @staticmethod
    def failed(error: Any) -> str:
        if isinstance(error.exception, IntegrityError):
            bottle.response.status = 409
            return "no such product"
        return str(error.body)

    @staticmethod
    def busy(error: Any) -> str:
        assert isinstance(error.exception, PoolQueueFull)
        bottle.response.status = 429
        return "busy"

    def routes(self, app: Any) -> None:
        @app.route("/do/<what>/<number:int>", method=["GET", "HEAD", "POST"])
        def do(what: str, number: int) -> Any:
            text = self.work.do(what, number)
            return Body(text, self.work.guest) if self.guest_at == "the close of a body" else text

        @app.post("/refuse/<what>")
        def refuse(what: str) -> Any:
            self.work.do(what, 1)
            bottle.abort(403, "no")

        @app.post("/answer/<what>/<status:int>")
        def answer(what: str, status: int) -> Any:
            return bottle.HTTPResponse(self.work.do(what, 1), status)

        @app.get("/stream")
        def stream() -> Any:
            return self.work.stream()

        @app.post("/failing")
        def failing() -> Any:
            return self.work.failing()

        @app.route("/streamed", method=["GET", "POST"])
        def streamed() -> Any:
            return self.work.streamed()

        @app.get("/unsendable/<what>")
        def unsendable(what: str) -> Any:
            self.work.do("flushed", 1)
            return {"number": 5, "json": {"x": self}, "first": map(int, ["?"]), "parts": [5]}[what]

        @app.post("/background")
        def background() -> Any:
            return self.work.do("spawn", 1)


STANDS = [BottleStand]
