from __future__ import annotations

from typing import Any

import bottle
from sqlalchemy.exc import IntegrityError

from respool.errors import PoolQueueFull
from respool.web.bottle import install
from tests.web.stands.base import WSGIStand


class BottleStand(WSGIStand):
    name = "Bottle"

    def build(self) -> Any:
        app = bottle.Bottle()
        install(app, *self.databases)
        self.routes(app)
        app.add_hook("after_request", self.work.teardown)
        nested = bottle.Bottle()
        self.routes(nested)
        install(nested, *self.databases)
        app.mount("/nested/", nested.wsgi)
        if self.handlers:
            app.error(500)(self.failed)
            app.error(503)(self.busy)
        return app

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
            return self.work.do(what, number)

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

        @app.post("/background")
        def background() -> Any:
            return self.work.do("spawn", 1)


STANDS = [BottleStand]
