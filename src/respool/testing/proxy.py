"""A TCP proxy that fails on demand, in front of a real server.

Use::

    with FaultProxy("127.0.0.1", 5432) as proxy:
        engine = create_engine(f"postgresql+psycopg://me@127.0.0.1:{proxy.port}/shop")
        proxy.cut()         # every connection is reset
        proxy.refuse()      # and no new one comes through
        proxy.accept()
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

__all__ = ["FaultProxy", "Trap"]

R = TypeVar("R")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST
_PATIENCE = 10.0  # seconds for the proxy's own thread to do what it is told


class Trap:
    """Waits for one thing that a client does, and does something to that client's connection; see ``FaultProxy.trap``."""

    def __init__(self, proxy: FaultProxy, sign: bytes | None, fault: str) -> None:
        self.sign = sign
        self.fault = fault
        self.sprung = threading.Event()  #: set once it has happened
        self._proxy = proxy
        self._link: _Link | None = None

    def release(self) -> None:
        """Pass on what is held; does nothing if nothing is."""
        self._proxy._do(self._release())

    async def _release(self) -> None:
        if self._link is not None:
            self._link.held = False
            self._link.adjust()

    def _spring(self, link: _Link) -> None:
        self._link = link
        if self.fault == "reset":
            link.reset()
        elif self.fault == "hold":
            link.held = True
            link.adjust()
        self.sprung.set()


class FaultProxy:
    """Passes bytes between its clients and one server, until told otherwise.

    Args:
        host, port: the server.
        latency: seconds by which every piece of data is late, in each direction. It may be changed at any time.

    It listens on 127.0.0.1, on a :attr:`port` of its own that stays the same, and lives in a thread of its own. Each
    method returns when what it says is done.
    """

    def __init__(self, host: str, port: int, *, latency: float = 0.0) -> None:
        self.target = (host, port)
        self.latency = latency
        self.attempts: list[float] = []  #: when somebody tried to connect, refused ones included (``time.monotonic``)
        self.accepted: list[float] = []  #: when a connect came through
        self.refusing = False
        self.stalled = False
        self._links: set[_Link] = set()
        self._traps: list[Trap] = []
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self.port = 0  #: where clients connect to
        self._do(self._listen())

    # -- faults ------------------------------------------------------------------------------------------------------

    def refuse(self, *, close_port: bool = False) -> None:
        """Let no new connection through; those that exist go on.

        Args:
            close_port: as if nobody listened at all. Otherwise, so that attempts can be counted, each is reset as soon
                as it is made.
        """
        self.refusing = True
        if close_port:
            self._do(self._stop_listening())

    def accept(self) -> None:
        """The end of :meth:`refuse`."""
        self.refusing = False
        self._do(self._listen())

    def stall(self) -> None:
        """Keep everything open and pass nothing, not even an end: a network that swallows packets."""
        self._do(self._set_stalled(True))

    def flow(self) -> None:
        """The end of :meth:`stall`: what was held back is passed on."""
        self._do(self._set_stalled(False))

    def cut(self) -> int:
        """Reset every connection; returns how many there were."""
        return self._do(self._cut())

    def half_close(self) -> int:
        """Tell every client that its server says nothing more, while what the client sends still arrives there."""
        return self._do(self._half_close())

    def trap(self, sign: bytes | None, fault: Literal["pass", "reset", "hold"] = "pass") -> Trap:
        """Have something happen to the next connection on which a client does this; once.

        Args:
            sign: what the client sends, in one piece with what is around it; ``None``: its attempt to connect.
            fault: ``reset`` resets that connection, ``hold`` passes nothing on it from then on, until the trap is
                released; ``pass`` does nothing. What the client sent is not passed on before.
        """
        trap = Trap(self, sign, fault)
        self._do(self._set(trap))
        return trap

    # -- what it saw -------------------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many connections go through it now."""
        return len(self._links)

    def most_attempts_within(self, seconds: float = 1.0) -> int:
        """The most attempts to connect in any stretch of this length."""
        times, most, first = list(self.attempts), 0, 0
        for last, at in enumerate(times):
            while at - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    # -- its life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Reset every connection, stop listening, end the thread. A second call does nothing."""
        if self._loop.is_closed():
            return
        self._do(self._stop_listening())
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- inside its thread -------------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        while True:
            # Below the ports that the system gives to outgoing connections: nobody else gets it while it is closed.
            port = self.port or random.randrange(15_000, 30_000)
            try:
                self._server = await self._loop.create_server(lambda: _Link(self).client, "127.0.0.1", port)
            except OSError:
                if self.port:
                    raise
            else:
                self.port = port
                return

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _set_stalled(self, stalled: bool) -> None:
        self.stalled = stalled
        for link in list(self._links):
            link.held = link.held and stalled
            link.adjust()

    async def _set(self, trap: Trap) -> None:
        self._traps.append(trap)

    def _spring(self, link: _Link, data: bytes | None) -> None:
        """A client did something: the first trap that waits for it snaps."""
        for trap in self._traps:
            if data is None if trap.sign is None else trap.sign in (data or b""):
                self._traps.remove(trap)
                trap._spring(link)
                return

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        await asyncio.gather(*(link.gone.wait() for link in links))
        return len(links)

    async def _half_close(self) -> int:
        links = list(self._links)
        for link in links:
            link.client.send(b"")
        return len(links)


