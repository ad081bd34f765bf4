"""The end of a WSGI request, example by example: what happens between a handler and the first byte."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
import sqlalchemy as sa

from respool import Database
from respool.errors import PoolQueueFull, RollbackOnly, ScopeEnded
from respool.web.wsgi import RequestScopeMiddleware
from tests.session.shop import Order, Product, acquired, count, fill, opened
from tests.web.clients import call_wsgi

TEXT = [("Content-Type", "text/plain")]


def handler(
    db: Database, *, product_id: int = 1, body: Any = (b"ok",), then: Callable[[Any], Any] | None = None
) -> Any:
    """An application that orders, answers, and does something more."""

    def app(environ: Any, start_response: Any) -> Any:
        db.session.add(Order(product_id=product_id))
        write = start_response("200 OK", TEXT)
        if then is not None:
            then(write)
        return body() if callable(body) else body

    return app


def parts(*given: Any) -> Callable[[], Iterator[Any]]:
    """A body of these parts; an exception is raised in its turn."""

    def body() -> Iterator[Any]:
        for part in given:
            if isinstance(part, Exception):
                raise part
            yield part

    return body


class Body:
    """A body that is closed."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return parts(*self.given)()

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "body",
    [parts(LookupError()), parts(b"", LookupError()), ["text"], parts("text"), None, 5],
    ids=["raises", "raises after nothing", "text in a list", "text", "none", "a number"],
)
def test_a_body_that_has_no_first_part_saves_nothing(db: Database, shop_url: str, body: Any) -> None:
    done = call_wsgi(RequestScopeMiddleware(handler(db, body=body), db))
    assert (done.status, done.complete, count(shop_url)) == (500, True, 0)
    assert (acquired(db), db.scopes()) == (0, ())


def test_a_body_that_fails_later_is_cut_short_and_its_request_is_saved(db: Database, shop_url: str) -> None:
    done = call_wsgi(RequestScopeMiddleware(handler(db, body=parts(b"one", LookupError())), db))
    assert (done.status, done.body, done.complete, count(shop_url)) == (200, b"one", False, 1)


@pytest.mark.parametrize("body", [parts(), parts(b""), [], [b""], ()])
def test_an_empty_body_is_a_success(db: Database, shop_url: str, body: Any) -> None:
    done = call_wsgi(RequestScopeMiddleware(handler(db, body=body), db), probe=lambda: (acquired(db), count(shop_url)))
    assert (done.status, done.body, done.at_start) == (200, b"", (0, 1))


def test_what_is_written_by_hand_comes_after_the_commit(db: Database, shop_url: str) -> None:
    seen: list[int] = []
    app = handler(db, then=lambda write: write(b"by hand") or seen.append(count(shop_url)))
    assert call_wsgi(RequestScopeMiddleware(app, db)).status == 200
    assert seen == [1]


@pytest.mark.parametrize("headers", [[("X", "a\nb")], [("X\r", "a")], [("X", 5)]])
def test_a_head_that_no_server_would_send_saves_nothing(db: Database, shop_url: str, headers: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=1))
        start_response("200 OK", headers)
        return [b"ok"]

    assert call_wsgi(RequestScopeMiddleware(app, db)).status == 500
    assert count(shop_url) == 0


def test_an_answer_without_a_start_saves_nothing(db: Database, shop_url: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=1))
        return [b"ok"]

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert (done.status, count(shop_url)) == (500, 0)
    assert "has not called start_response()" in str(done.error)


def test_a_scope_of_the_bodys_own_finds_what_was_saved_and_its_failure_comes_too_late(
    db: Database, shop_url: str
) -> None:
    def body() -> Iterator[bytes]:
        with db.scope("export") as own:
            own.add(Order(product_id=1, note=str(own.scalar(sa.select(sa.func.count()).select_from(Order)))))
            own.commit()
        raise LookupError
        yield b""

    written: list[bytes] = []
    heads: list[str] = []

    def start_response(status: str, headers: Any) -> Any:
        heads.append(status)
        return written.append

    with pytest.raises(LookupError):
        RequestScopeMiddleware(handler(db, body=body), db)({}, start_response)
    assert (heads, written, count(shop_url)) == (["200 OK"], [b""], 2)


