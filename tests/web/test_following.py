"""What follows a request's commit, and works beside it: hooks, units and children, under both middlewares."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from respool import Database
from respool.errors import RollbackOnly
from respool.web.asgi import RequestScopeMiddleware
from respool.web.wsgi import RequestScopeMiddleware as WSGIMiddleware
from tests.session.shop import Order, Product, acquired, count, opened_async
from tests.web.clients import call_asgi

START: dict[str, Any] = {"type": "http.response.start", "headers": []}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b"ok"}


def fail() -> None:
    raise LookupError("on purpose")


@pytest.mark.parametrize("status, told", [(200, "committed"), (500, "rolled back")])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_promise_03_hooks_run_between_the_commit_and_the_answer(
    db: Database, shop_url: str, async_shop_url: str, kind: str, status: int, told: str
) -> None:
    """A hook that fails takes nothing back: the answer is as true as before."""
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = database.session
        session.add(Order(product_id=1))
        session.on_commit(lambda: order.append(f"committed: {count(shop_url)} saved, {acquired(database)} out"))
        session.on_rollback(lambda: order.append(f"rolled back: {count(shop_url)} saved, {acquired(database)} out"))
        session.on_commit(fail)
        await send({**START, "status": status})
        order.append("answered")
        await send(BODY)

    async with opened_async(async_shop_url, name="async", commit="on_success") as adb:
        database: Any = db if kind == "sync" else adb
        answer = await call_asgi(RequestScopeMiddleware(app, database), "/")
        assert (answer.status, acquired(database), database.scopes()) == (status, 0, ())
    assert order == [f"{told}: {1 if status == 200 else 0} saved, 0 out", "answered"]


def test_hooks_run_before_the_answer_starts(db: Database, shop_url: str) -> None:
    order: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=1))
        db.session.on_commit(lambda: order.append(f"{count(shop_url)} saved"))
        db.session.on_commit(fail)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    def start(status: str, *args: Any) -> Any:
        order.append(status)
        return None

    assert list(WSGIMiddleware(app, db)({"REQUEST_METHOD": "POST", "PATH_INFO": "/"}, start)) == [b"ok"]
    assert order == ["1 saved", "200 OK"]


async def test_promise_03_half_of_the_work_is_never_a_success(async_shop_url: str, shop_url: str) -> None:
    """A service that failed, in a handler that goes on: the unit around refuses, and the answer is the error's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with db.session.unit():
            db.session.add(Order(product_id=1))
            try:
                async with db.session.unit():
                    raise LookupError
            except LookupError:
                pass
        await send({**START, "status": 200})
        await send(BODY)

    async with opened_async(async_shop_url, commit="on_success") as db:
        answer = await call_asgi(RequestScopeMiddleware(app, db), "/")
        assert answer.status != 200
        assert isinstance(answer.error, RollbackOnly)
        assert (count(shop_url), acquired(db)) == (0, 0)


async def test_promise_07_a_task_in_a_child_does_not_keep_the_request_from_ending(async_shop_url: str) -> None:
    there, go = asyncio.Event(), asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def beside(session: Any) -> None:
        async with session.fork("beside") as child:
            await child.get(Product, 1)
            there.set()
            await go.wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        names = await db.gather(*[lambda child: child.get_one(Product, 1)] * 4)
        assert {product.name for product in names} == {"tea"}
        left.append(asyncio.create_task(beside(db.session)))
        await there.wait()
        await send({**START, "status": 200})
        await send(BODY)

    async with opened_async(async_shop_url, commit="on_success", begin="on_use") as db:
        answer = await call_asgi(RequestScopeMiddleware(app, db), "/")
        assert (answer.status, acquired(db), db.scopes()) == (200, 0, ())
        go.set()
        await left[0]
        assert acquired(db) == 0
