"""The ASGI middleware around bare applications: when it commits, what it refuses, what it gives back."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from sqlalchemy import event, text

from respool import Database, Session
from respool.ending.workers import workers
from respool.errors import (
    CommitOutcomeUnknown,
    ConfigError,
    NoScope,
    PartialCommit,
    ScopeEnded,
    UncommittedChanges,
    WrongScope,
)
from respool.scope.scope import ScopeState
from respool.web.asgi import RequestScopeMiddleware
from respool.web.rules.scopes import KEY
from tests.session.shop import Order, Product, acquired, count, fill, opened, opened_async
from tests.web.clients import call_asgi


async def answer(send: Any, status: int = 200, body: bytes = b"ok") -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


def order_app(db: Any, status: int = 200, product_id: int = 1) -> Any:
    """Adds an order in a sync session, and answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=product_id))
        await answer(send, status)

    return RequestScopeMiddleware(app, db)


async def test_promise_01_one_request_has_one_session_made_at_first_use(db: Database) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope[KEY]["default"].state)
        first = db.session
        in_thread = await asyncio.to_thread(lambda: db.session)
        in_task = await asyncio.create_task(current())
        seen.append(first is in_thread is in_task)
        seen.append(first)
        await answer(send)

    async def current() -> Any:
        return db.session

    app = RequestScopeMiddleware(app, db)
    await call_asgi(app)
    await call_asgi(app)
    assert seen[0] is ScopeState.NEW
    assert seen[1] is True
    assert seen[2] is not seen[5]


async def test_promise_01_a_session_first_used_in_a_thread_is_the_requests(db: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        in_thread = await asyncio.to_thread(lambda: db.session)
        await answer(send, body=str(in_thread is db.session).encode())

    assert (await call_asgi(RequestScopeMiddleware(app, db))).body == b"True"


async def test_promise_01_a_request_that_uses_no_database_starts_no_thread_and_no_task(db: Database) -> None:
    tasks: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    middleware = RequestScopeMiddleware(app, db)
    workers.forget()
    await call_asgi(middleware, probe=lambda: tasks.append(len(asyncio.all_tasks())))
    assert tasks == [1]
    assert not workers.used
    assert db.pool.stats().total == 0


@pytest.mark.parametrize("status, saved", [(200, 1), (302, 1), (399, 1), (400, 0), (404, 0), (500, 0)])
async def test_on_success_commits_below_400(db: Database, shop_url: str, status: int, saved: int) -> None:
    done = await call_asgi(order_app(db, status))
    assert done.status == status
    assert count(shop_url) == saved


async def test_an_exception_rolls_back_and_goes_on(db: Database, shop_url: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise LookupError("on purpose")

    done = await call_asgi(RequestScopeMiddleware(app, db))
    assert isinstance(done.error, LookupError)
    assert done.status == 500
    assert count(shop_url) == 0
    assert acquired(db) == 0
    assert db.scopes() == ()


async def test_an_application_that_does_not_answer_saves_nothing(db: Database, shop_url: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=1))

    with pytest.raises(AssertionError, match="no answer"):
        await call_asgi(RequestScopeMiddleware(app, db))
    assert count(shop_url) == 0
    assert db.scopes() == ()


async def test_promise_03_a_failed_commit_is_never_a_success(db: Database, shop_url: str) -> None:
    done = await call_asgi(order_app(db, product_id=999))
    assert done.status == 500
    assert "FOREIGN KEY" in str(done.error)
    assert count(shop_url) == 0
    assert acquired(db) == 0


async def test_promise_03_a_failed_commit_that_the_application_swallows_is_no_success_either(db: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=999))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except Exception:
            await answer(send, 200, b"all is well")
        await send({"type": "http.response.body", "body": b"really"})

    done = await call_asgi(RequestScopeMiddleware(app, db))
    assert done.status == 500
    assert done.body == b""
    assert "FOREIGN KEY" in str(done.error)


async def test_promise_03_an_error_page_of_the_applications_own_is_let_through(db: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=999))
        try:
            await send({"type": "http.response.start", "status": 201, "headers": []})
        except Exception:
            await send({"type": "http.response.body", "body": b"what is left of the first answer"})
            await answer(send, 409, b"no such product")

    done = await call_asgi(RequestScopeMiddleware(app, db))
    assert (done.status, done.body, done.error) == (409, b"no such product", None)


async def test_promise_03_the_connection_is_back_before_the_first_byte(db: Database) -> None:
    during: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.connection()
        during.append(acquired(db))
        await answer(send)

    done = await call_asgi(RequestScopeMiddleware(app, db), probe=lambda: acquired(db))
    assert during == [1]
    assert done.at_start == 0


