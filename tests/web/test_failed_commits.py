"""A commit that failed, in the log: the request, its handler, and the line that asked for the session."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Depends, FastAPI
from flask import Flask
from litestar import Litestar, post
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from respool.web import fastapi, flask, litestar, starlette
from respool.web.asgi import RequestScopeMiddleware
from tests.session.shop import Order, count, opened, opened_async
from tests.web.clients import call_asgi, call_wsgi

NOBODY = 77
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
    assert "the commit of request POST /sell, whose session was first asked for at tests" in told
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
