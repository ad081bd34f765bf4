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


async def crowd(app: Any, *, clients: int, requests: int, before: int = 0) -> dict[str, float]:
    """Clients that ask again and again, until so many requests are answered.

    Args:
        before: so many requests come first, and are not counted: connections are opened, threads started.
    """
    turns, took, statuses = iter(range(before + requests)), [], []
    began = time.perf_counter()

    async def client() -> None:
        nonlocal began
        for turn in turns:
            asked = time.perf_counter()
            if turn == before:
                began = asked
            status = await ask(app)
            if turn >= before:
                took.append(time.perf_counter() - asked)
                statuses.append(status)

    await asyncio.gather(*(client() for _ in range(clients)))
    return {
        "errors": len(statuses) - statuses.count(200),
        "p50_ms": statistics.median(took) * 1e3,
        "mean_ms": statistics.fmean(took) * 1e3,
        "max_ms": max(took) * 1e3,
        "max_by_mean": max(took) / statistics.fmean(took),
        "per_second": requests / (time.perf_counter() - began),
    }
