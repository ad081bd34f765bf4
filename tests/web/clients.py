"""Servers in a few lines: they call an application as a real one would, and check that it keeps the protocol."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults


@dataclass
class Answer:
    """What a client saw. ``error`` is what came out of the application, as a server would log it."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    messages: list[Any] = field(default_factory=list)
    complete: bool = False  #: whether the body came to its end
    at_start: Any = None  #: what the ``probe`` said when the first byte was about to leave


async def call_asgi(
    app: Any,
    path: str = "/",
    method: str = "GET",
    *,
    probe: Callable[[], Any] = lambda: None,
    on_message: Callable[[Any], Awaitable[None]] | None = None,
    scope: dict[str, Any] | None = None,
    gone: asyncio.Event | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """One request, by ASGI. An application that fails before it answers gets the server's own 500.

    Args:
        probe: asked when the first byte is about to leave.
        on_message: awaited with each message of the answer.
        scope: more of the ASGI scope.
        gone: set when the client hangs up; no answer is expected then.
    """
    answer = Answer()
    inbox = [{"type": "http.request", "body": b"", "more_body": False}]
    done = asyncio.Event() if gone is None else gone

    async def receive() -> Any:
        if inbox:
            return inbox.pop(0)
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if gone is not None and gone.is_set():
            return
        kinds = [m["type"] for m in answer.messages]
        if message["type"] == "http.response.start":
            assert "http.response.start" not in kinds, "two responses"
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message.get("headers", [])}
            answer.at_start = probe()
        else:
            assert "http.response.start" in kinds, "a body before the response"
            assert not done.is_set(), "a body after the end"
            answer.body += message.get("body", b"") if method != "HEAD" else b""  # as servers do
            if not message.get("more_body"):
                answer.complete = True
                done.set()
        answer.messages.append(message)
        if on_message is not None:
            await on_message(message)

    request = {**http(path, method), **(scope or {})}
    request["headers"] = [*request["headers"], *((name.encode(), value.encode()) for name, value in headers.items())]
    try:
        await app(request, receive, send)
    except Exception as error:
        answer.error = error
        if not answer.messages:
            answer.status, answer.complete = 500, True
    assert answer.status or gone, "no answer"
    return answer


def http(path: str, method: str = "GET") -> dict[str, Any]:
    """The ASGI scope of a request."""
    return {**_connection(path), "type": "http", "method": method, "scheme": "http"}


async def talk_asgi(app: Any, path: str, texts: list[str]) -> list[str]:
    """One websocket, by ASGI: what is answered to each text."""
    inbox: list[Any] = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": t} for t in texts)]
    told: list[str] = []
    done = asyncio.Event()

    async def receive() -> Any:
        if inbox:
            return inbox.pop(0)
        await done.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            told.append(message["text"])
        if len(told) == len(texts) or message["type"] == "websocket.close":
            done.set()

    await app({**_connection(path), "type": "websocket", "scheme": "ws", "subprotocols": []}, receive, send)
    return told


@asynccontextmanager
async def living(app: Any) -> AsyncIterator[list[str]]:
    """The lifespan of an ASGI application; gives what it says. One that has none is let be, as servers do."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    said: list[str] = []

    async def live() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put)
        except Exception:
            await outbox.put({"type": "none"})

    task = asyncio.create_task(live())
    await inbox.put({"type": "lifespan.startup"})
    said.append((await outbox.get())["type"])
    try:
        yield said
    finally:
        if said[0] == "lifespan.startup.complete":
            await inbox.put({"type": "lifespan.shutdown"})
            said.append((await outbox.get())["type"])
        await task


def _connection(path: str) -> dict[str, Any]:
    return {
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def call_http(
    port: int,
    path: str,
    method: str = "GET",
    *,
    gone: asyncio.Event | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """One request to a server on loopback; ``gone``: set when the client hangs up before it has an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        more = {**({"Content-Length": "0"} if method == "POST" else {}), **headers}
        lines = [f"{method} {quote(path)} HTTP/1.1", "Host: test", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if gone is not None:
            await gone.wait()
            return Answer()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        answer = Answer(status=int(lines[0].split()[1]), body=body)
        answer.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if answer.headers.get("transfer-encoding") == "chunked":
            parts = [*_chunks(body)]
            answer.body, answer.complete = b"".join(parts), parts[-1:] == [b""]
        else:
            answer.complete = len(body) == int(answer.headers.get("content-length", len(body)))
        return answer
    finally:
        writer.close()


def _chunks(body: bytes) -> Iterator[bytes]:
    """The parts of a body. The last one is empty; if it is not there, the body was cut short."""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        yield body[:length]
        body = body[length + 2 :]


def call_wsgi(
    app: Any,
    path: str = "/",
    method: str = "GET",
    *,
    probe: Callable[[], Any] = lambda: None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """One request, by WSGI. An application that fails before the first part of its body gets the server's own 500."""
    answer = Answer()
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(REQUEST_METHOD=method, PATH_INFO=path)
    environ.update({f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()})
    environ.update({"QUERY_STRING": "", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr})  # pytest shows that

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        assert exc_info is not None or not answer.status, "two responses"
        answer.status = int(status.split()[0])
        answer.headers = {name.lower(): value for name, value in headers}
        answer.at_start = probe()
        return lambda data: None

    body: Any = ()
    left = False  # the status line goes with the first part
    try:
        body = app(environ, start_response)
        for part in body:
            assert answer.status, "a body before the response"
            left = True
            answer.body += part if method != "HEAD" else b""  # as servers do
        answer.complete = True
    except Exception as error:
        answer.error = error
        if not left:
            answer.status, answer.complete = 500, True
    finally:
        if hasattr(body, "close"):
            body.close()
    assert answer.status, "no answer"
    return answer
