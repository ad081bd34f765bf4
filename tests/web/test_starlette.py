"""Starlette by itself: ``install``, and its handlers."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from respool import Database
from respool.errors import ConfigError
from respool.web.starlette import install
from tests.session.shop import Order, count
from tests.web.clients import call_asgi


def shop(db: Database, **keywords: Any) -> Starlette:
    async def order(request: Any) -> PlainTextResponse:
        db.session.add(Order(product_id=int(request.path_params["product_id"])))
        return PlainTextResponse("thanks")

    async def refused(request: Any) -> None:
        db.session.add(Order(product_id=1))
        raise HTTPException(403)

    routes = [Route("/orders/{product_id}", order), Route("/refused", refused)]
    app = Starlette(routes=[*routes, Mount("/mounted", routes=routes)], **keywords)
    install(app, db)
    return app


@pytest.mark.parametrize("path", ["/orders/1", "/mounted/orders/1"])
async def test_a_success_is_saved(db: Database, shop_url: str, path: str) -> None:
    assert (await call_asgi(shop(db), path)).body == b"thanks"
    assert count(shop_url) == 1


@pytest.mark.parametrize("path", ["/refused", "/mounted/refused"])
async def test_a_refusal_is_not(db: Database, shop_url: str, path: str) -> None:
    assert (await call_asgi(shop(db), path)).status == 403
    assert count(shop_url) == 0


@pytest.mark.parametrize("path", ["/orders/999", "/mounted/orders/999"])
async def test_promise_03_a_failed_commit_is_answered_by_the_registered_handler(db: Database, path: str) -> None:
    def conflict(request: Any, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("no such product", 409)

    plain = await call_asgi(shop(db), path)
    assert (plain.status, type(plain.error)) == (500, IntegrityError)
    handled = await call_asgi(shop(db, exception_handlers={IntegrityError: conflict}), path)
    assert (handled.status, handled.body, handled.error) == (409, b"no such product", None)


def test_a_database_is_installed_once(db: Database) -> None:
    app = shop(db)
    with pytest.raises(ConfigError, match="installed in this application already"):
        install(app, db)
