"""Snapshots as they come: few streams, the newest only, and an end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from respool import Database
from respool.observe.dashboard import dashboard, streams
from respool.observe.dashboard.streams import Streams
from respool.observe.observation import observation
from respool.pool.drivers.clock import Clock
from tests.web.clients import call_asgi

GET = {"headers": [(b"host", b"localhost")]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its time is the number in the list. The thread that looks does not: the tests publish."""
    now = [100.0]
    monkeypatch.setattr(Clock, "now", staticmethod(lambda: now[0]))
    monkeypatch.setattr(observation, "each_tick", lambda function: None)
    return now


def numbers() -> Any:
    made = iter(range(1000))
    return lambda: str(next(made)).encode()


async def passed() -> None:
    """What was handed over from a thread has come."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_the_first_comes_at_once_and_then_one_each_second(clock: list[float]) -> None:
    made = Streams(numbers(), 2)
    stream = made.open()
    assert stream is not None
    parts = aiter(stream)
    assert await anext(parts) == b"retry: 300\n\n"
    made.publish()
    assert await anext(parts) == b"data: 0\n\n"
    clock[0] += 0.9
    made.publish()
    clock[0] += 0.1
    made.publish()
    assert await anext(parts) == b"data: 1\n\n"
    await parts.aclose()


async def test_a_slow_reader_gets_the_newest_only(clock: list[float]) -> None:
    made = Streams(numbers(), 2)
    stream = made.open()
    assert stream is not None
    parts = aiter(stream)
    await anext(parts)
    for _ in range(5):
        made.publish()
        clock[0] += 1
    await passed()
    assert await anext(parts) == b"data: 4\n\n"
    await parts.aclose()


async def test_there_are_so_many_and_no_more(clock: list[float]) -> None:
    made = Streams(numbers(), 2)
    first, second = made.open(), made.open()
    assert first is not None
    assert second is not None
    assert made.open() is None
    first.close()
    assert made.open() is not None


async def test_it_is_over_soon_in_any_case(clock: list[float]) -> None:
    made = Streams(numbers(), 2)
    stream = made.open()
    assert stream is not None
    parts = aiter(stream)
    await anext(parts)
    clock[0] += 15
    made.publish()
    with pytest.raises(StopAsyncIteration):
        await anext(parts)
    assert made not in streams._watched


class Server:
    """As uvicorn's: it is its signals' handler."""

    should_exit = False

    def handle_exit(self, *args: Any) -> None: ...


async def test_it_ends_with_the_server(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    monkeypatch.setattr(signal, "getsignal", lambda number: server.handle_exit)
    made = Streams(numbers(), 2)
    stream = made.open()
    assert stream is not None
    parts = aiter(stream)
    await anext(parts)
    made.publish()
    assert await anext(parts) == b"data: 0\n\n"
    server.should_exit = True
    made.publish()
    with pytest.raises(StopAsyncIteration):
        await anext(parts)


async def test_a_stream_by_asgi(db: Database) -> None:
    """From the thread that looks, until the page goes; and no connection is opened for it."""
    gone = asyncio.Event()
    page = dashboard(db)
    seen: list[Any] = []

    async def look(message: Any) -> None:
        if message.get("body", b"").startswith(b"data: "):
            seen.append(json.loads(message["body"].removeprefix(b"data: ")))
            if len(seen) == 2:
                gone.set()

    answer = await asyncio.wait_for(call_asgi(page, "/events", scope=GET, gone=gone, on_message=look), 30)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert [each["databases"][0]["name"] for each in seen] == ["shop", "shop"]
    assert db.pool.stats().total == 0
    assert not page._streams._open
    assert page._streams not in streams._watched


async def test_one_too_many_by_asgi(db: Database) -> None:
    page = dashboard(db)
    there = [page._streams.open() for _ in range(8)]
    assert (await call_asgi(page, "/events", scope=GET)).status == 503
    page.close()
    for stream in there:
        assert stream is not None
        assert [part async for part in stream][-1:] != [b""]
    assert (await call_asgi(page, "/events", "HEAD", scope=GET)).status == 200


def test_a_real_server_stops_while_somebody_looks_on(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(
        "from respool import Database\nfrom respool.observe import dashboard\npage = dashboard(Database('sqlite:///shop.db'))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--interface",
            "asgi3",
            "--fd",
            str(listener.fileno()),
            "shown:page",
        ]
        server = subprocess.Popen(command, cwd=tmp_path, pass_fds=[listener.fileno()], stderr=subprocess.PIPE)
        try:
            with socket.create_connection(listener.getsockname()) as looking, looking.makefile("rb") as answer:
                looking.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                while not answer.readline().startswith(b"data: "):
                    pass
                server.send_signal(signal.SIGTERM)
                while answer.readline():  # to the end of the stream, and of the connection
                    pass
            _, said = server.communicate(timeout=60)
        finally:
            server.kill()
            server.wait()
    assert b"Finished server process" in said
    assert b"Cancel" not in said
