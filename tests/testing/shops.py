"""The same small shop in each framework: one route that writes and one that reads, and its own test client."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select

from respool import AsyncDatabase, AsyncSession, Database
from tests.testing.models import Product

__all__ = ["SHOPS", "Client"]

#: Asks a shop: method and path in, status and body out.
Client = Callable[[str, str], tuple[int, Any]]
_ALL = select(Product.id).order_by(Product.id)


@contextmanager
def fastapi(db: AsyncDatabase[Any]) -> Iterator[Client]:
    from fastapi import Depends, FastAPI
    from fastapi.testclient import TestClient

    from respool.web.fastapi import install, session_of

    app = FastAPI()
    install(app, db)
    given: Any = Depends(session_of(db))

    @app.post("/{number}")
    async def add(number: int, session: AsyncSession = given) -> int:
        session.add(Product(id=number))
        return number

    @app.get("/")
    async def all_of_them(session: AsyncSession = given) -> list[int]:
        return list(await session.scalars(_ALL))

    with TestClient(app, raise_server_exceptions=False) as client:
        yield _by_request(client)


@contextmanager
def fastapi_without_lifespan(db: AsyncDatabase[Any]) -> Iterator[Client]:
    """A loop for each request."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from respool.web.fastapi import install

    app = FastAPI()
    install(app, db)

    @app.post("/{number}")
    async def add(number: int) -> int:
        db.session.add(Product(id=number))
        return number

    @app.get("/")
    async def all_of_them() -> list[int]:
        return list(await db.session.scalars(_ALL))

    yield _by_request(TestClient(app, raise_server_exceptions=False))


@contextmanager
def fastapi_in_threads(db: Database[Any]) -> Iterator[Client]:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from respool.web.fastapi import install

    app = FastAPI()
    install(app, db)

    @app.post("/{number}")
    def add(number: int) -> int:
        db.session.add(Product(id=number))
        return number

    @app.get("/")
    def all_of_them() -> list[int]:
        return list(db.session.scalars(_ALL))

    with TestClient(app, raise_server_exceptions=False) as client:
        yield _by_request(client)


@contextmanager
def starlette(db: AsyncDatabase[Any]) -> Iterator[Client]:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from respool.web.starlette import install

    async def add(request: Request) -> JSONResponse:
        db.session.add(Product(id=request.path_params["number"]))
        return JSONResponse(request.path_params["number"])

    async def all_of_them(request: Request) -> JSONResponse:
        return JSONResponse(list(await db.session.scalars(_ALL)))

    app = Starlette(routes=[Route("/{number:int}", add, methods=["POST"]), Route("/", all_of_them)])
    install(app, db)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield _by_request(client)


@contextmanager
def litestar(db: AsyncDatabase[Any]) -> Iterator[Client]:
    from litestar import Litestar, Request, get, post
    from litestar.testing import TestClient

    from respool.web.litestar import install

    @post("/{number:int}", status_code=200)
    async def add(request: Request[Any, Any, Any]) -> int:
        number: int = request.path_params["number"]
        db.session.add(Product(id=number))
        return number

    @get("/")
    async def all_of_them() -> list[int]:
        return list(await db.session.scalars(_ALL))

    app = Litestar([add, all_of_them])
    install(app, db)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield _by_request(client)


@contextmanager
def quart(db: AsyncDatabase[Any]) -> Iterator[Client]:
    from quart import Quart, jsonify

    from respool.web.quart import install

    app = Quart("shop")
    install(app, db)

    @app.post("/<int:number>")
    async def add(number: int) -> Any:
        db.session.add(Product(id=number))
        return jsonify(number)

    @app.get("/")
    async def all_of_them() -> Any:
        return jsonify(list(await db.session.scalars(_ALL)))

    with asyncio.Runner() as runner:

        def ask(method: str, path: str) -> tuple[int, Any]:
            answer = runner.run(_opened(app.test_client(), path, method))
            return answer.status_code, runner.run(_json_of(answer))

        yield ask


async def _opened(client: Any, path: str, method: str) -> Any:
    return await client.open(path, method=method)


async def _json_of(answer: Any) -> Any:
    return await answer.get_json(silent=True)


