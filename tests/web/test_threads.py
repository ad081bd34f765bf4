"""Whoever has a connection goes first: pool and threads of any sizes do not lock each other out."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from anyio.to_thread import current_default_thread_limiter, run_sync
from sqlalchemy import event, text

from respool import Database, PoolConfig
from respool.web.asgi import RequestScopeMiddleware
from respool.web.rules.holders_first import holders_first
from tests.session.shop import Order, count, opened
from tests.web.clients import call_asgi

HELD = PoolConfig(max_size=2, timeout=60)


async def in_anyio(function: Any) -> Any:
    return await run_sync(function)


async def in_executor(function: Any) -> Any:
    return await asyncio.to_thread(function)


@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_promise_02_a_holder_does_not_queue_for_a_thread_behind_those_who_wait_for_it(
    shop_url: str, hop: Any
) -> None:
    """One thread, two connections, 12 requests that hold theirs from one hop to the next: stock locks itself."""
    with opened(shop_url, pool=HELD, begin="on_use", commit="on_success") as db:
        current_default_thread_limiter().total_tokens = 1
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await hop(lambda: db.session.execute(text("SELECT 1")))
            await hop(lambda: db.session.execute(text("SELECT 2")))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        middleware = RequestScopeMiddleware(app, db)
        answers = await asyncio.gather(*(call_asgi(middleware) for _ in range(12)))
        assert [answer.status for answer in answers] == [200] * 12
        assert db.pool.stats().timeouts == 0


@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_who_holds_nothing_queues_as_before(shop_url: str, hop: Any) -> None:
    with opened(shop_url) as db:
        current_default_thread_limiter().total_tokens = 1
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        assert holders_first([db]) == 1
        inside, most = 0, 0
        lock = threading.Lock()

        def work() -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

        await asyncio.gather(*(hop(work) for _ in range(20)))
        assert most == 1
        assert current_default_thread_limiter().statistics().borrowed_tokens == 0


@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_promise_08_who_came_first_goes_first_across_all_hops(shop_url: str, hop: Any) -> None:
    """One thread, 20 requests of three hops: as many have begun as there is a thread for, and one that is next."""
    with opened(shop_url) as db:
        current_default_thread_limiter().total_tokens = 1
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        begun: set[str] = set()
        ended: list[str] = []
        most = 0
        loop = asyncio.get_running_loop()

        def work(path: str) -> None:
            begun.add(path)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)  # the loop keeps pace

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal most
            for _ in range(3):
                await hop(lambda: work(scope["path"]))
                most = max(most, len(begun))
            begun.discard(scope["path"])
            ended.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        middleware = RequestScopeMiddleware(app, db)
        paths = [f"/{number}" for number in range(20)]
        await asyncio.gather(*(call_asgi(middleware, path) for path in paths))
        assert (ended, most) == (paths, 2)


@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_promise_08_each_request_of_a_connection_comes_when_it_comes(shop_url: str, hop: Any) -> None:
    """One thread, five clients whose requests have a context in common, as Sanic's connections: nobody is served twice before all."""
    with opened(shop_url) as db:
        current_default_thread_limiter().total_tokens = 1
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        served: list[str] = []
        loop = asyncio.get_running_loop()

        def work(path: str) -> None:
            served.append(path)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)  # the loop keeps pace

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await hop(lambda: work(scope["path"]))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        middleware = RequestScopeMiddleware(app, db)

        async def client(path: str) -> None:
            for _ in range(4):
                await call_asgi(middleware, path)

        paths = [f"/{number}" for number in range(5)]
        await asyncio.gather(*map(client, paths))
        assert [sorted(served[turn : turn + 5]) for turn in range(0, 20, 5)] == [paths] * 4


