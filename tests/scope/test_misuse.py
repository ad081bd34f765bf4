"""Every misuse of a session, on both kinds of database and both databases: refused, by the right error, nothing left out.

The table is the one of ``docs/explanation/misuse.md``.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import re
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, event, insert, select

from respool import AsyncDatabase, Database, PoolConfig
from respool.ending.aio import end_async, in_greenlet
from respool.ending.end import End
from respool.errors import ConcurrentUse, ScopeEnded, WrongScope
from respool.web.asgi import RequestScopeMiddleware
from tests.docs.pages import ROOT
from tests.session.shop import Order, Product, acquired, count, fill, opened, opened_async

WAIT = 30  # seconds after which a test that hangs fails


def error_of(use: Callable[[], Any]) -> str:
    try:
        use()
    except Exception as error:
        return type(error).__name__
    return "nothing"


async def aerror_of(use: Awaitable[Any]) -> str:
    try:
        await use
    except Exception as error:
        return type(error).__name__
    return "nothing"


def at_once(use: Any) -> str:
    """Where no loop can run: what comes before the first real wait."""
    return error_of(lambda: use.send(None))


def in_child(use: Callable[[], str]) -> str:
    """What a forked child finds."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, use().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


async def request(db: Any, handler: Callable[[], Awaitable[None]], background: Callable[[], Awaitable[None]]) -> None:
    """A request as an ASGI server makes it; what runs in the background comes after the answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handler()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
        await background()

    async def nothing(*message: Any) -> Any:
        return None

    await RequestScopeMiddleware(app, db)({"type": "http", "method": "GET", "path": "/"}, nothing, nothing)


def meddle(engine: Any, intrude: Callable[[], None]) -> None:
    """While somebody is inside a session, at its first statement, somebody else tries to enter."""

    started: list[bool] = []

    def inside(*args: Any) -> None:
        if started:
            return
        started.append(True)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(intrude,))
        thread.start()
        thread.join(WAIT)

    event.listen(engine, "before_cursor_execute", inside)


# -- Database ---------------------------------------------------------------------------------------------------------


def after_the_request(db: Database) -> str:
    with db.scope("one") as session:
        session.get(Product, 1)
    return error_of(lambda: session.execute(select(Product)))


def from_another_request(db: Database) -> str:
    def other() -> str:
        db.new_scope("GET /other").enter()
        return error_of(lambda: session.execute(select(Product)))

    with db.scope("one") as session:
        session.get(Product, 1)
        return contextvars.Context().run(other)


def in_a_background_task(db: Database) -> str:
    found: list[Any] = []

    async def handler() -> None:
        found.append(db.session)
        db.session.get(Product, 1)

    async def background() -> None:
        found.append(error_of(lambda: found[0].execute(select(Product))))

    asyncio.run(request(db, handler, background))
    return str(found[1])


def in_a_spawned_task(db: Database) -> str:
    found: list[str] = []
    over = threading.Event()

    def task() -> None:
        over.wait(WAIT)
        found.append(error_of(lambda: session.execute(select(Product))))

    with db.scope("one") as session:
        session.get(Product, 1)
        thread = threading.Thread(target=contextvars.copy_context().run, args=(task,))
        thread.start()
    over.set()
    thread.join(WAIT)
    return found[0]


def by_two_tasks(db: Database) -> str:
    async def work(session: Any) -> list[str]:
        refused, inside = threading.Event(), threading.Event()

        def hold(*args: Any) -> None:
            inside.set()
            refused.wait(WAIT)

        def second() -> str:
            inside.wait(WAIT)
            try:
                return error_of(lambda: session.execute(select(Product)))
            finally:
                refused.set()

        event.listen(db.engine, "before_cursor_execute", hold)
        uses = (lambda: error_of(lambda: session.execute(select(Product))), second)
        return await asyncio.gather(*(asyncio.to_thread(use) for use in uses))

    with db.scope("one") as session:
        first, second = asyncio.run(work(session))
    assert first == "nothing"
    return second


def by_two_threads(db: Database) -> str:
    found: list[str] = []
    with db.scope("one") as session:
        meddle(db.engine, lambda: found.append(error_of(lambda: session.execute(select(Product)))))
        session.execute(select(Product))
    return found[0]


def by_a_generator(db: Database) -> str:
    with db.scope("one") as session:
        rows = iter(session.scalars(select(Order).execution_options(yield_per=1)))
        next(rows)
    return error_of(lambda: next(rows))


def in_another_loop(db: Database) -> str:
    sessions: list[Any] = []

    async def first() -> None:
        with db.scope("one") as session:
            session.get(Product, 1)
            sessions.append(session)

    async def second() -> str:
        return error_of(lambda: sessions[0].execute(select(Product)))

    asyncio.run(first())
    return asyncio.run(second())


def in_a_forked_child(db: Database) -> str:
    with db.scope("one") as session:
        session.execute(insert(Order).values(product_id=1))

        def use() -> str:
            found = {error_of(lambda: session.execute(select(Product))), error_of(lambda: db.session)}
            session.rollback()
            assert acquired(db) == 0
            with db.scope("of its own") as own:
                assert own.scope is not None
                assert own.scope.parent is None
            return found.pop() if len(found) == 1 else "not the same"

        found = in_child(use)
        session.commit()
    return found


# -- AsyncDatabase ----------------------------------------------------------------------------------------------------


async def aafter_the_request(db: AsyncDatabase) -> str:
    async with db.scope("one") as session:
        await session.get(Product, 1)
    return await aerror_of(session.execute(select(Product)))


async def afrom_another_request(db: AsyncDatabase) -> str:
    async def other() -> str:
        db.new_scope("GET /other").enter()
        return await aerror_of(session.execute(select(Product)))

    async with db.scope("one") as session:
        await session.get(Product, 1)
        return await asyncio.create_task(other(), context=contextvars.Context())


async def ain_a_background_task(db: AsyncDatabase) -> str:
    found: list[Any] = []

    async def handler() -> None:
        found.append(db.session)
        await db.session.get(Product, 1)

    async def background() -> None:
        found.append(await aerror_of(found[0].execute(select(Product))))

    await request(db, handler, background)
    return str(found[1])


async def ain_a_spawned_task(db: AsyncDatabase) -> str:
    over = asyncio.Event()

    async def task() -> str:
        await over.wait()
        return await aerror_of(session.execute(select(Product)))

    async with db.scope("one") as session:
        await session.get(Product, 1)
        spawned = asyncio.create_task(task())
    over.set()
    return await spawned


async def aby_two_tasks(db: AsyncDatabase) -> str:
    async with db.scope("one") as session:
        first, second = await asyncio.gather(*(aerror_of(session.execute(select(Product))) for _ in range(2)))
    assert first == "nothing"
    return second


async def aby_two_threads(db: AsyncDatabase) -> str:
    found: list[str] = []
    async with db.scope("one") as session:
        use = session.execute(select(Product))
        meddle(db.engine.sync_engine, lambda: found.append(asyncio.run(aerror_of(use))))
        await session.execute(select(Product))
    return found[0]


async def aby_a_generator(db: AsyncDatabase) -> str:
    async with db.scope("one") as session:
        rows = aiter(await session.stream_scalars(select(Order).execution_options(yield_per=1)))
        await anext(rows)
    return await aerror_of(anext(rows))


async def ain_another_loop(db: AsyncDatabase) -> str:
    """Here the loop that goes is a thread's; the scope is ended by its own."""
    scope = db.new_scope("one")
    scope.enter()

    async def first() -> None:
        await db.session.get(Product, 1)
        await db.pool.aclose()  # nobody could close its connections once their loop is gone

    def elsewhere() -> None:
        scope.enter()
        asyncio.run(first())
        scope.leave()

    await asyncio.to_thread(elsewhere)
    try:
        return await aerror_of(db.session.execute(select(Product)))
    finally:
        await end_async(End([scope]), in_greenlet)
        scope.leave()