async def test_promise_04_uncommitted_changes_are_reported_object_by_object(
    shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(shop_url) as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            product = db.session.get(Product, 1)
            assert product is not None
            product.stock = 4711
            db.session.add(Order(id=7, product_id=1))
            db.session.flush()
            db.session.execute(text("UPDATE products SET name = 'secret'"))
            await answer(send)

        with pytest.warns(UncommittedChanges) as told:
            done = await call_asgi(RequestScopeMiddleware(app, db), "/orders", "POST")
    warning = told[0].message
    assert isinstance(warning, UncommittedChanges)
    assert warning.scope == "request POST /orders"
    assert warning.changes == ("Order(id=7) inserted", "Product(id=1) updated: stock", "UPDATE products (text)")
    assert done.status == 200
    assert count(shop_url) == 0
    assert "Order(id=7) inserted; Product(id=1) updated: stock; UPDATE products (text)" in caplog.text
    assert "secret" not in caplog.text
    assert "4711" not in caplog.text


async def test_promise_04_an_intended_rollback_is_not_reported(shop_url: str) -> None:
    with opened(shop_url) as db:
        assert (await call_asgi(order_app(db, status=422))).status == 422  # a warning would be an error here


async def test_promise_04_where_warnings_are_errors_nothing_is_answered_as_a_success(shop_url: str) -> None:
    with opened(shop_url) as db:
        done = await call_asgi(order_app(db))
        assert isinstance(done.error, UncommittedChanges)
        assert done.status == 500
        assert acquired(db) == 0
        assert db.scopes() == ()


async def test_promise_05_streaming_bodies_are_refused_before_a_connection_is_touched(db: Database) -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = db.session
        session.get(Product, 1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        acquires = db.pool.stats().acquired_total
        for use in (lambda: session.get(Product, 1), lambda: session.add(Order(product_id=1)), lambda: db.session):
            with pytest.raises(ScopeEnded) as refused:
                use()
            told.append(refused.value)
        assert db.pool.stats().acquired_total == acquires
        with db.scope("export") as own:
            name = own.get_one(Product, 1).name
        await send({"type": "http.response.body", "body": name.encode()})

    done = await call_asgi(RequestScopeMiddleware(app, db), "/export")
    assert done.error is None
    assert done.body == b"tea"
    assert all(error.scope == "GET /export" for error in told)
    assert "test_asgi.py" in str(told[0])
    assert "db.scope(" in str(told[0])


async def test_promise_05_a_task_that_outlives_its_request_is_refused(db: Database) -> None:
    go, tasks = asyncio.Event(), []

    async def later(session: Any) -> None:
        await go.wait()
        session.get(Product, 1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.create_task(later(db.session)))
        await answer(send)

    await call_asgi(RequestScopeMiddleware(app, db))
    go.set()
    with pytest.raises(ScopeEnded):
        await tasks[0]
    assert db.pool.stats().total == 0


async def test_promise_05_a_session_is_refused_to_another_request_and_to_nobody(db: Database) -> None:
    borrowed: list[Any] = []
    inside, leave = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/owner":
            borrowed.append(db.session)
            inside.set()
            await leave.wait()
        else:
            borrowed[0].get(Product, 1)
        await answer(send)

    middleware = RequestScopeMiddleware(app, db)
    owner = asyncio.create_task(call_asgi(middleware, "/owner"))
    await inside.wait()
    other = await call_asgi(middleware, "/other")
    assert isinstance(other.error, WrongScope)
    assert "request GET /owner" in str(other.error)
    assert "request GET /other" in str(other.error)
    with pytest.raises(WrongScope, match="outside any request or scope"):
        borrowed[0].add(Order(product_id=1))
    assert db.pool.stats().total == 0
    leave.set()
    assert (await owner).status == 200


async def test_promise_05_a_scope_is_never_inherited(db: Database) -> None:
    """What runs a request in a copy of another one's context, as test clients and some servers do, changes nothing."""
    sessions: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sessions.append(db.session)
        if scope["path"] == "/outer":
            await call_asgi(middleware, "/inner")
            sessions.append(db.session)
        await answer(send)

    middleware = RequestScopeMiddleware(app, db)
    await call_asgi(middleware, "/outer")
    outer, inner, after = sessions
    assert outer is after
    assert inner is not outer
    assert inner.scope.parent is None


async def test_promise_01_a_middleware_within_another_leaves_the_request_to_the_outer_one(db: Database) -> None:
    sessions: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sessions.append(db.session)
        await answer(send)

    inner = RequestScopeMiddleware(app, db)

    async def between(scope: Any, receive: Any, send: Any) -> None:
        sessions.append(db.session)
        await inner(scope, receive, send)

    assert (await call_asgi(RequestScopeMiddleware(between, db))).status == 200
    assert sessions[0] is sessions[1]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_websockets_and_the_lifespan_have_no_scope(db: Database, kind: str) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(NoScope, match="for each message") as refused:
            db.session
        told.append(str(refused.value))
        with db.scope("message") as session:
            assert session.get(Product, 1) is not None

    with db.scope("around"):  # inherited by the context of whoever opens the connection
        await RequestScopeMiddleware(app, db, lifespan=False)({"type": kind}, None, None)  # type: ignore[arg-type]
    assert len(told) == 1


async def test_promise_07_a_request_cancelled_in_a_query_leaves_nothing_behind(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        querying, forever = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await db.session.connection()
            querying.set()
            await forever.wait()

        request = asyncio.create_task(call_asgi(RequestScopeMiddleware(app, db)))
        await querying.wait()
        assert acquired(db) == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert acquired(db) == 0
        assert db.scopes() == ()


async def test_promise_07_the_end_of_a_request_survives_being_cancelled_again_and_again(
    async_shop_url: str, shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        committing, go = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            session = db.session
            session.add(Order(product_id=1))
            await session.flush()
            run_sync = session.run_sync

            async def slow(*args: Any) -> Any:
                committing.set()
                await go.wait()
                return await run_sync(*args)

            monkeypatch.setattr(session, "run_sync", slow)
            await answer(send)

        request = asyncio.create_task(call_asgi(RequestScopeMiddleware(app, db)))
        await committing.wait()
        for _ in range(3):
            request.cancel()
            await asyncio.sleep(0)
        assert not request.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert count(shop_url) == 1
        assert acquired(db) == 0
        assert db.scopes() == ()


async def test_several_databases_of_both_kinds_are_flushed_before_the_first_commit(
    tmp_path: Any, shop_url: str, async_shop_url: str
) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    with opened(other_url, name="other", commit="on_success") as other:
        async with opened_async(async_shop_url, commit="on_success") as db:

            async def app(scope: Any, receive: Any, send: Any) -> None:
                db.session.add(Order(product_id=1))
                other.session.add(
                    Product(id=1, name="there already") if scope["path"] == "/bad" else Order(product_id=1)
                )
                await answer(send)

            app = RequestScopeMiddleware(app, db, other)
            bad = await call_asgi(app, "/bad")
            assert bad.status == 500
            assert "UNIQUE" in str(bad.error)
            assert (count(shop_url), count(other_url)) == (0, 0)
            assert (await call_asgi(app, "/good")).status == 200
            assert (count(shop_url), count(other_url)) == (1, 1)
            assert (acquired(db), acquired(other)) == (0, 0)


async def test_a_second_database_whose_commit_fails_tells_which_was_committed(tmp_path: Any, db: Database) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    with opened(other_url, name="other", commit="on_success") as other:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db.session.add(Order(product_id=1))
            other.session.add(Order(product_id=999))
            await answer(send)

        done = await call_asgi(RequestScopeMiddleware(app, db, other))
    assert done.status == 500
    assert isinstance(done.error, PartialCommit)
    assert (done.error.committed, done.error.failed) == (("default",), "other")


async def test_sync_sessions_end_in_threads_of_their_own(db: Database) -> None:
    """Those that may wait for a connection in other threads than those that have one to give back."""
    threads: list[str] = []
    for target, name in ((db.engine, "commit"), (Session, "before_flush")):
        event.listen(target, name, lambda *args: threads.append(threading.current_thread().name), once=True)
    await call_asgi(order_app(db))
    assert [name.rpartition("_")[0] for name in threads] == ["respool-flush", "respool-finish"]


async def test_a_second_answer_while_the_first_waits_for_its_commit_is_refused(db: Database) -> None:
    committing, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @event.listens_for(db.engine, "commit")
    def _(connection: Any) -> None:
        loop.call_soon_threadsafe(committing.set)
        go.wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=1))
        first = asyncio.create_task(answer(send, 201))
        await committing.wait()
        with pytest.raises(RuntimeError, match="a second http"):
            await answer(send, 504)
        go.set()
        await first

    assert (await call_asgi(RequestScopeMiddleware(app, db))).status == 201


def test_the_label_has_no_query_and_stays_in_one_line(db: Database) -> None:
    from respool.web.rules.scopes import RequestScopes

    assert RequestScopes([db], {}, "GET /a\nERROR forged").scopes[0].label == "GET /a\\nERROR forged"


@pytest.mark.parametrize("databases, told", [("", "no database"), ("dd", "same database twice"), ("x", "int where")])
def test_what_the_middleware_does_not_accept(db: Database, databases: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        RequestScopeMiddleware(order_app(db), *({"d": db, "x": 3}[letter] for letter in databases))


def test_a_finish_timeout_is_positive(db: Database) -> None:
    with pytest.raises(ConfigError, match="finish_timeout=0"):
        RequestScopeMiddleware(order_app(db), db, finish_timeout=0)


async def test_promise_07_a_commit_that_is_late_is_no_success(
    async_shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db.session.add(Order(product_id=1))
            await db.session.flush()
            await answer(send)

        middleware = RequestScopeMiddleware(app, db, finish_timeout=0.01)

        async def hangs(step: Any) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr("respool.web.rules.scopes.perform", hangs)
        done = await call_asgi(middleware)
        assert done.status == 500
        assert isinstance(done.error, CommitOutcomeUnknown)
        assert (acquired(db), db.scopes()) == (0, ())


async def test_a_request_leaves_nothing_to_the_collector(db: Database) -> None:
    app = order_app(db)
    scope = Request(type="http", method="POST", path="/", headers=[])
    there = weakref.ref(scope)
    gc.collect()
    gc.disable()
    try:
        await app(scope, nothing, nothing)
        del scope
        assert there() is None
    finally:
        gc.enable()


class Request(dict[str, Any]):
    """An ASGI scope that can be seen to go."""


async def nothing(*message: Any) -> Any:
    """A server that does nothing."""