class _Link:
    """One client's connection and its twin to the server."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.client = _End(self)
        self.server = _End(self)
        self.ready = False
        self.held = False
        self.gone = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """A client is there."""
        self.proxy.attempts.append(time.monotonic())
        if self.proxy.refusing:
            self.client.reset()
            return
        self.proxy.accepted.append(time.monotonic())
        self.proxy._links.add(self)
        self.proxy._spring(self, None)
        self.adjust()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self.proxy.target)
        except OSError:
            self.client.reset()
            return
        self.ready = True
        self.adjust()

    @property
    def passes(self) -> bool:
        """Whether what comes in may go out."""
        return not (self.held or self.proxy.stalled)

    def adjust(self) -> None:
        """Read and pass on what may be, now that something has changed."""
        for end in (self.client, self.server):
            end.adjust()

    def reset(self) -> None:
        self.client.reset()
        self.server.reset()

    def lost(self, end: _End) -> None:
        """One of the two connections is gone: so is the other, once it has what was meant for it."""
        if end is self.client and self._connecting is not None:
            self._connecting.cancel()
        end.other.finish()
        if not self.client.is_there and not self.server.is_there:
            self.proxy._links.discard(self)
            self.gone.set()


class _End(asyncio.Protocol):
    """One of the two connections of a link."""

    def __init__(self, link: _Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.outbox: deque[tuple[float, bytes]] = deque()  # when to pass it on, and what; b"" is the end
        self.full = False  # whoever is behind this connection does not read
        self.ended = False  # it said all that it had to say
        self.finishing = False
        self.told_end = False  # it has been told that nothing more comes, and what comes all the same is dropped
        self.is_there = False

    @property
    def other(self) -> _End:
        return self.link.server if self is self.link.client else self.link.client

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_there = True
        if self is self.link.client:
            self.link.begin()
        elif not self.link.client.is_there:
            self.reset()

    def data_received(self, data: bytes) -> None:
        if self is self.link.client and self.link.proxy._traps:
            self.link.proxy._spring(self.link, data)
        self.other.send(data)

    def eof_received(self) -> bool:
        self.ended = True
        self.other.send(b"")
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self.is_there = False
        if error is not None:
            self.other.reset()
        self.link.lost(self)

    def pause_writing(self) -> None:
        self.full = True
        self.other.adjust()

    def resume_writing(self) -> None:
        self.full = False
        self.other.adjust()

    # -- called by the proxy

    def send(self, data: bytes) -> None:
        """Pass this on, when it is time; nothing at all is the end."""
        at = asyncio.get_running_loop().time() + self.link.proxy.latency
        if self.outbox:
            self.outbox.append((max(at, self.outbox[-1][0]), data))  # the pump runs for the first one already
        else:
            self.outbox.append((at, data))
            self._pump()

    def adjust(self) -> None:
        if self.transport is not None:
            if self.link.ready and self.link.passes and not self.other.full:
                if not self.ended:
                    self.transport.resume_reading()
            else:
                self.transport.pause_reading()
            self._pump()

    def finish(self) -> None:
        """Close it after what is still to be passed on."""
        self.finishing = True
        self._pump()

    def reset(self) -> None:
        self.outbox.clear()
        if self.transport is not None and self.is_there:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()

    def _pump(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or not self.link.passes:
            return
        loop = asyncio.get_running_loop()
        while self.outbox:
            at, data = self.outbox[0]
            if at > loop.time():
                loop.call_at(at, self._pump)
                return
            self.outbox.popleft()
            if self.told_end:
                continue
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                self.told_end = True
                transport.write_eof()
        if self.finishing or (self.ended and self.other.ended):
            transport.close()