@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_promise_08_the_parts_of_a_long_answer_come_when_they_come(shop_url: str, hop: Any) -> None:
    """One thread, two endless downloads that make their parts in it: who comes meanwhile is served."""
    with opened(shop_url) as db:
        current_default_thread_limiter().total_tokens = 1
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        parts, served, loop = 0, asyncio.Event(), asyncio.get_running_loop()

        def work() -> None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)  # the loop keeps pace

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal parts
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while scope["path"] == "/download" and not served.is_set() and parts < 1000:
                await hop(work)
                parts += 1
                await send({"type": "http.response.body", "body": b".", "more_body": True})
            await send({"type": "http.response.body"})

        async def handler(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/":
                await hop(work)
                served.set()
            await app(scope, receive, send)

        middleware = RequestScopeMiddleware(handler, db)
        downloads = [asyncio.create_task(call_asgi(middleware, "/download")) for _ in range(2)]
        while parts < 10:
            await asyncio.sleep(0)
        await asyncio.gather(call_asgi(middleware, "/"), *downloads)
        assert parts < 100


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_what_a_request_leaves_behind_and_a_websocket_come_when_they_come(
    shop_url: str, hop: Any, kind: str
) -> None:
    with opened(shop_url) as db:
        current_default_thread_limiter().total_tokens = 1
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        go, asks, running = threading.Event(), asyncio.Event(), threading.Event()
        left: list[asyncio.Task[None]] = []
        ran: list[str] = []

        async def later() -> None:
            await asks.wait()
            await hop(lambda: ran.append("left behind"))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/first":
                left.append(asyncio.create_task(later()))
            else:
                await hop(lambda: ran.append("second"))
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body"})

        middleware = RequestScopeMiddleware(app, db)
        if kind == "http":
            await asyncio.create_task(call_asgi(middleware, "/first"))
        else:
            await asyncio.create_task(middleware({"type": "websocket", "path": "/first"}, None, None))  # type: ignore[arg-type]
        busy = asyncio.create_task(hop(lambda: (running.set(), go.wait(60))))
        while not running.is_set():
            await asyncio.sleep(0)
        second = asyncio.create_task(call_asgi(middleware, "/second"))
        for _ in range(20):
            await asyncio.sleep(0)  # it is in the line
        asks.set()
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(busy, second, *left)
        assert ran == ["second", "left behind"]


@pytest.mark.parametrize("hop", [in_anyio, in_executor])
async def test_who_gives_up_leaves_the_line(db: Database, hop: Any) -> None:
    limiter = current_default_thread_limiter()
    limiter.total_tokens = 1
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    holders_first([db])
    go, running = threading.Event(), threading.Event()
    ran: list[int] = []
    first = asyncio.create_task(hop(lambda: (running.set(), go.wait(60))))
    while not running.is_set():
        await asyncio.sleep(0)
    others = [asyncio.create_task(hop(lambda number=number: ran.append(number))) for number in range(3)]
    await asyncio.sleep(0)
    others[1].cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *others, return_exceptions=True)
    assert ran == [0, 2]
    assert limiter.statistics().borrowed_tokens == 0


async def test_more_threads_are_of_use_at_once(db: Database) -> None:
    limiter = current_default_thread_limiter()
    limiter.total_tokens = 1
    holders_first([db])
    together = threading.Barrier(2)
    both = asyncio.gather(*(run_sync(together.wait, 60) for _ in range(2)))
    await asyncio.sleep(0)
    limiter.total_tokens = 2
    assert sorted(await both) == [0, 1]


async def test_an_executor_that_is_shut_down_does_no_more(db: Database) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    holders_first([db])
    go, running = threading.Event(), threading.Event()
    executor: Any = loop._default_executor  # type: ignore[attr-defined]
    first = executor.submit(lambda: (running.set(), go.wait(60)))
    second = executor.submit(lambda: None)
    running.wait(60)
    executor.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled()
    go.set()
    assert first.result(60) == (None, True)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(lambda: None)


async def test_it_is_done_once_and_the_limits_stay_the_users(shop_url: str) -> None:
    with opened(shop_url) as db:
        limiter = current_default_thread_limiter()
        holders_first([db])
        kind = type(limiter)
        holders_first([db])
        assert type(current_default_thread_limiter()) is kind
        assert current_default_thread_limiter() is limiter
        limiter.total_tokens = 7
        assert limiter.available_tokens == 7
        assert await asyncio.to_thread(lambda: 3) == 3


async def test_pool_and_threads_that_do_not_fit_are_told_with_the_numbers(
    shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    current_default_thread_limiter().total_tokens = 5
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(5))
    with opened(shop_url, pool=PoolConfig(max_size=20)) as db:
        middleware = RequestScopeMiddleware(app, db)
        await call_asgi(middleware)
        await call_asgi(middleware)
    told = [record.getMessage() for record in caplog.records if record.name == "respool.web"]
    assert len(told) == 1
    assert "max_size=20, but sync handlers run in 5 threads, so 15 connections" in told[0]


async def test_the_executor_that_was_there_does_what_it_was_given(db: Database) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    go = threading.Event()
    first, second = loop.run_in_executor(None, go.wait, 60), loop.run_in_executor(None, lambda: 2)
    holders_first([db])
    go.set()
    assert await asyncio.gather(first, second) == [True, 2]


async def test_promise_03_the_end_of_a_sync_session_needs_none_of_the_frameworks_threads(
    db: Database, shop_url: str
) -> None:
    current_default_thread_limiter().total_tokens = 0
    names: list[str] = []
    event.listen(db.engine, "commit", lambda connection: names.append(threading.current_thread().name))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        db.session.add(Order(product_id=1))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    assert (await call_asgi(RequestScopeMiddleware(app, db))).status == 200
    assert [name.partition("_")[0] for name in names] == ["respool-finish"]
    assert count(shop_url) == 1