def test_a_body_is_refused_the_session_at_its_first_part(db: Database) -> None:
    told: list[ScopeEnded] = []

    def app(environ: Any, start_response: Any) -> Any:
        session = db.session
        session.add(Order(product_id=1))
        tea = session.get_one(Product, 1)

        def body() -> Iterator[bytes]:
            for use in (lambda: db.session, lambda: session.get(Product, 1), lambda: tea.orders, session.connection):
                with pytest.raises(ScopeEnded) as refused:
                    use()  # type: ignore[no-untyped-call]
                told.append(refused.value)
            yield tea.name.encode()

        start_response("200 OK", TEXT)
        return body()

    assert call_wsgi(RequestScopeMiddleware(app, db)).body == b"tea"
    assert len(told) == 4


def test_a_body_whose_commit_fails_is_closed_once(db: Database) -> None:
    body = Body(b"one", b"two")
    done = call_wsgi(RequestScopeMiddleware(handler(db, product_id=999, body=body), db))
    assert (done.status, done.body, body.closed) == (500, b"", 1)


# -- what answers a failure ----------------------------------------------------------------------------------------------


def page(db: Database, status: str = "409 Conflict") -> Any:
    def answer(environ: Any, start_response: Any, error: Exception) -> Any:
        name = db.session.get_one(Product, 1).name
        db.session.add(Order(product_id=1))
        with db.scope("log") as own:
            own.add(Order(product_id=1, note=type(error).__name__))
        start_response(status, TEXT)
        return [name.encode()]

    return answer


@pytest.mark.parametrize("bad", [{"product_id": 999}, {"body": parts(LookupError())}], ids=["commit", "body"])
def test_a_failure_has_a_page_that_reads_and_logs(db: Database, shop_url: str, bad: Any) -> None:
    app = validator(RequestScopeMiddleware(handler(db, **bad), db, answer_failure=page(db)))
    done = call_wsgi(app)
    assert (done.status, done.body, done.complete, count(shop_url)) == (409, b"tea", True, 1)
    assert (acquired(db), db.scopes()) == (0, ())


def test_a_page_that_is_a_success_is_no_answer(db: Database, shop_url: str) -> None:
    done = call_wsgi(RequestScopeMiddleware(handler(db, product_id=999), db, answer_failure=page(db, "200 OK")))
    assert done.status == 500
    assert "FOREIGN KEY" in str(done.error)


def test_a_page_that_fails_is_left_to_the_server(db: Database) -> None:
    def answer(environ: Any, start_response: Any, error: Exception) -> Any:
        raise ArithmeticError

    done = call_wsgi(RequestScopeMiddleware(handler(db, product_id=999), db, answer_failure=answer))
    assert (done.status, type(done.error)) == (500, ArithmeticError)
    assert (acquired(db), db.scopes()) == (0, ())


def test_there_may_be_no_page(db: Database) -> None:
    done = call_wsgi(RequestScopeMiddleware(handler(db, product_id=999), db, answer_failure=lambda *args: None))
    assert (done.status, "FOREIGN KEY" in str(done.error)) == (500, True)


def test_an_overload_without_a_page_of_its_own_is_a_503(db: Database) -> None:
    def overloaded(environ: Any, start_response: Any) -> Any:
        raise PoolQueueFull("too many wait")

    done = call_wsgi(RequestScopeMiddleware(overloaded, db, answer_failure=lambda *args: None))
    assert (done.status, done.error) == (503, None)


# -- clean-ups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "rollback", "remove", "reset", "commit"])
@pytest.mark.parametrize("read", [False, True], ids=["", "after a read"])
def test_a_clean_up_after_the_answer_takes_nothing_away(db: Database, shop_url: str, how: str, read: bool) -> None:
    def clean_up(write: Any) -> None:
        if read:
            db.session.scalars(sa.select(Order)).all()
        getattr(db.session, how)()

    done = call_wsgi(RequestScopeMiddleware(handler(db, then=clean_up), db))
    assert (done.status, count(shop_url)) == (200, 1)


@pytest.mark.parametrize("how", ["close", "rollback"])
def test_a_clean_up_that_takes_something_of_its_own_back_makes_an_error_of_it(
    db: Database, shop_url: str, how: str
) -> None:
    def clean_up(write: Any) -> None:
        db.session.add(Order(product_id=1, note="late"))
        db.session.flush()
        getattr(db.session, how)()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("respool.session.life.report", lambda *args, **keywords: None)
        done = call_wsgi(RequestScopeMiddleware(handler(db, then=clean_up), db))
    assert (done.status, type(done.error), count(shop_url)) == (500, RollbackOnly, 0)


