"""Clients that hang up while their request waits: what is read ahead is the application's, and only waits are left."""

from __future__ import annotations

import asyncio
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from respool import AsyncDatabase, Database, PoolConfig
from respool.errors import CallerGone
from respool.web.asgi import RequestScopeMiddleware
from respool.web.rules.client import Inbox
from tests.session.shop import Product, acquired, count, fill, opened, opened_async
from tests.web.clients import call_asgi, http
from tests.web.contract import Place, held, until
from tests.web.stands import ALL
from tests.web.stands.base import Stand

ONE = PoolConfig(max_size=1, timeout=60)
DISCONNECT = {"type": "http.disconnect"}


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Server:
    """Gives messages when told to, to one reader at a time."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.readers = 0

    async def receive(self) -> Any:
        self.readers += 1
        assert self.readers == 1, "two readers"
        try:
            return await self.queue.get()
        finally:
            self.readers -= 1


async def test_what_is_read_ahead_is_handed_out_in_order() -> None:
    server = Server()
    inbox = Inbox(server.receive, {})
    left: list[int] = []
    inbox.waits(leave := lambda: left.append(1))
    for message in (part(b"a"), part(b"b", more=False)):
        server.queue.put_nowait(message)
    await until(lambda: len(inbox._ahead or ()) == 2)
    inbox.goes_on(leave)
    assert [(await inbox.receive())["body"] for _ in range(2)] == [b"a", b"b"]
    server.queue.put_nowait(DISCONNECT)
    assert await inbox.receive() == DISCONNECT
    assert left == []


async def test_the_application_gets_the_message_that_is_being_listened_for() -> None:
    server = Server()
    inbox = Inbox(server.receive, {})
    inbox.waits(lambda: None)
    await until(lambda: server.readers == 1)
    reading = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    server.queue.put_nowait(part(b"a"))
    assert (await reading)["body"] == b"a"
    inbox.close()


async def test_the_applications_own_reading_is_enough() -> None:
    server = Server()
    inbox = Inbox(server.receive, {})
    left: list[int] = []
    reading = asyncio.create_task(inbox.receive())
    await until(lambda: server.readers == 1)
    inbox.waits(lambda: left.append(1))
    assert inbox._listener is None
    server.queue.put_nowait(DISCONNECT)
    assert await reading == DISCONNECT
    assert left == [1]


async def test_when_the_application_stops_reading_it_is_listened_on() -> None:
    server = Server()
    inbox = Inbox(server.receive, {})
    left: list[int] = []
    reading = asyncio.create_task(inbox.receive())
    await until(lambda: server.readers == 1)
    inbox.waits(lambda: left.append(1))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    server.queue.put_nowait(DISCONNECT)
    await until(lambda: left == [1])


async def test_who_waits_after_the_departure_leaves_at_once() -> None:
    inbox = Inbox(Server().receive, {})
    inbox.departed()
    left: list[int] = []
    inbox.waits(lambda: left.append(1))
    assert left == [1]


async def test_an_upload_is_read_ahead_up_to_a_limit() -> None:
    server = Server()
    inbox = Inbox(server.receive, {})
    inbox.waits(lambda: None)
    for _ in range(100):
        server.queue.put_nowait(part(b"x"))
    await until(lambda: server.queue.qsize() == 84 and inbox._listener is None)
    await asyncio.sleep(0)
    assert server.queue.qsize() == 84
    inbox.close()


async def test_for_a_short_wait_nobody_listens() -> None:
    server = Server()
    inbox = Inbox(server.receive, {})

    def leave() -> None:
        raise AssertionError

    for _ in range(3):
        inbox.waits(leave)
        assert (inbox._listener, server.readers) == (None, 0)
        inbox.goes_on(leave)
        assert inbox._timer is None, "nothing is left to be done"


async def test_a_request_that_does_not_wait_is_not_listened_for(async_shop_url: str) -> None:
    tasks: list[int] = []
    async with opened_async(async_shop_url) as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await db.session.get(Product, 1)
            tasks.append(sum("client" in task.get_name() for task in asyncio.all_tasks()))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        await db.pool.awarm_up(1, wait=60)
        await call_asgi(RequestScopeMiddleware(app, db))
    assert tasks == [0]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_handler_is_told_by_an_error_and_the_log_is_quiet(
    kind: str, shop_url: str, async_shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[BaseException] = []

    async def query(db: Any) -> None:
        if isinstance(db, AsyncDatabase):
            await db.session.execute(select(1))
        else:
            await asyncio.to_thread(lambda: db.session.execute(select(1)))

    async def check(db: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await query(db)
            except BaseException as error:
                told.append(error)
                raise

        gone = asyncio.Event()
        async with held(db):
            request = asyncio.create_task(call_asgi(RequestScopeMiddleware(app, db), gone=gone))
            await until(lambda: db.pool.stats().waiting == 1)
            gone.set()
            answer = await request
        assert answer.error is None
        assert db.pool.stats().timeouts == 0
        assert not any("client" in task.get_name() for task in asyncio.all_tasks())

    if kind == "sync":
        with opened(shop_url, pool=ONE) as db:
            await check(db)
    else:
        async with opened_async(async_shop_url, pool=ONE) as adb:
            await check(adb)
    assert [type(error) for error in told] == [CallerGone]
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_promise_07_what_has_begun_goes_on_and_so_does_a_scope_of_its_own(
    async_shop_url: str, shop_url: str
) -> None:
    """Work that a request has started for its own sake is nobody's client's."""
    async with opened_async(async_shop_url, pool=ONE, commit="on_success") as db:
        jobs: list[asyncio.Task[None]] = []

        async def job() -> None:
            async with db.scope("job") as session:
                await session.execute(text("INSERT INTO orders (product_id, note) VALUES (1, '')"))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            jobs.append(asyncio.create_task(job()))
            await receive()
            assert await receive() == DISCONNECT

        gone = asyncio.Event()
        async with held(db):
            request = asyncio.create_task(call_asgi(RequestScopeMiddleware(app, db), gone=gone))
            await until(lambda: db.pool.stats().waiting == 1)
            gone.set()
            await request
            assert db.pool.stats().waiting == 1
        await jobs[0]
        assert acquired(db) == 0
    assert count(shop_url) == 1


FILE = ("http.response.pathsend", "http.response.zerocopysend")


@pytest.mark.parametrize("when", ["answering", *FILE, "answered", "gone"])
async def test_promise_07_what_a_request_leaves_behind_is_for_nobodys_client(
    async_shop_url: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the request's context, and waits for the engine's connection by itself, after the answer."""
    monkeypatch.setattr("respool.web.rules.client._INTERVAL", 0)
    async with opened_async(async_shop_url, pool=ONE) as db:
        jobs: list[asyncio.Task[Any]] = []
        over, gone = asyncio.Event(), asyncio.Event()

        async def job() -> Any:
            await over.wait()
            async with db.engine.connect() as connection:
                return await connection.scalar(select(1))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await db.session.get(Product, 1)
            jobs.append(asyncio.create_task(job()))
            if when == "gone":
                await receive()
                assert await receive() == DISCONNECT
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": when if when in FILE else "http.response.body"})
            if when != "answered":  # as a framework does what is to be done after the answer
                await asyncio.wait(jobs)

        request = asyncio.create_task(call_asgi(RequestScopeMiddleware(app, db), gone=gone if when == "gone" else None))
        await until(lambda: bool(jobs))
        gone.set()
        if when not in ("answering", *FILE):
            await request
        await until(lambda: acquired(db) == 0)
        async with held(db):
            over.set()
            await until(lambda: db.pool.stats().waiting == 1 or jobs[0].done())
            for _ in range(50):  # more than it takes to listen
                await asyncio.sleep(0)
        assert await jobs[0] == 1
        await request


