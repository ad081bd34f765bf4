"""A commit that failed, in the log: the request, its handler, and the line that asked for the session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bottle as bottles
import falcon as falcons
import pytest
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.views import View
from fastapi import Depends, FastAPI
from flask import Flask
from flask.views import MethodView
from litestar import Litestar, post
from pyramid.config import Configurator
from pyramid.response import Response
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from respool.scope.scope import Scope
from respool.web import bottle, django, falcon, fastapi, flask, litestar, pyramid, starlette
from respool.web.asgi import RequestScopeMiddleware
from tests.session.shop import Order, count, fill, opened, opened_async
from tests.web.clients import call_asgi, call_wsgi
from tests.web.contract import Place
from tests.web.stands import ALL
from tests.web.stands.base import Stand
from tests.web.stands.django import Urls, settings

NOBODY = 77
#: A mounted application is a handler of Litestar's.
ASKED = [
    pytest.param(stand, where, id=f"{stand.title()}{where}")
    for stand in ALL
    if not stand.__module__.endswith(".plain")
    for where in (("",) if stand.name == "Litestar" else ("", "/nested"))
]
HERE = "test_failed_commits.py:"


def notes(error: BaseException | None) -> str:
    while error is not None and not getattr(error, "__notes__", None):
        error = error.__cause__ or error.__context__
    assert isinstance(error, IntegrityError)
    assert len(error.__notes__) == 1
    return error.__notes__[0]


async def test_a_dependency_leaves_the_handlers_name_to_the_framework(async_shop_url: str, shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        app = FastAPI()
        fastapi.install(app, db)
        current = Depends(fastapi.session_of(db))

        @app.post("/products/{number}/sell")
        async def sell(number: int, session: Any = current) -> None:
            session.add(Order(product_id=number))

        told = notes((await call_asgi(app, f"/products/{NOBODY}/sell", "POST")).error)
    assert f"the commit of request POST /products/{NOBODY}/sell, handler " in told
    assert f"sell() at tests/web/{HERE}" in told
    assert count(shop_url) == 0


async def test_starlette_and_litestar(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:

        async def sell(request: Any) -> JSONResponse:
            db.session.add(Order(product_id=NOBODY))
            return JSONResponse({})

        app = Starlette(routes=[Route("/sell", sell, methods=["POST"])])
        starlette.install(app, db)
        told = notes((await call_asgi(app, "/sell", "POST")).error)
        assert "request POST /sell, handler " in told
        assert "sell() at tests" in told

        @post("/sell_too")
        async def sell_too() -> None:
            db.session.add(Order(product_id=NOBODY))

        heard: list[BaseException] = []
        other = Litestar([sell_too], after_exception=[lambda error, scope: heard.append(error)], openapi_config=None)
        litestar.install(other, db)
        answer = await call_asgi(other, "/sell_too", "POST")
        assert answer.status == 500
        told = notes(answer.error or heard[0])
        assert "request POST /sell_too, handler " in told
        assert "sell_too() at tests" in told


class Shop:
    """One WSGI application for each way to write a handler: a function, and a method of a class."""

    def __init__(self, db: Any) -> None:
        self.db = db

    def sell(self) -> str:
        self.db.session.add(Order(product_id=NOBODY))
        return "sold"

    def flask(self) -> Any:
        app = Flask("shop")
        flask.install(app, self.db)

        @app.post("/function")
        def sell() -> str:
            return self.sell()

        class Sales(MethodView):
            def post(_) -> str:
                return self.sell()

        app.add_url_rule("/method", view_func=Sales.as_view("sales"))
        return app

    def django(self) -> Any:
        settings.ROOT_URLCONF = self.urls()
        app: Any = get_wsgi_application()
        django.install(app, self.db)
        return app

    def django_by_the_settings(self) -> Any:
        settings.MIDDLEWARE = ["respool.web.django.RequestScopeMiddleware"]
        settings.RESPOOL_DATABASES = [self.db]
        settings.ROOT_URLCONF = self.urls()
        return get_wsgi_application()

    def urls(self) -> Any:
        def sell(request: Any) -> HttpResponse:
            return HttpResponse(self.sell())

        class Sales(View):
            def post(_, request: Any) -> HttpResponse:
                return HttpResponse(self.sell())

        urls = Urls()
        urls.urlpatterns = [path("function", sell), path("method", Sales.as_view())]
        return urls

    def falcon(self) -> Any:
        app = falcons.App()
        falcon.install(app, self.db)

        class Sales:
            def on_post(_, req: Any, resp: Any) -> None:
                resp.text = self.sell()

        def sell(req: Any, resp: Any) -> None:
            resp.text = self.sell()

        app.add_route("/method", Sales())
        app.add_sink(sell, "/function")
        return app

    def pyramid(self) -> Any:
        config = Configurator()
        pyramid.install(config, self.db)

        def sell(request: Any) -> Response:
            return Response(self.sell())

        class Sales:
            def __init__(_, request: Any) -> None: ...

            def post(_) -> Response:
                return Response(self.sell())

        config.add_route("function", "/function")
        config.add_route("method", "/method")
        config.add_view(sell, route_name="function")
        config.add_view(Sales, route_name="method", attr="post")
        return config.make_wsgi_app()

    def bottle(self) -> Any:
        app = bottles.Bottle()
        bottle.install(app, self.db)

        @app.post("/function")
        def sell() -> str:
            return self.sell()

        return app


@pytest.fixture
def kept_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOT_URLCONF", "MIDDLEWARE", "RESPOOL_DATABASES"):
        monkeypatch.setattr(settings, name, getattr(settings, name, None), raising=False)


HANDLERS = [
    *(("flask", "/function", "sell"), ("flask", "/method", "Sales.post")),
    *(("django", "/function", "sell"), ("django", "/method", "Sales.post")),
    *(("django_by_the_settings", "/function", "sell"), ("django_by_the_settings", "/method", "Sales.post")),
    *(("falcon", "/function", "sell"), ("falcon", "/method", "Sales.on_post")),
    *(("pyramid", "/function", "sell"), ("pyramid", "/method", "Sales.post")),
    ("bottle", "/function", "sell"),
]


@pytest.mark.parametrize("framework, where, handler", HANDLERS)
@pytest.mark.usefixtures("kept_settings")
def test_wsgi_frameworks(shop_url: str, told: list[str], framework: str, where: str, handler: str) -> None:
    with opened(shop_url, commit="on_success") as db:
        answer = call_wsgi(getattr(Shop(db), framework)(), where, "POST")
    assert answer.status == 500
    (note,) = told
    assert f"the commit of request POST {where}, handler " in note
    assert f".{handler}() at tests/web/{HERE}" in note
    assert count(shop_url) == 0


@pytest.mark.parametrize("stand, where", ASKED)
async def test_every_framework(stand: type[Stand], where: str, shop_url: str, tmp_path: Path, told: list[str]) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    async with Place(stand, shop_url, other_url).open() as shop:
        assert (await shop.call(f"{where}/do/order/{NOBODY}")).status == 500
    (note,) = told
    assert re.search(r", handler [\w.<>]*\b(do|on_get)\(\) at tests/web/stands/\w+\.py:\d+", note), note


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notes of failed commits: most frameworks answer the errors, and tell of them in ways of their own."""
    heard: list[str] = []
    describe = Scope.describe

    def listen(scope: Scope, what: str) -> str:
        heard.append(describe(scope, what))
        return heard[-1]

    monkeypatch.setattr(Scope, "describe", listen)
    return heard


