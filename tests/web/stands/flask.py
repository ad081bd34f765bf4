from __future__ import annotations

from typing import Any

from flask import Flask, Response, abort
from sqlalchemy.exc import IntegrityError
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from respool.errors import PoolQueueFull
from respool.web.flask import Respool, install
from tests.web.stands.base import WSGIStand


class FlaskStand(WSGIStand):
    name = "Flask"

    def build(self) -> Any:
        app = Flask("shop")
        self.routes(app)
        nested = Flask("nested")
        Respool(*self.databases).init_app(nested)
        self.routes(nested)
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/nested": nested})  # type: ignore[method-assign]
        install(app, *self.databases)
        if self.handlers:
            app.register_error_handler(IntegrityError, lambda error: ("no such product", 409))
            app.register_error_handler(PoolQueueFull, lambda error: ("busy", 429))
        app.teardown_request(lambda error: self.work.teardown())
        return app

    def routes(self, app: Flask) -> None:
        @app.route("/do/<what>/<int:number>", methods=["GET", "POST"])
        def do(what: str, number: int) -> Any:
            return self.work.do(what, number)

        @app.post("/refuse/<what>")
        def refuse(what: str) -> Any:
            self.work.do(what, 1)
            abort(403)

        @app.post("/answer/<what>/<int:status>")
        def answer(what: str, status: int) -> Any:
            return self.work.do(what, 1), status

        @app.get("/stream")
        def stream() -> Any:
            return Response(self.work.stream())

        @app.post("/background")
        def background() -> Any:
            return self.work.do("spawn", 1)


STANDS = [FlaskStand]
