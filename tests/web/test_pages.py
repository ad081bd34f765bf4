"""Where an application has its page, and what is not accepted; the contract says that it answers in every framework."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web import Application, AppRunner, TCPSite
from django.test import RequestFactory
from flask import Flask
from starlette.applications import Starlette

from respool import Database
from respool.errors import ConfigError
from respool.observe.observation import observation
from respool.web import asgi, wsgi
from respool.web.aiohttp import install as install_aiohttp
from respool.web.django import dashboard_view
from respool.web.flask import Respool
from respool.web.flask import install as install_flask
from respool.web.rules.pages import Pages
from respool.web.starlette import install as install_starlette
from tests.web.clients import call_asgi, call_http, call_wsgi

LOCAL = {"headers": [(b"host", b"localhost")]}
HERE = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost", "SERVER_PROTOCOL": "HTTP/1.1"}


@pytest.fixture(autouse=True)
def _nobody_is_observed_afterwards() -> Iterator[None]:
    yield
    for database in observation.databases:
        observation.remove(database)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/other.db", name="other")
    yield database
    database.close()


def shown(body: bytes) -> list[str]:
    return [each["name"] for each in json.loads(body)["databases"]]


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def nothing_by_wsgi(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return []


def with_client(app: Any) -> Any:
    def call(environ: Any, start_response: Any) -> Any:
        return app({**environ, **HERE}, start_response)

    return call


async def test_the_middlewares_have_it_too(db: Database) -> None:
    around = asgi.RequestScopeMiddleware(nothing, db, dashboard="/seen")
    assert shown((await call_asgi(around, "/seen/live", scope=LOCAL)).body) == ["default"]
    assert (await call_asgi(around, "/seenelsewhere", scope=LOCAL)).status == 204
    twin = with_client(wsgi.RequestScopeMiddleware(nothing_by_wsgi, db, dashboard="/seen"))
    assert shown(call_wsgi(twin, "/seen/live").body) == ["default"]
    assert call_wsgi(twin, "/seenelsewhere").status == 204


async def test_who_is_installed_later_is_shown_beside(db: Database, other: Database) -> None:
    app = Starlette()
    install_starlette(app, db, dashboard="/seen")
    install_starlette(app, other, dashboard="/seen")
    assert shown((await call_asgi(app, "/seen/live", scope=LOCAL)).body) == ["default", "other"]
    flask = Flask("shop")
    install_flask(flask, db, dashboard="/seen")
    install_flask(flask, other, dashboard="/seen")
    assert shown(flask.test_client().get("/seen/live").data) == ["default", "other"]


async def test_it_may_come_with_the_second_database(db: Database, other: Database) -> None:
    app = Application()
    install_aiohttp(app, db, lifespan=False)
    install_aiohttp(app, other, dashboard="/seen", hosts=["test"], lifespan=False)
    runner = AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await TCPSite(runner, "127.0.0.1", 0).start()
        answer = await call_http(runner.addresses[0][1], "/seen/live")
    finally:
        await runner.cleanup()
    assert shown(answer.body) == ["other"]


def test_an_extension_has_it_too(db: Database) -> None:
    flask = Flask("shop")
    Respool(flask, db, dashboard="/seen")
    assert shown(flask.test_client().get("/seen/live").data) == ["default"]


@pytest.mark.parametrize("place", ["respool", "/", "", "/respool/", "/a b", "//", "/a?b", "/a#b", 1])
def test_a_place_that_is_none_is_refused_and_nothing_is_installed(db: Database, place: Any) -> None:
    app = Starlette()
    with pytest.raises(ConfigError, match=r"dashboard=.* is not accepted"):
        install_starlette(app, db, dashboard=place)
    install_starlette(app, db)


@pytest.mark.parametrize("who", [{"authorize": lambda request: True}, {"hosts": ["shop.test"]}])
def test_leave_to_see_nothing_is_refused(db: Database, who: Any) -> None:
    with pytest.raises(ConfigError, match="and not where it is"):
        install_flask(Flask("shop"), db, **who)


def test_who_may_see_it_is_said_once(db: Database, other: Database) -> None:
    pages = Pages()
    pages.add("/seen", [db], lambda request: True)
    with pytest.raises(ConfigError, match="is said twice"):
        pages.add("/seen", [other], lambda request: True)
    pages.add("/elsewhere", [other])
    assert [pages.place_of(path) for path in ("/seen", "/seen/", "/elsewhere/live", "/", "/seen2", "")] == [
        "/seen",
        "/seen",
        "/elsewhere",
        None,
        None,
        None,
    ]


@pytest.fixture
def ask() -> Callable[..., Any]:
    importlib.import_module("tests.web.stands.django")  # which makes Django's settings
    factory = RequestFactory(**HERE)

    def asked(view: Any, path: str, below: str) -> Any:
        return view(factory.get(path), **({"path": below} if below else {}))

    return asked


def test_a_view_among_djangos_urls(db: Database, ask: Callable[..., Any]) -> None:
    view = dashboard_view(db, title="Shop")
    slash = ask(view, "/site/respool", "")
    assert (slash.status_code, slash["Location"]) == (308, "./respool/")
    page = ask(view, "/site/respool/", "/")
    assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Shop: databases</title>" in page.content
    assert shown(ask(view, "/site/respool/live", "/live").content) == ["default"]
    refused = dashboard_view(db, authorize=lambda request: request.raw.path != "/site/respool/live")
    assert ask(refused, "/site/respool/live", "/live").status_code == 403
    assert ask(refused, "/site/respool/", "/").status_code == 200
