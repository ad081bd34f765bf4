"""What each framework has beside the verb; and that the verb takes each database once."""

from __future__ import annotations

from importlib import import_module
from inspect import iscoroutinefunction
from types import SimpleNamespace
from typing import Any

import falcon
import falcon.asgi
import pytest
from aiohttp import web
from bottle import Bottle
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar
from pyramid.config import Configurator
from quart import Quart
from sanic import Sanic
from starlette.applications import Starlette

from respool import Database
from respool.errors import ConfigError
from respool.web.aiohttp import DATABASES
from respool.web.django import RequestScopeMiddleware
from respool.web.flask import Respool
from respool.web.litestar import RespoolPlugin
from respool.web.pyramid import includeme
from respool.web.quart import Respool as QuartRespool
from tests.session.shop import Order, acquired, count, opened, opened_async
from tests.web.stands import django as django_stand


def make_sanic() -> Any:
    app: Any = Sanic("idioms", configure_logging=False)
    Sanic.unregister_app(app)
    return app


APPLICATIONS: list[tuple[str, Any]] = [
    ("fastapi", FastAPI),
    ("starlette", Starlette),
    ("litestar", lambda: Litestar(openapi_config=None, logging_config=None)),
    ("quart", lambda: Quart("idioms")),
    ("sanic", make_sanic),
    ("aiohttp", web.Application),
    ("flask", lambda: Flask("idioms")),
    ("django", get_wsgi_application),
    ("django", get_asgi_application),
    ("falcon", falcon.App),
    ("falcon", falcon.asgi.App),
    ("pyramid", Configurator),
    ("bottle", Bottle),
]


@pytest.mark.parametrize("name, make", APPLICATIONS)
def test_a_database_is_installed_once_and_any_number_of_them(db: Database, tmp_path: Any, name: str, make: Any) -> None:
    verb = import_module(f"respool.web.{name}").install
    with opened(f"sqlite:///{tmp_path / 'other.db'}", name="other") as other:
        app = make()
        verb(app, db)
        verb(app, other)
        with pytest.raises(ConfigError, match="installed in this application already"):
            verb(app, db)
        with pytest.raises(ConfigError, match="no database"):
            verb(app)


@pytest.mark.parametrize("make", [falcon.asgi.App, get_asgi_application, falcon.App, get_wsgi_application])
def test_servers_still_see_what_kind_of_application_it_is(db: Database, make: Any) -> None:
    app = make()
    kind = type(app)
    import_module("respool.web.falcon" if isinstance(app, falcon.App) else "respool.web.django").install(app, db)
    assert isinstance(app, kind)
    assert iscoroutinefunction(type(app).__call__) is iscoroutinefunction(kind.__call__)


def test_a_wsgi_framework_takes_no_async_database(async_shop_url: str) -> None:
    from respool import AsyncDatabase

    adb = AsyncDatabase(async_shop_url)
    for name in ("flask", "falcon", "bottle", "django", "pyramid"):
        make = next(make for other, make in APPLICATIONS if other == name)
        with pytest.raises(ConfigError, match="AsyncDatabase"):
            import_module(f"respool.web.{name}").install(make(), adb)


@pytest.mark.parametrize("extension, kind", [(Respool, Flask), (QuartRespool, Quart)])
def test_extensions_are_made_with_or_without_an_application(db: Database, extension: Any, kind: Any) -> None:
    now, later = kind("now"), kind("later")
    extension(now, db)
    extension(db).init_app(later)
    assert now.extensions["respool"] == later.extensions["respool"] == [db]
    assert extension().databases == ()


def test_the_plugin_gives_the_session_the_name_that_is_asked_for(db: Database) -> None:
    for name, given in (("current", ["current"]), (None, [])):
        app = Litestar(plugins=[RespoolPlugin(db, session=name)], openapi_config=None, logging_config=None)
        assert list(app.dependencies) == given


def test_aiohttp_tells_what_is_installed(db: Database) -> None:
    app = web.Application()
    import_module("respool.web.aiohttp").install(app, db)
    assert app[DATABASES] == [db]


def test_pyramid_finds_the_databases_by_the_setting(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("tests.web.conftest"), "shop", db, raising=False)
    config = Configurator(settings={"respool.databases": "tests.web.conftest.shop"})
    config.include("respool.web.pyramid")
    assert config.registry["respool.databases"] == [db]
    with pytest.raises(ConfigError, match=r"'respool.databases' is missing"):
        includeme(Configurator(settings={}))


def test_django_finds_the_databases_by_the_setting(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_stand.settings, "RESPOOL_DATABASES", [db], raising=False)
    middleware = RequestScopeMiddleware(lambda request: None)
    assert middleware.databases == (db,)
    monkeypatch.delattr(django_stand.settings, "RESPOOL_DATABASES")
    with pytest.raises(ConfigError, match="RESPOOL_DATABASES is missing"):
        RequestScopeMiddleware(lambda request: None)


class Response(SimpleNamespace):
    """As much of Django's as the middleware looks at."""

    def __init__(self, status: int) -> None:
        super().__init__(status_code=status, _resource_closers=[])


@pytest.mark.parametrize("status, saved", [(200, 1), (404, 0)])
def test_djangos_middleware_by_itself(db: Database, shop_url: str, status: int, saved: int) -> None:
    def view(request: Any) -> Any:
        db.session.add(Order(product_id=1))
        return Response(status)

    response = RequestScopeMiddleware(view, db)(SimpleNamespace(META={}, method="GET", path="/"))
    assert count(shop_url) == saved
    for close in response._resource_closers:
        close()
    assert (acquired(db), db.scopes(), db._current.get()) == (0, (), None)


@pytest.mark.parametrize("status, saved", [(200, 1), (404, 0)])
async def test_djangos_middleware_by_itself_under_asgi(
    async_shop_url: str, shop_url: str, status: int, saved: int
) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:

        async def view(request: Any) -> Any:
            db.session.add(Order(product_id=1))
            return Response(status)

        await RequestScopeMiddleware(view, db)(SimpleNamespace(META={}, scope={}, method="GET", path="/"))
        assert count(shop_url) == saved
        assert (acquired(db), db.scopes()) == (0, ())


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_djangos_middleware_ends_what_an_exception_leaves(db: Database, shop_url: str, error: Any) -> None:
    def view(request: Any) -> Any:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise error("on purpose")

    with pytest.raises(error):
        RequestScopeMiddleware(view, db)(SimpleNamespace(META={}, method="GET", path="/"))
    assert (acquired(db), db.scopes(), db._current.get()) == (0, (), None)
    assert count(shop_url) == 0
