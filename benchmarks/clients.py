"""Clients of an ASGI application in the same process: one that asks, and a crowd that asks again and again."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from typing import Any

__all__ = ["ask", "crowd"]


async def ask(app: Any, path: str = "/", gone: asyncio.Event | None = None, pause: float = 0.0) -> int:
    """One request, as a server would call the application; returns the status.

    Args:
        gone: when the client hangs up; never by default.
        pause: seconds that it takes the client to read a portion of the body.
    """
    asked, statuses = False, [0]
    forever = gone or asyncio.Event()

    async def receive() -> Any:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await forever.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses[0] = message["status"]
        elif pause:
            await asyncio.sleep(pause)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    with suppress(Exception):
        await app(scope, receive, send)
    return statuses[0] or 500


async def crowd(app: Any, *, clients: int, requests: int) -> dict[str, float]:
    turns, took, errors = iter(range(requests)), [], 0

    async def client() -> None:
        nonlocal errors
        for _ in turns:
            began = time.perf_counter()
            errors += await ask(app) != 200
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    return {
        "errors": errors,
        "p50_ms": statistics.median(took) * 1e3,
        "max_ms": max(took) * 1e3,
        "per_second": requests / seconds,
    }