def test_the_line_that_asked_for_the_session(shop_url: str) -> None:
    with opened(shop_url, commit="on_success") as db:
        app = Flask("shop")
        app.testing = True  # the exception comes out
        flask.install(app, db)

        @app.post("/sell")
        def sell() -> str:
            db.session.add(Order(product_id=NOBODY))
            return "sold"

        told = notes(call_wsgi(app, "/sell", "POST").error)
    assert "the commit of request POST /sell, handler " in told
    assert ", whose session was first asked for at tests" in told
    assert HERE in told
    assert "sell()" in told


def test_a_commit_of_the_handlers_own(shop_url: str) -> None:
    with opened(shop_url) as db:
        with db.scope("nightly") as session:
            session.add(Order(product_id=NOBODY))
            with pytest.raises(IntegrityError) as failed:
                session.commit()
            session.rollback()
        assert "the commit of scope 'nightly' (tests" in notes(failed.value)
        with db.scope("nightly") as session:
            session.add(Order(product_id=1))
            session.commit()
    assert count(shop_url) == 1


async def test_where_nobody_knows_the_handler(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db.session.add(Order(product_id=NOBODY))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        told = notes((await call_asgi(RequestScopeMiddleware(app, db), "/sell", "POST")).error)
    assert ", handler " not in told
    assert "first asked for at tests" in told
