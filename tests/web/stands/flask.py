from __future__ import annotations

from typing import Any, ClassVar

from flask import Flask, Response, abort, after_this_request, request_finished
from flask.sessions import SecureCookieSessionInterface
from sqlalchemy.exc import IntegrityError
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from respool.errors import PoolQueueFull
from respool.web.flask import Respool, install
from tests.web.stands.base import Late, WSGIStand
from tests.web.stands.wsgis import Body, HoldsBack, Wrapper


class FlaskStand(WSGIStand):
    name = "Flask"
    template = "/do/<what>/<int:number>"
    late: ClassVar = (
        Late("after_request", status=True, cleans=True),
        Late("after_this_request", status=True, cleans=True),
        Late("save_session", cleans=True),
        Late("request_finished", cleans=True),
        Late("teardown_request", cleans=True),
        Late("teardown_appcontext", cleans=True),
        Late("a wrapper from before install", status=True, cleans=True),
        Late("a wrapper from after install", status=True, cleans=True),
    )
    after: ClassVar = ("call_on_close", "the close of a body")
    unsendable: ClassVar = {"number": 500, "parts": 500}

    def build(self) -> Any:
        app = Flask("shop")
        self.routes(app)
        nested = Flask("nested")
        Respool(*self.databases).init_app(nested)
        self.routes(nested)
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/nested": nested})  # type: ignore[method-assign]
        self.wrap(app, "a wrapper from before install")
        install(app, *self.databases, **self.shown)
        self.wrap(app, "a wrapper from after install")
        self.handle_errors(app)
        self.place_guest(app)
        app.teardown_request(lambda error: self.work.teardown())
        return app

    def wrap(self, app: Flask, name: str) -> None:
        if self.guest_at == name:
            app.wsgi_app = Wrapper(app.wsgi_app, self.work.guest)  # type: ignore[method-assign]
        if self.guest_at == "gzip":
            app.wsgi_app = HoldsBack(app.wsgi_app)  # type: ignore[method-assign]

    def handle_errors(self, app: Flask) -> None:
        if self.guest_at == "pages":
            for kind, status in ((403, 403), (404, 404), (500, 500)):
                app.register_error_handler(kind, lambda error, status=status: (self.work.page(), status))
            if self.handlers:
                app.register_error_handler(IntegrityError, lambda error: (self.work.page(), 409))
        elif self.handlers:
            app.register_error_handler(IntegrityError, lambda error: ("no such product", 409))
            app.register_error_handler(PoolQueueFull, lambda error: ("busy", 429))
        if self.guest_at == "handled":
            app.register_error_handler(LookupError, lambda error: "handled")

    def place_guest(self, app: Flask) -> None:
        if self.guest_at == "after_request":
            app.after_request(self.change)
        if self.guest_at == "after_this_request":
            app.before_request(lambda: after_this_request(self.change) and None)
        if self.guest_at == "save_session":
            app.session_interface = Sessions(self.work.guest)
        if self.guest_at == "request_finished":
            request_finished.connect(self.finished, app)
        if self.guest_at.startswith("teardown_"):
            getattr(app, self.guest_at)(lambda error: self.work.guest() and None)

    def change(self, response: Response) -> Response:
        status = self.work.guest()
        return Response("changed", status) if status else response

    def finished(self, *args: Any, **keywords: Any) -> None:
        self.work.guest()

    def routes(self, app: Flask) -> None:
        @app.route("/do/<what>/<int:number>", methods=["GET", "POST"])
        def do(what: str, number: int) -> Any:
            text = self.work.do(what, number)
            response = Response(Body(text, self.work.guest) if self.guest_at == "the close of a body" else text)
            if self.guest_at == "call_on_close":
                response.call_on_close(self.work.guest)
            return response

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

        @app.post("/failing")
        def failing() -> Any:
            return Response(self.work.failing())

        @app.post("/streamed")
        def streamed() -> Any:
            return Response(self.work.streamed())

        @app.get("/unsendable/<what>")
        def unsendable(what: str) -> Any:
            self.work.do("flushed", 1)
            return 5 if what == "number" else Response([5])  # type: ignore[list-item]

        @app.post("/background")
        def background() -> Any:
            return self.work.do("spawn", 1)


class Sessions(SecureCookieSessionInterface):
    """As those that keep browsers' sessions in a database."""

    def __init__(self, guest: Any) -> None:
        self.guest = guest

    def is_null_session(self, obj: object) -> bool:
        return False

    def save_session(self, *args: Any) -> None:
        self.guest()


STANDS = [FlaskStand]