def test_a_rollback_that_somebody_has_tried_again_after_is_no_success(db: Database, shop_url: str) -> None:
    def save(write: Any) -> None:
        try:
            db.session.commit()
        except sa.exc.IntegrityError:
            db.session.rollback()
            db.session.add(Order(product_id=1, note="what it is about itself"))
            db.session.commit()

    done = call_wsgi(RequestScopeMiddleware(handler(db, product_id=999, then=save), db))
    assert (done.status, type(done.error)) == (500, RollbackOnly)
    assert count(shop_url) == 1


# -- applications within applications ------------------------------------------------------------------------------------


def test_databases_of_an_application_within_end_together_with_those_around(
    db: Database, shop_url: str, tmp_path: Any
) -> None:
    fill(url := f"sqlite:///{tmp_path / 'other.db'}")
    with opened(url, name="other", commit="on_success") as other:

        def app(environ: Any, start_response: Any) -> list[bytes]:
            db.session.add(Order(product_id=1))
            other.session.add(Order(product_id=int(environ["PATH_INFO"].strip("/"))))
            start_response("200 OK", TEXT)
            return [b"ok"]

        around = RequestScopeMiddleware(RequestScopeMiddleware(app, db), other)
        assert call_wsgi(around, "/1").status == 200
        assert (count(shop_url), count(url)) == (1, 1)

        def failing(environ: Any, start_response: Any) -> list[bytes]:
            RequestScopeMiddleware(app, db)(environ, start_response)
            raise LookupError

        assert call_wsgi(RequestScopeMiddleware(failing, other), "/1").status == 500
        assert (count(shop_url), count(url)) == (1, 1)
        assert (db.scopes(), other.scopes(), acquired(db), acquired(other)) == ((), (), 0, 0)


def test_an_application_that_is_asked_once_more_after_an_error_is_judged_by_the_last_time(
    db: Database, shop_url: str
) -> None:
    times: list[int] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        db.session.add(Order(product_id=1))
        db.session.flush()
        times.append(1)
        if len(times) == 1:
            raise LookupError
        start_response("200 OK", TEXT)
        return [b"ok"]

    inner = RequestScopeMiddleware(app, db)

    def again(environ: Any, start_response: Any) -> Any:
        try:
            return inner(environ, start_response)
        except LookupError:
            db.session.rollback()
            return inner(environ, start_response)

    assert call_wsgi(RequestScopeMiddleware(again, db)).status == 200
    assert count(shop_url) == 1


def test_a_start_that_comes_with_an_error_after_the_first_part_is_the_servers_to_judge(db: Database) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        start_response("500 Oops", TEXT, (LookupError, LookupError(), None))

    body = RequestScopeMiddleware(app, db)({}, lambda *head: seen.append(head) or (lambda data: None))
    assert list(body) == [b"one"]
    assert [head[0] for head in seen] == ["200 OK", "500 Oops"]


def test_a_body_after_a_request_that_has_only_read_can_fail_still(db: Database) -> None:
    def body() -> Iterator[bytes]:
        with db.scope("export") as own:
            own.get_one(Product, 5)
        yield b"never"

    def app(environ: Any, start_response: Any) -> Any:
        db.session.get(Product, 1)
        start_response("200 OK", TEXT)
        return body()

    done = call_wsgi(RequestScopeMiddleware(app, db))
    assert (done.status, done.complete) == (500, True)


def test_who_holds_back_a_body_can_use_the_session_between_its_parts(db: Database, shop_url: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        return iter([b"one", b"two"])

    inner = RequestScopeMiddleware(app, db)

    def buffers(environ: Any, start_response: Any) -> Any:
        heads: list[Any] = []
        parts = iter(inner(environ, lambda *head: heads.append(head)))
        body = [next(parts)]
        db.session.add(Order(product_id=1))
        body += parts
        start_response(*heads[-1])
        return body

    done = call_wsgi(RequestScopeMiddleware(buffers, db))
    assert (done.status, done.body, count(shop_url)) == (200, b"onetwo", 1)


@pytest.mark.parametrize("product_id", [1, 999])
def test_a_request_leaves_nothing_to_the_collector(db: Database, product_id: int) -> None:
    app = RequestScopeMiddleware(handler(db, product_id=product_id, body=parts(b"ok")), db, answer_failure=page(db))
    environ = Environ()
    there = weakref.ref(environ)
    gc.collect()
    gc.disable()
    try:
        body: Any = app(environ, lambda *head: lambda data: None)
        assert list(body) in ([b"ok"], [b"tea"])
        body.close()
        exchange = environ.get("respool.exchange")
        del environ, body
        assert exchange is None
        assert there() is None or product_id == 999  # a traceback has frames
    finally:
        gc.enable()


class Environ(dict[str, Any]):
    """One that can be seen to go."""
