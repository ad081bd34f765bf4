"""Servers in a few lines: they call an application as a real one would, and check that it keeps the protocol."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.util import setup_testing_defaults


@dataclass
class Answer:
    """What a client saw. ``error`` is what came out of the application, as a server would log it."""

    status: int = 0
    body: bytes = b""
    error: BaseException | None = None
    messages: list[Any] = field(default_factory=list)
    at_start: Any = None  #: what the ``probe`` said when the first byte was about to leave


async def call_asgi(
    app: Any,
    path: str = "/",
    method: str = "GET",
    *,
    probe: Callable[[], Any] = lambda: None,
    on_message: Callable[[Any], Awaitable[None]] | None = None,
    scope: dict[str, Any] | None = None,
) -> Answer:
    """One request, by ASGI. An application that fails before it answers gets the server's own 500."""
    answer = Answer()
    inbox = [{"type": "http.request", "body": b"", "more_body": False}]
    done = asyncio.Event()

    async def receive() -> Any:
        if inbox:
            return inbox.pop(0)
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        kinds = [m["type"] for m in answer.messages]
        if message["type"] == "http.response.start":
            assert "http.response.start" not in kinds, "two responses"
            answer.status = message["status"]
            answer.at_start = probe()
        else:
            assert "http.response.start" in kinds, "a body before the response"
            assert not done.is_set(), "a body after the end"
            answer.body += message.get("body", b"")
            if not message.get("more_body"):
                done.set()
        answer.messages.append(message)
        if on_message is not None:
            await on_message(message)

    request = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        **(scope or {}),
    }
    try:
        await app(request, receive, send)
    except Exception as error:
        answer.error = error
        if not answer.messages:
            answer.status = 500
    assert answer.status, "no answer"
    return answer


def call_wsgi(app: Any, path: str = "/", method: str = "GET", *, probe: Callable[[], Any] = lambda: None) -> Answer:
    """One request, by WSGI. An application that fails before it answers gets the server's own 500."""
    answer = Answer()
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(REQUEST_METHOD=method, PATH_INFO=path)
    environ.update({"QUERY_STRING": "", "wsgi.input": io.BytesIO()})

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        assert exc_info is not None or not answer.status, "two responses"
        answer.status = int(status.split()[0])
        answer.at_start = probe()
        return lambda data: None

    body: Any = ()
    try:
        body = app(environ, start_response)
        for part in body:
            assert answer.status, "a body before the response"
            answer.body += part
    except Exception as error:
        answer.error = error
        answer.status = answer.status or 500
    finally:
        if hasattr(body, "close"):
            body.close()
    assert answer.status, "no answer"
    return answer
