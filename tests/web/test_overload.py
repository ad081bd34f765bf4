"""A request that gets no connection: 503 with ``Retry-After``, where nothing else was answered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from respool import PoolConfig
from respool.errors import CallerGone, PoolQueueFull, PoolTimeout
from respool.web import asgi, wsgi
from respool.web.overload import refusal
from tests.session.shop import Order, count, opened
from tests.web.clients import call_asgi, call_wsgi

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
            with db.scope("export") as session:
                session.execute(text("SELECT 1"))
            yield b""

        with db.engine.connect():
            if kind == "asgi":
                answer = await call_asgi(asgi.RequestScopeMiddleware(app, db))
            else:
                answer = call_wsgi(wsgi.RequestScopeMiddleware(twin, db))
        assert answer.status == 200
        assert isinstance(answer.error, PoolTimeout)
