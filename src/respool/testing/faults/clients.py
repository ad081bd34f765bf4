"""A client that hangs up in the midst of its request, or of the answer."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote
from wsgiref.util import setup_testing_defaults

__all__ = ["Departure", "hang_up", "hang_up_wsgi"]

Message = MutableMapping[str, Any]
ASGI = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


@dataclass
class Departure:
    """What an application did for a client that hung up."""

    sent: list[Any] = field(default_factory=list)  #: what it sent before: ASGI's messages; parts of the body, with WSGI
    error: BaseException | None = None  #: what came out of it

    @property
    def answered(self) -> bool:
        """Whether the answer had begun by then."""
        return bool(self.sent)


async def hang_up(
    app: ASGI,
    method: str,
    path: str,
    *,
    after: asyncio.Event | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
) -> Departure:
    """Send a request to an ASGI application, and hang up; returns when the application is done with it.

    Args:
        app: the application.
        method, path, headers, body: the request's; the path may have a query.
        after: hang up when this is set, by the handler perhaps; by default as soon as the request has arrived.

    Returns:
        what the application did. Whatever it sends afterwards nobody gets.
    """
    departure = Departure()
    inbox = [{"type": "http.request", "body": body, "more_body": False}]

    def gone() -> bool:
        return after is None or after.is_set()  # whether or not the application has read what it sent

    async def receive() -> Any:
        if inbox:
            return inbox.pop()
        if after is not None:
            await after.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if not gone():
            departure.sent.append(message)

    try:
        await app(_scope(method, path, headers), receive, send)
    except (Exception, asyncio.CancelledError) as error:
        departure.error = error
    return departure


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    route, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(route),
        "raw_path": route.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"testserver"), *((n.lower().encode(), v.encode()) for n, v in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }


def hang_up_wsgi(
    app: Callable[..., Iterable[bytes]],
    method: str,
    path: str,
    *,
    after: int = 0,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
) -> Departure:
    """Send a request to a WSGI application, and hang up in the midst of the answer.

    Args:
        app: the application.
        method, path, headers, body: as for :func:`hang_up`.
        after: after so many parts of the body.

    Returns:
        what the application did.
    """
    departure = Departure()
    route, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote(route),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }
    setup_testing_defaults(environ)
    try:
        parts = app(environ, lambda status, headers, exc_info=None: departure.sent.append)
        try:
            for _, part in zip(range(after), parts, strict=False):
                departure.sent.append(part)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
    except Exception as error:
        departure.error = error
    return departure
