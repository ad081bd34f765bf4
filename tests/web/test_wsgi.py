"""The WSGI middleware around bare applications: the twin of ``test_asgi.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
import sqlalchemy as sa

from respool import Database
from respool.errors import ConfigError, NoScope, ScopeEnded, UncommittedChanges
from respool.web.rules.scopes import ENVIRON_KEY
from respool.web.wsgi import RequestScopeMiddleware
from tests.session.shop import Order, Product, acquired, count, opened, opened_async
from tests.web.clients import call_wsgi

TEXT = [("Content-Type", "text/plain")]


def order_app(db: Database, status: str = "200 OK", product_id: int = 1) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=product_id))
        start_response(status, TEXT)
        return [b"ok"]

    return RequestScopeMiddleware(app, db)


@pytest.mark.parametrize("status, saved", [("200 OK", 1), ("303 See Other", 1), ("400 Bad", 0), ("500 Oops", 0)])
def test_on_success_commits_below_400(db: Database, shop_url: str, status: str, saved: int) -> None:
    done = call_wsgi(order_app(db, status), probe=lambda: acquired(db))
    assert (done.status, done.at_start, done.body) == (int(status[:3]), 0, b"ok")
    assert count(shop_url) == saved
    assert db.scopes() == ()


def test_the_protocol_is_kept(db: Database) -> None:
    done = call_wsgi(validator(RequestScopeMiddleware(validator(order_app(db)), db)))
    assert (done.status, done.error) == (200, None)


def test_promise_01_one_request_has_one_session(db: Database) -> None:
    sessions: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert environ[ENVIRON_KEY]["default"].label == "GET /a/b"
        sessions.extend([db.session, db.session])
        start_response("200 OK", TEXT)
        return []

    middleware = RequestScopeMiddleware(app, db)
    call_wsgi(middleware, "/a/b")
    call_wsgi(middleware, "/a/b")
    assert sessions[0] is sessions[1]
    assert sessions[1] is not sessions[2]
    with pytest.raises(NoScope):
        db.session


def test_promise_03_a_failed_commit_is_never_a_success(db: Database, shop_url: str) -> None:
    done = call_wsgi(order_app(db, product_id=999))
    assert done.status == 500
    assert "FOREIGN KEY" in str(done.error)
    assert done.body == b""
    assert count(shop_url) == 0
    assert acquired(db) == 0


@pytest.mark.parametrize("again", ["", "200 OK"])
def test_promise_03_a_failed_commit_that_is_swallowed_is_no_success_either(db: Database, again: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=999))
        for status in filter(None, ("200 OK", again)):
            try:
                start_response(status, TEXT)
            except Exception:
                pass
        return [b"all is well"]

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert (done.status, done.body) == (500, b"")
    assert "FOREIGN KEY" in str(done.error)


def test_promise_03_an_error_page_of_the_applications_own_is_let_through(db: Database) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Product(id=1, name="there already"))
        try:
            start_response("201 Created", TEXT)
        except Exception:
            start_response("409 Conflict", TEXT, sys.exc_info())
        return [b"no such product"]

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert (done.status, done.body, done.error) == (409, b"no such product", None)


def test_an_answer_with_exc_info_saves_nothing(db: Database, shop_url: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=1))
        try:
            raise LookupError
        except LookupError:
            start_response("200 OK", TEXT, sys.exc_info())
        return []

    assert call_wsgi(RequestScopeMiddleware(app, db)).status == 200
    assert count(shop_url) == 0


def test_an_exception_rolls_back_and_goes_on(db: Database, shop_url: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise LookupError("on purpose")

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert isinstance(done.error, LookupError)
    assert count(shop_url) == 0
    assert (acquired(db), db.scopes()) == (0, ())


@pytest.mark.parametrize("product_id, status, saved", [(1, 200, 1), (999, 500, 0)])
def test_a_generator_application_has_its_session_too(
    db: Database, shop_url: str, product_id: int, status: int, saved: int
) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        db.session.add(Order(product_id=product_id))
        start_response("200 OK", TEXT)
        yield b"one "
        yield b"two"

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert (done.status, done.body) == (status, b"one two" if saved else b"")
    assert count(shop_url) == saved
    assert db.scopes() == ()


def test_a_generator_application_that_is_closed_before_it_answers_saves_nothing(db: Database, shop_url: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        db.session.add(Order(product_id=1))
        yield b""
        start_response("200 OK", TEXT)

    body: Any = RequestScopeMiddleware(app, db)({"REQUEST_METHOD": "GET"}, lambda *args: None)
    assert next(body) == b""
    assert len(db.scopes()) == 1
    body.close()
    assert db.scopes() == ()
    assert count(shop_url) == 0


def test_promise_07_a_generator_application_that_fails_gives_its_connection_back_at_once(db: Database) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        db.session.connection()
        yield b""
        raise LookupError("on purpose")

    body: Any = RequestScopeMiddleware(app, db)({}, lambda *args: None)
    next(body)
    assert acquired(db) == 1
    with pytest.raises(LookupError):
        next(body)
    assert (acquired(db), db.scopes()) == (0, ())


def test_promise_04_uncommitted_changes_are_reported(shop_url: str) -> None:
    with opened(shop_url) as db, pytest.warns(UncommittedChanges, match="request GET /: 1 uncommitted change"):
        assert call_wsgi(order_app(db)).status == 200
    assert count(shop_url) == 0


def test_promise_05_streaming_bodies_need_a_scope_of_their_own(db: Database) -> None:
    told: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        session = db.session
        session.get(Product, 1)
        start_response("200 OK", TEXT)
        for use in (lambda: session.get(Product, 1), lambda: db.session):
            with pytest.raises(ScopeEnded) as refused:
                use()
            told.append(refused.value)
        with db.scope("export") as own:
            yield own.get_one(Product, 1).name.encode()

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert (done.body, done.error) == (b"tea", None)
    assert len(told) == 2
    assert acquired(db) == 0


def test_a_body_that_is_made_already_is_handed_over_as_it_is(db: Database) -> None:
    body = [b"ok"]

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return body

    assert RequestScopeMiddleware(app, db)({}, lambda *args: None) is body


async def test_an_async_database_is_refused(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as adb:
        with pytest.raises(ConfigError, match="AsyncDatabase 'default'"):
            RequestScopeMiddleware(lambda environ, start: [], adb)


def test_no_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="no database"):
        RequestScopeMiddleware(lambda environ, start: [])


def test_a_scope_that_a_body_opens_stays_in_force_between_its_parts(db: Database) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        with db.scope("stream") as session:
            for _ in range(3):
                yield str(session.scalar(sa.select(sa.literal(1)))).encode()

    body = RequestScopeMiddleware(app, db)({}, lambda status, headers: lambda part: None)
    assert b"".join(body) == b"111"
    body.close()  # type: ignore[attr-defined]
    assert db.pool.stats().acquired == 0
    assert db.scopes() == ()
