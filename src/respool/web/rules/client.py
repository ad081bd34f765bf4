"""Notices that a client has hung up while its request waits for a connection, so that the request can leave the line.

Only then is anything listened for. The server tells of the departure as one of the request's messages, which are the
application's: what is read ahead is kept for it, in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

__all__ = ["Departures", "Inbox", "Message", "Receive", "Watch"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Leave = Callable[[], object]

#: How many messages are read ahead; a client that is still sending its body is still there.
_AHEAD = 16
#: Seconds between two looks, where the server does not tell; and before anything is listened for: most waits are shorter.
_INTERVAL = 0.05


class Departures:
    """The client of one request: what its waits are told when it goes. May be asked from any thread."""

    # What begins with the same value for everybody stands here: each attribute less makes a request cheaper.
    _gone = False
    _over = False  #: it waits for nothing more: what the request does after its answer, or leaves behind, is not for it
    _leaves: tuple[Leave, ...] = ()
    _loop: asyncio.AbstractEventLoop  #: that of the request

    def waits(self, leave: Leave) -> None:
        """The request's work waits for a connection; ``leave`` is called if the client goes away meanwhile."""
        self._in_loop(self._add, leave)

    def goes_on(self, leave: Leave) -> None:
        """The work waits no more."""
        self._in_loop(self._discard, leave)

    def departed(self) -> None:
        """The client is gone: whatever waits for it leaves. To be called in the loop."""
        self._gone = True
        leaves, self._leaves = self._leaves, ()
        for leave in leaves:
            leave()

    def answered(self) -> None:
        """It has all of its answer."""
        self._over = True
        self._leaves = ()

    def _look(self) -> None:
        """Begin to look for the client's departure, unless that is being done."""
        raise NotImplementedError

    def _add(self, leave: Leave) -> None:
        if self._over:
            return
        if self._gone:
            leave()
        else:
            self._leaves = (*self._leaves, leave)
            self._look()

    def _discard(self, leave: Leave) -> None:
        self._leaves = tuple(each for each in self._leaves if each is not leave)

    def _in_loop(self, function: Callable[[Leave], None], leave: Leave) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            function(leave)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, leave)


class Inbox(Departures):
    """The messages of one ASGI request: handed to the application in order, read ahead while the request waits.

    Args:
        receive: the server's.
        scope: the request's, where frameworks note what answers it.
    """

    _ahead: deque[Message] | None = None  #: what was read ahead
    _inside = 0  #: how many of the application's own calls are waiting for a message
    _listener: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None  #: when it is listened for

    def __init__(self, receive: Receive, scope: Mapping[str, Any]) -> None:
        self._receive = receive
        self._scope = scope
        self._loop = asyncio.get_running_loop()

    def handler(self) -> Any:
        """The function that answers the request, where its framework has noted it."""
        handler = self._scope.get("endpoint") or self._scope.get("route_handler")  # Starlette and FastAPI; Litestar
        return getattr(handler, "fn", handler)

    def route(self) -> str | None:
        """The template that its path fits, where its framework has noted it."""
        scope = self._scope
        if template := scope.get("path_template"):  # Litestar
            return str(template)
        whole = scope.get("fastapi", {}).get("effective_route_context")  # with the prefixes of FastAPI's routers
        template = getattr(whole or scope.get("route"), "path", None)
        return None if template is None else str(template)

    async def receive(self) -> Message:
        """What the application gets as ``receive``."""
        while self._listener is not None and not self._ahead:
            await asyncio.wait({self._listener})
        if self._ahead:
            return self._ahead.popleft()
        self._inside += 1
        try:
            message = await self._receive()
        finally:
            self._inside -= 1
            if self._leaves:  # it listened for us too
                self._look_now()
        if message["type"] == "http.disconnect":
            self.departed()
        return message

    def close(self) -> None:
        """The request is over: stop listening."""
        self.answered()
        self._scope = {}  # it has the request's scopes, which have this: neither keeps the other
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()

    def _look(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_INTERVAL, self._look_now)

    def _discard(self, leave: Leave) -> None:
        super()._discard(leave)
        if self._timer is not None and not self._leaves:
            self._timer.cancel()
            self._timer = None

    def _look_now(self) -> None:
        self._timer = None
        if self._listener is None and self._leaves and not self._inside and len(self._ahead or ()) < _AHEAD:
            self._listener = self._loop.create_task(self._listen(), name="respool: is the client still there?")
            self._listener.add_done_callback(self._listened)

    async def _listen(self) -> None:
        message = await self._receive()
        if self._ahead is None:
            self._ahead = deque()
        self._ahead.append(message)
        if message["type"] == "http.disconnect":
            self.departed()

    def _listened(self, task: asyncio.Task[None]) -> None:
        self._listener = None
        if not task.cancelled() and task.exception() is None and self._leaves:
            self._look_now()


class Watch(Departures):
    """The client of one request of a server that does not tell: looked at from time to time while the request waits.

    Args:
        is_gone: whether the client has hung up.
    """

    _looking = False

    def __init__(self, is_gone: Callable[[], bool]) -> None:
        self._is_gone = is_gone
        self._loop = asyncio.get_running_loop()

    def _look(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        if self._leaves and self._is_gone():
            self.departed()
        if self._leaves:
            self._loop.call_later(_INTERVAL, self._look_again)
        else:
            self._looking = False
