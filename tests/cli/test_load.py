"""The simulated customers: what they count, what they hold for a failure, and their HTTP."""

from __future__ import annotations

import asyncio
import json as jsons
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from respool.cli.demo import load
from respool.cli.demo.figures import Figures, Latencies, PoolWatch
from respool.cli.demo.http import BadAnswer, HttpConnection
from respool.cli.demo.load import Client, run_load

QUANTITY = 2  #: what a customer with the dice of these tests orders, of product 1
LINE = {"product_id": 1, "name": "Thread", "quantity": QUANTITY, "price_cents": 100}
ORDER = {"id": 1, "created_at": "2026-01-01T00:00:00.000+00:00", "total_cents": 100 * QUANTITY, "lines": [LINE]}


class Dice(random.Random):
    def randint(self, a: int, b: int) -> int:
        return min(QUANTITY, b)


def json(data: object) -> str:
    return jsons.dumps(data)


def snapshot(**pool: int) -> dict[str, Any]:
    numbers = {"max_size": 2, "total": 1, "acquired": 0, "waiting": 0, "waited_total": 0, "timeouts": 0, **pool}
    return {"databases": [{"pool": numbers, "scopes": []}]}


# -- figures ---------------------------------------------------------------------------------------------------------


def test_percentiles_are_right_within_two_percent() -> None:
    latencies = Latencies()
    times = [number / 1000 for number in range(1, 1001)]
    random.Random(1).shuffle(times)
    for seconds in times:
        latencies.add(seconds)
    for percent in (50, 95, 99, 100):
        assert percent / 100 <= latencies.percentile(percent) <= percent / 100 * 1.021


def test_percentiles_of_nothing_are_zero() -> None:
    assert str(Latencies()) == "p50 0.0 ms  p95 0.0 ms  p99 0.0 ms"


def test_a_clean_run() -> None:
    figures = Figures(3)
    figures.latencies.add(0.01)
    figures.requests["look"] += 1
    figures.watch.see(snapshot(total=2, waiting=4))
    assert not figures.watch.at_rest
    figures.watch.see(snapshot())
    assert figures.verdict() == []
    assert "at most 2 open of 2 allowed, 4 in line" in figures.report(2.0)
    assert "0.5 requests/s" in figures.report(2.0)


@pytest.mark.parametrize(
    "pool, wrong",
    [
        ({"total": 3}, "3 connections open, 2 allowed"),
        ({"acquired": 1}, "connections or sessions were left over"),
        ({"waiting": 1}, "connections or sessions were left over"),
    ],
)
def test_what_the_pool_did_wrong_is_told(pool: dict[str, int], wrong: str) -> None:
    figures = Figures(1)
    figures.latencies.add(0.01)
    figures.watch.see(snapshot(**pool))
    assert figures.verdict() == [wrong]


def test_a_session_left_open_is_told() -> None:
    watch = PoolWatch()
    seen = snapshot()
    seen["databases"][0]["scopes"].append({"label": "GET /"})
    watch.see(seen)
    assert not watch.at_rest


def test_a_run_without_requests_is_not_clean() -> None:
    figures = Figures(1)
    assert figures.verdict() == ["no request was answered", "connections or sessions were left over"]
    assert "0 connections" not in figures.report(1.0)