async def ain_a_forked_child(db: AsyncDatabase) -> str:
    async with db.scope("one") as session:
        await session.execute(insert(Order).values(product_id=1))

        def use() -> str:
            found = {at_once(session.execute(select(Product))), error_of(lambda: db.session)}
            return found.pop() if len(found) == 1 else "not the same"

        found = in_child(use)
        await session.commit()
    return found


ENDED, WRONG, TWO = (error.__name__ for error in (ScopeEnded, WrongScope, ConcurrentUse))

#: The misuse, how, and the error, on a Database and on an AsyncDatabase.
TABLE: list[tuple[str, Any, str, Any, str]] = [
    ("after the request", after_the_request, ENDED, aafter_the_request, ENDED),
    ("from another request", from_another_request, WRONG, afrom_another_request, WRONG),
    ("in a background task", in_a_background_task, ENDED, ain_a_background_task, ENDED),
    ("in a task that the request spawned, and that outlives it", in_a_spawned_task, ENDED, ain_a_spawned_task, ENDED),
    ("by two tasks at once", by_two_tasks, TWO, aby_two_tasks, TWO),
    ("by two threads at once", by_two_threads, TWO, aby_two_threads, TWO),
    ("by a generator that outlives the request", by_a_generator, ENDED, aby_a_generator, ENDED),
    ("after its event loop was closed, in another one", in_another_loop, ENDED, ain_another_loop, WRONG),
    ("in a forked child", in_a_forked_child, WRONG, ain_a_forked_child, WRONG),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A shop with three orders."""
    found: str = request.getfixturevalue("shop_url" if request.param == "sqlite" else "pg_url")
    if request.param == "postgresql":
        fill(found)
    engine = create_engine(found)
    with engine.begin() as connection:
        connection.execute(insert(Order), [{"product_id": 1}] * 3)
    engine.dispose()
    return found


@pytest.mark.parametrize("use, error", [row[1:3] for row in TABLE], ids=lambda each: getattr(each, "__name__", each))
def test_promise_05_06_a_misuse_is_refused(url: str, use: Any, error: str) -> None:
    with opened(url) as db:
        assert use(db) == error
        assert acquired(db) == 0
        assert db.scopes() == ()


@pytest.mark.parametrize("use, error", [row[3:5] for row in TABLE], ids=lambda each: getattr(each, "__name__", each))
async def test_promise_05_06_a_misuse_of_an_async_session_is_refused(url: str, use: Any, error: str) -> None:
    async with opened_async(url.replace("sqlite:", "sqlite+aiosqlite:")) as db:
        assert await use(db) == error
        assert acquired(db) == 0
        assert db.engine.sync_engine.pool.checkedout() == 0
        assert db.scopes() == ()


def test_the_table_of_the_documents_is_this_one() -> None:
    page = (ROOT / "docs" / "explanation" / "misuse.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (.+) \| `(\w+)` \| `(\w+)` \|$", page, re.MULTILINE)[1:]
    assert shown == [(what, sync, asynchronous) for what, _, sync, _, asynchronous in TABLE]


def test_promise_06_eight_threads_in_one_session(url: str) -> None:
    """Every insert is stored or refused, the two add up, and there is one kind of error."""
    refused: list[type[Exception]] = []
    stored: list[int] = []
    with opened(url, pool=PoolConfig(max_size=3)) as db, db.scope("shared", commit="on_success") as session:
        session.connection()
        start = threading.Barrier(8)

        def work() -> None:
            start.wait(WAIT)
            for _ in range(125):
                try:
                    session.execute(insert(Order).values(product_id=1))
                except Exception as error:
                    refused.append(type(error))
                else:
                    stored.append(1)

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert len(stored) + len(refused) == 1000
    assert set(refused) <= {ConcurrentUse}
    assert count(url) == 3 + len(stored)


def test_a_forked_child_knows_nothing_of_what_was_nested_in_what(shop_url: str) -> None:
    with opened(shop_url, pool=PoolConfig(max_size=2)) as db, db.scope("outer") as outer:
        inner = db.scope("inner")
        inner.__enter__()
        outer.connection()

        def use() -> str:
            with db.scope("of its own") as own:
                own.connection()
                found = error_of(lambda: db.scope("within").__enter__())
            inner.__exit__(None, None, None)  # as when an exception ends the child
            return found

        found = in_child(use)
        inner.__exit__(None, None, None)
    assert found == "nothing"
