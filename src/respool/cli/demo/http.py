"""A client for one keep-alive HTTP/1.1 connection on plain asyncio streams: all that the simulated clients need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["BadAnswer", "HttpConnection", "Reply"]


class BadAnswer(Exception):
    """The server said something that is not HTTP as this client knows it, or not what was asked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One response: ``data`` is the body read as JSON, ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    data: Any


class HttpConnection:
    """Speaks to one server, one request after the other; connects when first needed and again after a failure.

    Args:
        base_url: where the server is, as in ``http://127.0.0.1:8000``.
        timeout: seconds for one request, connecting included.
    """

    def __init__(self, base_url: str, *, timeout: float = 60.0) -> None:
        address = urlsplit(base_url)
        self._host = address.hostname or "127.0.0.1"
        self._port = address.port or 80
        self._authority = address.netloc
        self._timeout = timeout
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: object = None) -> Reply:
        """Send one request and read the whole answer.

        Raises:
            OSError, EOFError, TimeoutError: the connection could not be made, broke, or was too slow.
            BadAnswer: the answer is not understood.
        """
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await self._connected()
                writer.write(self._encoded(method, path, body))
                await writer.drain()
                return await self._answer(reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up. The next request connects anew."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    def _encoded(self, method: str, path: str, body: object) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._authority}\r\nAccept: application/json\r\n"
        if body is not None:
            head += "Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content

    async def _answer(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.strip().split("\r\n")
        try:
            status = int(status_line.split()[1])
            headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            content = await reader.readexactly(int(headers["content-length"]))
            data = json.loads(content) if content else None
        except (LookupError, ValueError) as error:
            raise BadAnswer(f"an answer that is not JSON over HTTP/1.1: {status_line[:80]!r}") from error
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(status, headers, data)