async def test_promise_07_two_hundred_hang_up_and_the_next_is_served_at_once(async_shop_url: str) -> None:
    async with opened_async(async_shop_url, pool=PoolConfig(max_size=5, timeout=60)) as db:
        ran: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await db.session.execute(select(1))
            ran.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        middleware, gone = RequestScopeMiddleware(app, db), asyncio.Event()
        async with held(db), held(db), held(db), held(db), held(db):
            left = [asyncio.create_task(call_asgi(middleware, "/left", gone=gone)) for _ in range(200)]
            await until(lambda: db.pool.stats().waiting == 200)
            gone.set()
            await asyncio.gather(*left)
            assert db.pool.stats().waiting == 0
        assert (await call_asgi(middleware, "/live")).status == 200
    assert ran == ["/live"]


def test_a_sync_database_needs_no_event_loop(db: Database) -> None:
    """The hook is there for requests only."""
    with db.scope("script") as session:
        assert session.scope is not None
        assert session.scope.client is None


@pytest.mark.parametrize(
    "kind",
    [each for each in ALL if each.name in ("FastAPI", "Starlette", "Litestar", "ASGI") and each.kind == "async"],
    ids=lambda kind: kind.title(),
)
async def test_a_request_that_is_dropped_in_the_midst_of_others_answers_nothing(
    kind: type[Stand], shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a loop's requests are that is closed under them: they are collected in whichever context comes next."""
    reached = asyncio.Event()
    sent: list[Any] = []
    other = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other)

    async def never(what: str, number: int) -> str:
        reached.set()
        return str(await asyncio.Event().wait())

    async def send(message: Any) -> None:
        sent.append(message)

    async with Place(kind, shop_url, other).open() as stand:
        monkeypatch.setattr(stand.work, "do", never)
        request = stand.app(http("/do/read/1"), asyncio.Event().wait, send)
        await advance(request, reached)
        async with stand.db.scope("others") as session:
            request.close()
            assert stand.db.session is session
        assert sent == []


async def advance(coroutine: Any, reached: asyncio.Event) -> None:
    """Have a coroutine go on in a context of its own, until it has come somewhere."""
    context = Context()
    waits = context.run(coroutine.send, None)
    while not reached.is_set():
        if waits is None:
            await asyncio.sleep(0)
        else:
            waits._asyncio_future_blocking = False
            await asyncio.wait([waits])
        waits = context.run(coroutine.send, None)
