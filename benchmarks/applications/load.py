"""The clients: on keep-alive connections in one event loop, each asks again as soon as it has its answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.rounds import percentile

__all__ = ["Answers", "Ask", "Client", "crowd", "storm"]

PATIENCE = 10.0  #: seconds for which a client waits for an answer


@dataclass(frozen=True)
class Ask:
    """One request, and what its answer must have in it."""

    method: str
    path: str
    proof: bytes
    times: int = 1  #: how often the proof is in the body
    token: str | None = None  #: what is saved, if the answer says so


@dataclass
class Answers:
    """What came of a crowd's requests."""

    took: list[float] = field(default_factory=list)  #: seconds, of the right answers
    done: set[str] = field(default_factory=set)  #: tokens that were answered 200
    not_done: set[str] = field(default_factory=set)  #: and those that were not
    errors: int = 0  #: other statuses, lost connections, no answer in time
    wrong: int = 0  #: 200, with something else in it
    seconds: float = 0.0
    turns: list[int] = field(default_factory=list)  #: how many answers each client had
    statuses: Counter[int] = field(default_factory=Counter)  #: 0: no answer
    at: list[tuple[float, bool]] = field(default_factory=list)  #: when each came, and whether it was right

    def note(self, ask: Ask, status: int, body: bytes, took: float) -> None:
        right = status == 200 and body.count(ask.proof) == ask.times
        self.statuses[status] += 1
        self.at.append((time.perf_counter(), right))
        if right:
            self.took.append(took)
        elif status == 200:
            self.wrong += 1
        else:
            self.errors += 1
        if ask.token is not None:
            (self.done if status == 200 else self.not_done).add(ask.token)

    @property
    def count(self) -> int:
        return len(self.took) + self.errors + self.wrong

    def figures(self) -> dict[str, float]:
        """Rates and waits."""
        took = self.took or [PATIENCE]
        return {
            "rate": len(self.took) / self.seconds,
            "slowdown": self.seconds / max(len(self.took), 1) * 1e3,
            "p50": percentile(took, 0.5) * 1e3,
            "p99": percentile(took, 0.99) * 1e3,
            "max": max(took) * 1e3,
            "errors": self.errors,
            "wrong": self.wrong,
        }


class Client(asyncio.Protocol):
    """One connection, which is made when it is needed, and again when it is lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: Any = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._data = b""

    async def ask(self, method: str, path: str, patience: float = PATIENCE) -> tuple[int, bytes]:
        """One request; status 0 if the connection was lost, or no answer came in time: then it hangs up."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience):
                if self._transport is None:
                    await loop.create_connection(lambda: self, "127.0.0.1", self._port)
                self._answer, self._data = loop.create_future(), b""
                self._transport.write(_request(method, path))
                return await self._answer
        except (OSError, TimeoutError):
            self.close()
            return 0, b""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        low = head.lower()
        if b"content-length:" in low:
            length = int(low.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            whole = len(body) >= length
        else:
            whole = body.endswith(b"0\r\n\r\n")
        if whole and self._answer is not None and not self._answer.done():
            if b"connection: close" in low:
                self.close()
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((0, b""))


def _request(method: str, path: str) -> bytes:
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: shop\r\n{length}\r\n".encode()


async def crowd(port: int, clients: int, seconds: float, asks: Callable[[], Ask], limit: int | None = None) -> Answers:
    """Clients that ask for so long, or so often all together.

    Args:
        asks: makes the next request.
    """
    answers = Answers()
    left = limit
    began = time.perf_counter()

    async def one() -> None:
        nonlocal left
        client, turns = Client(port), 0
        while time.perf_counter() < began + seconds and (left is None or left > 0):
            if left is not None:
                left -= 1
            ask = asks()
            at = time.perf_counter()
            status, body = await client.ask(ask.method, ask.path)
            answers.note(ask, status, body, time.perf_counter() - at)
            turns += 1
            if status == 0:
                await asyncio.sleep(0.01)  # the server is not there
        client.close()
        answers.turns.append(turns)

    await asyncio.gather(*(one() for _ in range(clients)))
    answers.seconds = time.perf_counter() - began
    return answers


async def storm(port: int, rate: float, seconds: float, patience: float, asks: Callable[[], Ask]) -> Answers:
    """Clients that come at their own pace, whether or not those before them are served, and leave after a while.

    Args:
        rate: how many come in a second.
        patience: seconds after which one hangs up.
    """
    answers = Answers()
    began = time.perf_counter()

    async def one() -> None:
        client, ask, at = Client(port), asks(), time.perf_counter()
        status, body = await client.ask(ask.method, ask.path, patience)
        answers.note(ask, status, body, time.perf_counter() - at)
        client.close()

    tasks: list[asyncio.Task[None]] = []
    for number in range(int(rate * seconds)):
        with suppress(TimeoutError):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    answers.seconds = time.perf_counter() - began
    return answers