@contextmanager
def flask(db: Database[Any]) -> Iterator[Client]:
    from flask import Flask, jsonify

    from respool.web.flask import install

    app = Flask("shop")
    install(app, db)

    @app.post("/<int:number>")
    def add(number: int) -> Any:
        db.session.add(Product(id=number))
        return jsonify(number)

    @app.get("/")
    def all_of_them() -> Any:
        return jsonify(list(db.session.scalars(_ALL)))

    client = app.test_client()

    def ask(method: str, path: str) -> tuple[int, Any]:
        answer = client.open(path, method=method)
        return answer.status_code, answer.get_json(silent=True)

    yield ask


@contextmanager
def django(db: Database[Any]) -> Iterator[Client]:
    """By the settings: Django's client does not ask the application, but its handler."""
    from django.http import HttpRequest, JsonResponse
    from django.test import Client as DjangoClient
    from django.test import override_settings
    from django.urls import path

    import tests.web.stands.django  # noqa: F401 - there are settings after that, one for the process

    def add(request: HttpRequest, number: int) -> JsonResponse:
        db.session.add(Product(id=number))
        return JsonResponse(number, safe=False)

    def all_of_them(request: HttpRequest) -> JsonResponse:
        return JsonResponse(list(db.session.scalars(_ALL)), safe=False)

    urls = types.ModuleType("shop_urls")
    vars(urls).update(urlpatterns=[path("<int:number>", add), path("", all_of_them)], db=db)
    sys.modules["shop_urls"] = urls
    try:
        with override_settings(
            ROOT_URLCONF="shop_urls",
            MIDDLEWARE=["respool.web.django.RequestScopeMiddleware"],
            RESPOOL_DATABASES=["shop_urls.db"],
        ):
            client = DjangoClient(raise_request_exception=False)

            def ask(method: str, where: str) -> tuple[int, Any]:
                answer = client.generic(method, where)
                return answer.status_code, answer.json() if answer.status_code == 200 else None

            yield ask
    finally:
        del sys.modules["shop_urls"]


@contextmanager
def falcon(db: Database[Any]) -> Iterator[Client]:
    import falcon as falcon_
    from falcon.testing import TestClient

    from respool.web.falcon import install

    class Products:
        def on_post(self, request: Any, response: Any, number: int) -> None:
            db.session.add(Product(id=number))
            response.media = number

        def on_get_all(self, request: Any, response: Any) -> None:
            response.media = list(db.session.scalars(_ALL))

    app = falcon_.App()
    app.add_route("/{number:int}", Products())
    app.add_route("/", Products(), suffix="all")
    install(app, db)
    yield _falcon(TestClient(app))


@contextmanager
def falcon_async(db: AsyncDatabase[Any]) -> Iterator[Client]:
    import falcon.asgi
    from falcon.testing import TestClient

    from respool.web.falcon import install

    class Products:
        async def on_post(self, request: Any, response: Any, number: int) -> None:
            db.session.add(Product(id=number))
            response.media = number

        async def on_get_all(self, request: Any, response: Any) -> None:
            response.media = list(await db.session.scalars(_ALL))

    app = falcon.asgi.App()
    app.add_route("/{number:int}", Products())
    app.add_route("/", Products(), suffix="all")
    install(app, db)
    yield _falcon(TestClient(app))


def _by_request(client: Any) -> Client:
    def ask(method: str, path: str) -> tuple[int, Any]:
        answer = client.request(method, path)
        return answer.status_code, answer.json() if answer.status_code == 200 else None

    return ask


def _falcon(client: Any) -> Client:
    def ask(method: str, path: str) -> tuple[int, Any]:
        answer = client.simulate_request(method, path)
        return answer.status_code, answer.json if answer.status_code == 200 else None

    return ask


#: By name: the shop, and whether its database is for asyncio.
SHOPS: dict[str, tuple[Any, bool]] = {
    "fastapi": (fastapi, True),
    "fastapi, no lifespan": (fastapi_without_lifespan, True),
    "fastapi, threads": (fastapi_in_threads, False),
    "starlette": (starlette, True),
    "litestar": (litestar, True),
    "quart": (quart, True),
    "flask": (flask, False),
    "django": (django, False),
    "falcon": (falcon, False),
    "falcon, asgi": (falcon_async, True),
}