# -- HTTP ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def server(answer: Callable[[str], bytes]) -> AsyncIterator[str]:
    """Answers each request on a connection with the bytes for its first line; empty bytes hang up."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:"))
                await reader.readexactly(length)
                if not (content := answer(head.partition("\r\n")[0])):
                    break
                writer.write(content)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    await asyncio.gather(*(task for task in serving if task is not None))


def ok(body: str, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n{body}".encode()


async def test_requests_share_a_connection() -> None:
    asked: list[str] = []

    def answer(line: str) -> bytes:
        asked.append(line)
        return ok('{"n": 1}', "201 Created", "Location: /orders/1\r\n")

    async with server(answer) as address:
        http = HttpConnection(address)
        reply = await http.request("POST", "/orders", {"product_id": 1})
        streams = http._streams
        await http.request("GET", "/orders/1")
        assert http._streams is streams
        http.close()
    assert (reply.status, reply.data, reply.headers["location"]) == (201, {"n": 1}, "/orders/1")
    assert asked == ["POST /orders HTTP/1.1", "GET /orders/1 HTTP/1.1"]


@pytest.mark.parametrize("content", [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", ok("{"), ok("<html>")])
async def test_an_answer_that_is_not_understood_is_refused_and_the_next_request_connects_anew(content: bytes) -> None:
    answers = [content, ok("1")]
    async with server(lambda _: answers.pop(0)) as address:
        http = HttpConnection(address)
        with pytest.raises(BadAnswer):
            await http.request("GET", "/")
        assert (await http.request("GET", "/")).data == 1
        http.close()


async def test_a_server_that_hangs_up_is_an_error() -> None:
    async with server(lambda _: b"") as address:
        with pytest.raises(EOFError):
            await HttpConnection(address).request("GET", "/")


# -- customers -------------------------------------------------------------------------------------------------------


async def once(action: str, answers: dict[str, bytes]) -> Figures:
    """What one customer counts who does one thing."""
    figures = Figures(1)
    async with server(lambda line: answers[" ".join(line.split()[:2]).partition("?")[0]]) as address:
        client = Client(address, figures, asyncio.Event(), Dice())
        await client._survive(getattr(client, action))
        client._http.close()
    return figures


def order_answers(**other: bytes) -> dict[str, bytes]:
    placed = ok(json(ORDER), "201 Created", "Location: /orders/1\r\n")
    known = {"POST /orders": placed, "GET /orders/1": ok(json(ORDER)), "POST /products/1/restock": ok("{}")}
    return known | {name.replace("_", " /", 1).replace("_", "/"): content for name, content in other.items()}


async def test_an_order_is_read_back() -> None:
    figures = await once("order", order_answers())
    assert figures.errors == {}
    assert figures.requests == {"order": 1, "read back": 1}
    assert figures.latencies.count == 2


async def test_an_empty_shelf_is_filled_and_is_no_error() -> None:
    figures = await once("order", order_answers(POST_orders=ok('{"detail": "none left"}', "409 Conflict")))
    assert figures.errors == {}
    assert figures.requests == {"order": 1, "restock": 1}


@pytest.mark.parametrize(
    "answers, error",
    [
        ({"GET_orders_1": ok('{"detail": "no order 1"}', "404 Not Found")}, "status 404 instead of 200: no order 1"),
        (
            {"GET_orders_1": ok(json({**ORDER, "total_cents": 1}))},
            "an order that reads back otherwise than it was placed",
        ),
        ({"POST_orders": ok(json({**ORDER, "total_cents": 99}), "201 Created")}, "another order than the one"),
        (
            {"POST_orders": ok(json({**ORDER, "lines": [{**LINE, "quantity": 1}]}), "201 Created")},
            "another order than the",
        ),
        ({"POST_orders": ok("oops", "500 Internal Server Error")}, "an answer that is not JSON over HTTP/1.1"),
        ({"POST_orders": ok('{"detail": "away"}', "503 Service Unavailable")}, "status 503 instead of 201: away"),
        ({"POST_orders": ok("{}", "201 Created")}, "KeyError: 'lines'"),
        ({"POST_orders": b""}, "IncompleteReadError"),
    ],
)
async def test_what_is_wrong_is_an_error(answers: dict[str, bytes], error: str) -> None:
    figures = await once("order", order_answers(**answers))
    ((said, count),) = figures.errors.items()
    assert said.startswith(error)
    assert count == 1


@pytest.mark.parametrize(
    "action, path, data, error",
    [
        ("browse", "GET /products", {"total": 0, "items": []}, "a page of products without products"),
        ("search", "GET /products", {"items": [{"name": "Hat"}]}, "a search found something else"),
        ("look", "GET /products/1", {"id": 2, "stock": 1}, "another product than the one asked for"),
        ("look", "GET /products/1", {"id": 1, "stock": -1}, "another product than the one asked for"),
        ("latest", "GET /orders", {"items": [{"id": 1}, {"id": 2}]}, "the latest orders in a wrong order"),
    ],
)
async def test_content_that_cannot_be_is_an_error(action: str, path: str, data: object, error: str) -> None:
    figures = await once(action, {path: ok(json(data))})
    assert figures.errors == {error: 1}


async def test_a_run_ends_when_it_is_told_to() -> None:
    stop = asyncio.Event()

    def answer(line: str) -> bytes:
        if "_respool" in line:
            return ok(json(snapshot()))
        stop.set()
        return ok('{"detail": "closed today"}', "500 Internal Server Error")

    async with server(answer) as address:
        figures, _ = await asyncio.wait_for(run_load(address, clients=2, seconds=None, stop=stop), 30)
    assert figures.errors.total() == figures.latencies.count >= 1
    assert figures.watch.at_rest


async def test_what_is_left_over_is_looked_for_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the end all is well; what counts is what the customers leave behind."""
    monkeypatch.setattr(load, "_REST", 0.0)
    monkeypatch.setattr(load, "_LOOK", 60.0)  # one look at the start, and then none before the end
    stop, looks = asyncio.Event(), 0

    def answer(line: str) -> bytes:
        nonlocal looks
        if "_respool" in line:
            looks += 1
            return ok(json(snapshot(acquired=1 if stop.is_set() else 0)))
        if looks:
            stop.set()
        return ok('{"detail": "closed today"}', "500 Internal Server Error")

    async with server(answer) as address:
        figures, _ = await asyncio.wait_for(run_load(address, clients=1, seconds=None, stop=stop), 30)
    assert not figures.watch.at_rest
