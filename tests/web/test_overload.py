"""A request that gets no connection: 503 with ``Retry-After``, where nothing else was answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.exceptions import HTTPException

from respool import PoolConfig
from respool.errors import CallerGone, PoolQueueFull, PoolTimeout
from respool.web import asgi, wsgi
from respool.web.flask import install as install_in_flask
from respool.web.rules.overload import refusal, speaks_json
from tests.session.shop import Order, count, fill, opened
from tests.web.clients import Answer, call_asgi, call_wsgi
from tests.web.contract import FULL, Place, held
from tests.web.stands import ALL
from tests.web.stands.base import ServerStand, Stand, WSGIStand

NONE_LEFT = PoolConfig(max_size=1, timeout=0.01)


@pytest.mark.parametrize(
    "error, status, retry",
    [
        (PoolTimeout("", timeout=0.01), 503, "1"),
        (PoolTimeout("", timeout=4.2), 503, "5"),
        (PoolTimeout("", timeout=300.0), 503, "30"),
        (PoolQueueFull("", max_waiting=1), 503, "1"),
        (CallerGone(""), 499, None),
    ],
)
def test_what_is_answered(error: Exception, status: int, retry: str | None) -> None:
    answer = refusal(error)
    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry)


def test_the_error_is_told_in_the_log_and_not_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    answer = refusal(PoolTimeout("no connection from pool 'secret'", timeout=1.0, advice=["do this"]))
    assert "secret" not in answer.text
    assert [(record.name, record.levelno) for record in caplog.records] == [("respool.web", logging.WARNING)]
    assert "do this" in caplog.text


async def test_asgi_answers_a_flush_that_gets_no_connection_at_the_end(shop_url: str) -> None:
    with opened(shop_url, pool=NONE_LEFT, commit="on_success") as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db.session.add(Order(product_id=1))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"thanks"})

        with db.engine.connect():
            answer = await call_asgi(asgi.RequestScopeMiddleware(app, db))
        assert (answer.status, answer.headers["retry-after"], answer.error) == (503, "1", None)
    assert count(shop_url) == 0


def test_wsgi_answers_a_flush_that_gets_no_connection_at_the_end(shop_url: str) -> None:
    with opened(shop_url, pool=NONE_LEFT, commit="on_success") as db:

        def app(environ: Any, start_response: Any) -> list[bytes]:
            db.session.add(Order(product_id=1))
            start_response("200 OK", [])
            return [b"thanks"]

        with db.engine.connect():
            answer = call_wsgi(wsgi.RequestScopeMiddleware(app, db))
        assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "1", b"Service Unavailable")
    assert count(shop_url) == 0


def test_wsgi_answers_for_an_application_that_is_a_generator(shop_url: str) -> None:
    with opened(shop_url, pool=NONE_LEFT) as db:

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            db.session.execute(text("SELECT 1"))
            start_response("200 OK", [])
            yield b"thanks"

        with db.engine.connect():
            answer = call_wsgi(wsgi.RequestScopeMiddleware(app, db))
        assert (answer.status, answer.body) == (503, b"Service Unavailable")


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_an_answer_that_has_begun_is_not_followed_by_another(shop_url: str, kind: str) -> None:
    with opened(shop_url, pool=NONE_LEFT) as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            with db.scope("export") as session:
                session.execute(text("SELECT 1"))

        def twin(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"begun"
            with db.scope("export") as session:
                session.execute(text("SELECT 1"))

        with db.engine.connect():
            if kind == "asgi":
                answer = await call_asgi(asgi.RequestScopeMiddleware(app, db))
            else:
                answer = call_wsgi(wsgi.RequestScopeMiddleware(twin, db))
        assert answer.status == 200
        assert isinstance(answer.error, PoolTimeout)


# -- JSON where that is spoken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept, otherwise, spoken",
    [
        ("", False, False),
        ("", True, True),
        ("*/*", False, False),
        ("*/*", True, True),
        ("application/json", False, True),
        ("application/json, text/plain, */*", False, False),
        ("application/json, text/plain, */*", True, True),
        ("application/json, text/html;q=0.5", False, True),
        ("application/vnd.shop+json", False, True),
        ("application/problem+json;q=0.9, */*;q=0.1", False, True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True, False),
        ("text/html, application/json;q=0.9", True, False),
        ("text/plain", True, False),
        ("application/json;q=nonsense", False, False),
        ("APPLICATION/JSON", False, True),
    ],
)
def test_who_is_answered_json(accept: str, otherwise: bool, spoken: bool) -> None:
    assert speaks_json(accept, otherwise) is spoken
    answer = refusal(CallerGone(""), accept, json=otherwise)
    assert answer.content_type.partition(";")[0] == ("application/json" if spoken else "text/plain")
    assert answer.body == ('{"detail": "Client Closed Request"}' if spoken else "Client Closed Request")


#: The frameworks that answer errors in JSON by themselves, to a client that accepts anything.
SPEAK_JSON = ("fastapi", "litestar", "falcon")


async def ask(stand: Any, accept: str) -> Answer:
    """A request that needs a connection, by a client that says what it accepts."""
    if isinstance(stand, ServerStand):
        import aiohttp

        async with aiohttp.ClientSession(headers={"Accept": accept}) as client:
            async with client.post(f"http://127.0.0.1:{stand.port}/do/flushed/1") as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(status=response.status, body=await response.read(), headers=headers)
    if isinstance(stand, WSGIStand):

        def app(environ: Any, start_response: Any) -> Any:
            environ["HTTP_ACCEPT"] = accept
            return stand.app(environ, start_response)

        return await asyncio.to_thread(call_wsgi, app, "/do/flushed/1", "POST")
    headers = {"headers": [(b"host", b"test"), (b"accept", accept.encode())]}
    return await call_asgi(stand.app, "/do/flushed/1", "POST", scope=headers)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.title())
async def test_the_503_of_each_framework(shop_url: str, tmp_path: Path, kind: type[Stand]) -> None:
    fill(other_url := f"sqlite:///{tmp_path / 'other.db'}")
    async with Place(kind, shop_url, other_url).open(pool=FULL) as stand, held(stand.db):
        for accept in ("*/*", "application/json", "text/html"):
            answer = await ask(stand, accept)
            spoken = "json" in accept or (accept == "*/*" and kind.__module__.rpartition(".")[2] in SPEAK_JSON)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert ("json" in answer.headers["content-type"]) is spoken, (accept, answer)
            assert b"Service Unavailable" in answer.body


@pytest.mark.parametrize("framework", ["flask", "quart"])
async def test_the_applications_own_page_for_503(shop_url: str, framework: str) -> None:
    package: Any = import_module(framework)
    module: Any = import_module(f"respool.web.{framework}")
    app = getattr(package, framework.capitalize())("shop")

    def own(error: Any) -> Any:
        return {"message": error.name}, error.code

    app.register_error_handler(HTTPException, own)
    with opened(shop_url, pool=NONE_LEFT) as db:
        module.install(app, db)

        @app.get("/")
        def page() -> str:
            return str(db.session.scalar(text("SELECT 1")))

        with db.engine.connect():
            if framework == "flask":
                answer = call_wsgi(app)
            else:
                answer = await call_asgi(app)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.body) == {"message": "Service Unavailable"}


def test_a_handler_for_all_exceptions_does_not_make_it_something_else(shop_url: str) -> None:
    app = Flask("shop")
    app.register_error_handler(Exception, lambda error: ("oh", 500))
    with opened(shop_url, pool=NONE_LEFT) as db:
        install_in_flask(app, db)
        app.add_url_rule("/", view_func=lambda: str(db.session.scalar(text("SELECT 1"))))
        with db.engine.connect():
            answer = call_wsgi(app)
    assert (answer.status, answer.body) == (503, b"Service Unavailable")
