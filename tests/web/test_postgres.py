"""The status is true on a real PostgreSQL: a deferred foreign key fails at COMMIT, and a COMMIT that is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.exc import IntegrityError

from respool.errors import CommitOutcomeUnknown
from respool.web import asgi, fastapi, flask, wsgi
from tests.session.shop import Order, acquired, count, fill, opened, opened_async
from tests.support.postgres import PostgresServer
from tests.web.clients import Answer, call_asgi, call_wsgi

#: Opens a shop at a URL, and posts an order of a product there.
Post = Callable[[int], Any]


@asynccontextmanager
async def fastapi_async(url: str, driver: str) -> AsyncIterator[tuple[Any, Post]]:
    async with opened_async(url.replace("+psycopg:", f"+{driver}:"), commit="on_success") as db:
        app = FastAPI()
        fastapi.install(app, db)

        @app.post("/orders/{product_id}", status_code=201)
        async def order(product_id: int) -> dict[str, int]:
            order = Order(product_id=product_id)
            db.session.add(order)
            await db.session.flush()
            return {"id": order.id}

        async def post(product_id: int) -> Answer:
            return await call_asgi(app, f"/orders/{product_id}", "POST", probe=lambda: acquired(db))

        yield db, post


@asynccontextmanager
async def fastapi_sync(url: str, driver: str) -> AsyncIterator[tuple[Any, Post]]:
    with opened(url, commit="on_success") as db:
        app = FastAPI()
        fastapi.install(app, db)

        @app.post("/orders/{product_id}", status_code=201)
        def order(product_id: int) -> dict[str, int]:
            order = Order(product_id=product_id)
            db.session.add(order)
            db.session.flush()
            return {"id": order.id}

        async def post(product_id: int) -> Answer:
            return await call_asgi(app, f"/orders/{product_id}", "POST", probe=lambda: acquired(db))

        yield db, post


@asynccontextmanager
async def flask_sync(url: str, driver: str) -> AsyncIterator[tuple[Any, Post]]:
    with opened(url, commit="on_success") as db:
        app = Flask("shop")
        flask.install(app, db)

        @app.post("/orders/<int:product_id>")
        def order(product_id: int) -> tuple[dict[str, int], int]:
            order = Order(product_id=product_id)
            db.session.add(order)
            db.session.flush()
            return {"id": order.id}, 201

        async def post(product_id: int) -> Answer:
            return call_wsgi(app, f"/orders/{product_id}", "POST", probe=lambda: acquired(db))

        yield db, post


@asynccontextmanager
async def bare_asgi(url: str, driver: str) -> AsyncIterator[tuple[Any, Post]]:
    async with opened_async(url.replace("+psycopg:", f"+{driver}:"), commit="on_success") as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db.session.add(Order(product_id=int(scope["path"][1:])))
            await db.session.flush()
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": b"thanks"})

        middleware = asgi.RequestScopeMiddleware(app, db)

        async def post(product_id: int) -> Answer:
            return await call_asgi(middleware, f"/{product_id}", "POST", probe=lambda: acquired(db))

        yield db, post


@asynccontextmanager
async def bare_wsgi(url: str, driver: str) -> AsyncIterator[tuple[Any, Post]]:
    with opened(url, commit="on_success") as db:

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            db.session.add(Order(product_id=int(environ["PATH_INFO"][1:])))
            db.session.flush()
            start_response("201 Created", [])
            yield b"thanks"

        middleware = wsgi.RequestScopeMiddleware(app, db)

        async def post(product_id: int) -> Answer:
            return call_wsgi(middleware, f"/{product_id}", "POST", probe=lambda: acquired(db))

        yield db, post


KINDS = [
    pytest.param(fastapi_async, "psycopg", id="fastapi-psycopg-async"),
    pytest.param(fastapi_async, "asyncpg", id="fastapi-asyncpg"),
    pytest.param(fastapi_sync, "psycopg", id="fastapi-psycopg-sync"),
    pytest.param(flask_sync, "psycopg", id="flask-psycopg"),
    pytest.param(bare_asgi, "psycopg", id="asgi-psycopg"),
    pytest.param(bare_asgi, "asyncpg", id="asgi-asyncpg"),
    pytest.param(bare_wsgi, "psycopg", id="wsgi-psycopg"),
]


@pytest.mark.parametrize("kind, driver", KINDS)
async def test_promise_03_a_commit_that_fails_is_no_success(pg_url: str, kind: Any, driver: str) -> None:
    fill(pg_url)
    async with kind(pg_url, driver) as (db, post):
        bad = await post(999)
        assert bad.status == 500
        assert bad.at_start in (0, None)
        if bad.error is not None:
            assert isinstance(bad.error, IntegrityError)
        assert count(pg_url) == 0
        good = await post(1)
        assert (good.status, good.at_start, good.error) == (201, 0, None)
        assert count(pg_url) == 1
        assert (acquired(db), db.scopes()) == (0, ())


@pytest.mark.parametrize("kind, driver", KINDS)
async def test_promise_04_a_commit_that_is_cut_off_is_an_unknown_outcome(pg_url: str, kind: Any, driver: str) -> None:
    fill(pg_url)
    # A trigger at COMMIT that ends its own connection: no answer will come, whatever became of the data.
    with create_engine(pg_url).begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER hangs_up AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW WHEN (NEW.product_id = 1) EXECUTE FUNCTION hang_up()"
            )
        )
    connection.engine.dispose()
    async with kind(pg_url, driver) as (db, post):
        seen: list[BaseException | None] = []

        @event.listens_for(getattr(db.engine, "sync_engine", db.engine), "handle_error")
        def _(context: Any) -> None:
            seen.append(context.chained_exception)

        done = await post(1)
        assert done.status == 500
        assert isinstance(seen[0], CommitOutcomeUnknown)
        assert isinstance(done.error, CommitOutcomeUnknown) or kind is flask_sync
        assert (acquired(db), db.scopes()) == (0, ())


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_07_a_request_cancelled_in_a_query_leaves_nothing_behind(
    postgres: PostgresServer, pg_url: str, driver: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await db.session.execute(text("SELECT pg_sleep(60)"))

    async with opened_async(pg_url.replace("+psycopg:", f"+{driver}:")) as db:
        request = asyncio.create_task(call_asgi(asgi.RequestScopeMiddleware(app, db)))
        while not await asyncio.to_thread(postgres.sleeps, str(make_url(pg_url).database)):
            assert not request.done()
        assert acquired(db) == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert db.scopes() == ()
        while acquired(db):  # the server is told to stop the query: the pool keeps the connection to itself meanwhile
            await asyncio.sleep(0)
