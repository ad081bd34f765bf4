"""An end whose caller is cancelled meanwhile, by a timeout say: no failure is silent, and no answer untrue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.routing import Mount

from respool.ending.aio import end_async, in_greenlet
from respool.ending.end import End, Step
from respool.errors import CommitOutcomeUnknown
from respool.web.asgi import RequestScopeMiddleware
from respool.web.starlette import install
from tests.session.shop import Order, acquired, count, opened_async
from tests.web.clients import call_asgi

REFUSED = 999


@asynccontextmanager
async def committing(url: str, product_id: int) -> AsyncIterator[tuple[Any, Any, Any]]:
    """A scope with a change that is about to be committed, its database, and a gate before its last step."""
    async with opened_async(url, commit="on_success") as db:
        scope = db.new_scope("cancelled")
        scope.enter()
        db.session.add(Order(product_id=product_id))
        await db.session.flush()
        yield db, scope, Gate()
        scope.leave()
        assert (acquired(db), db.scopes()) == (0, ())


class Gate:
    """Runs steps, each when it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def perform(self, step: Step) -> Any:
        self.reached.set()
        await self.opened.wait()
        return await in_greenlet(step)


async def test_promise_04_a_refused_commit_is_told_though_its_caller_is_cancelled(
    async_shop_url: str, shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with committing(async_shop_url, REFUSED) as (_, scope, gate):
        ending = asyncio.create_task(end_async(End([scope], 200), gate.perform))
        await gate.reached.wait()
        ending.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await ending
    assert isinstance(cancelled.value.__cause__, IntegrityError)
    assert "scope 'cancelled'" not in caplog.text  # a request has no such title
    assert "request cancelled: its end failed while it was cancelled" in caplog.text
    assert "FOREIGN KEY" in caplog.text
    assert count(shop_url) == 0


async def test_promise_04_a_commit_past_its_deadline_is_told_though_its_caller_is_cancelled(
    async_shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with committing(async_shop_url, 1) as (_, scope, gate):
        ending = asyncio.create_task(end_async(End([scope], 200), gate.perform, deadline=0.01))
        await gate.reached.wait()
        ending.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await ending
    assert isinstance(cancelled.value.__cause__, CommitOutcomeUnknown)
    assert "took longer than 0.01 s" in caplog.text


async def test_a_commit_that_succeeds_is_no_failure_of_a_cancelled_caller(
    async_shop_url: str, shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with committing(async_shop_url, 1) as (_, scope, gate):
        end = End([scope], 200)
        ending = asyncio.create_task(end_async(end, gate.perform))
        await gate.reached.wait()
        ending.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await ending
    assert (cancelled.value.__cause__, end.failure, end.saved, count(shop_url)) == (None, None, True, 1)
    assert "failed" not in caplog.text


# -- a timeout inside of the middleware --------------------------------------------------------------------------------

Then = Callable[[Any], Awaitable[None]]


async def answer(send: Any, status: int, body: bytes = b"ok") -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


def in_starlette(app: Any, db: Any) -> Any:
    """The application within Starlette's stack, where the end is further in than our middleware."""
    around = Starlette(routes=[Mount("/", app=app)])
    install(around, db)
    return around


WHEREVER = pytest.mark.parametrize("serve", [RequestScopeMiddleware, in_starlette])


async def timed_out(
    url: str, product_id: int, then: Then, monkeypatch: pytest.MonkeyPatch, serve: Any = RequestScopeMiddleware
) -> Any:
    """What a client gets where the application gives up on its own answer while that waits for its COMMIT."""
    gate = Gate()
    monkeypatch.setattr("respool.web.rules.scopes.perform", gate.perform)

    async with opened_async(url, commit="on_success") as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db.session.add(Order(product_id=product_id))
            await db.session.flush()
            answering = asyncio.create_task(answer(send, 200))
            await gate.reached.wait()
            answering.cancel()
            await asyncio.sleep(0)
            gate.opened.set()
            await asyncio.wait({answering})
            assert answering.cancelled()
            await then(send)

        told = await call_asgi(serve(app, db), "/orders", "POST")
        assert (acquired(db), db.scopes()) == (0, ())
        return told


@WHEREVER
async def test_promise_03_an_error_after_a_commit_that_was_interrupted_says_so(
    async_shop_url: str, shop_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, serve: Any
) -> None:
    told = await timed_out(async_shop_url, 1, lambda send: answer(send, 504, b"too late"), monkeypatch, serve)
    assert (told.status, told.body) == (504, b"too late")
    assert told.messages[0]["headers"] == [(b"respool-saved", b"yes")]
    assert caplog.text.count("request POST /orders: ended with 504 after its COMMIT had succeeded") == 1
    assert count(shop_url) == 1


async def test_promise_03_a_success_after_a_commit_that_was_interrupted_is_true(
    async_shop_url: str, shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await timed_out(async_shop_url, 1, lambda send: answer(send, 202, b"in short"), monkeypatch)
    assert (told.status, told.body, told.headers) == (202, b"in short", {})
    assert count(shop_url) == 1


async def test_promise_03_an_error_after_a_commit_that_failed_and_was_interrupted_says_nothing_of_it(
    async_shop_url: str, shop_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = await timed_out(async_shop_url, REFUSED, lambda send: answer(send, 504), monkeypatch)
    assert (told.status, told.headers) == (504, {})
    assert "FOREIGN KEY" in caplog.text
    assert count(shop_url) == 0


async def test_promise_03_a_success_after_a_commit_that_failed_and_was_interrupted_is_none(
    async_shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure itself is what the server is told."""
    told = await timed_out(async_shop_url, REFUSED, lambda send: answer(send, 202), monkeypatch)
    assert (told.status, type(told.error)) == (500, IntegrityError)


@WHEREVER
async def test_promise_03_no_answer_after_a_commit_that_was_interrupted_is_a_504_that_says_so(
    async_shop_url: str, shop_url: str, monkeypatch: pytest.MonkeyPatch, serve: Any
) -> None:
    async def nothing(send: Any) -> None:
        await send({"type": "http.response.body", "body": b"the rest of an answer that never began"})

    told = await timed_out(async_shop_url, 1, nothing, monkeypatch, serve)
    assert (told.status, told.headers["respool-saved"], count(shop_url)) == (504, "yes", 1)


async def test_promise_03_an_error_of_the_application_after_a_commit_that_was_interrupted_is_logged(
    async_shop_url: str, shop_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(send: Any) -> None:
        raise TimeoutError

    told = await timed_out(async_shop_url, 1, fail, monkeypatch)
    assert (told.status, count(shop_url)) == (500, 1)
    assert "ended with TimeoutError after its COMMIT had succeeded" in caplog.text
