"""What all stands have in common: an application on two databases, and a way to ask it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from tests.web.clients import Answer, call_asgi, call_http, call_wsgi, living, talk_asgi
from tests.web.endings import ENDINGS
from tests.web.stands.work import AsyncWork, SyncWork

__all__ = ["ASGIStand", "Late", "Page", "ServerStand", "Stand", "WSGIStand"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
NOTHING: Mapping[str, Any] = MappingProxyType({})

NO_CLIENT = "WSGI has no message for a client's departure"
NO_SOCKET = "WSGI has no websockets"
NO_LIFESPAN = "WSGI has no start and stop"
NO_CLEANUP = "extensions have no place to clean up between the handler and the first byte"
STARLETTES = "a class of Starlette's"

#: For the ``missing`` of a stand that has not been filled in for the end of a request.
PENDING = dict.fromkeys(ENDINGS, "still to be filled in")


@dataclass(frozen=True)
class Page:
    """An error that has a page of the application's: where it is asked for, and its status."""

    path: str
    status: int
    method: str = "POST"


#: The pages of errors that every framework has, by what is wrong.
PAGES = {
    "unhandled": Page("/do/broken/1", 500),
    "the framework's own": Page("/refuse/flushed", 403),
    "no route": Page("/nowhere", 404),
}


@dataclass(frozen=True)
class Late:
    """A place where code of an extension's or the framework's runs after the handler, and before the first byte.

    Args:
        name: as the framework calls it.
        status: whether an error can be made of the answer there: the guest returns a status.
        quiet: whether the framework logs an exception there, and lets the answer leave as it is.
        cleans: whether extensions clean up there.
    """

    name: str
    status: bool = False
    quiet: bool = False
    cleans: bool = False


class Stand(ABC):
    """An application in one framework, with endpoints of one kind, sync or async.

    Its paths are ``/do/WHAT/NUMBER``, which calls ``work.do``; ``/refuse/WHAT``, which does so and raises the
    framework's error for 403; ``/answer/WHAT/STATUS``, which returns that status; ``/stream``; ``/background``;
    ``/nested/do/WHAT/NUMBER``, in an application within the application, with the databases installed once more where
    that can be; and ``/ws``, a websocket. For the end of a request (``endings.py``): ``/failing`` and ``/streamed``, which
    answer with the body that ``work.failing`` and ``work.streamed`` return; ``/unsendable/WHAT``, which calls
    ``work.do("flushed", 1)`` and returns what the framework cannot send.

    A guest is code of somebody else's: it calls ``work.guest()`` (``work.guest_now()`` where nothing can be awaited), at
    most once for a request, and gives the answer the status that is returned, if any. Where it is: the name of one of
    ``late``, ``after`` or ``stopping``; ``"gzip"``: a middleware within or around, as users would add it, that holds the
    start of an answer back until the first part of its body; ``"pages"``: error pages for 403, 404 and all that is
    unexpected, and for ``IntegrityError`` (409) with ``handlers``, each the text of ``work.page()``; ``"handled"``: a handler
    that answers ``LookupError`` with 200 and ``handled``.

    Args:
        db, other: the databases.
        handlers: whether it has handlers of its own: for ``IntegrityError``, answered 409, and ``PoolQueueFull``, 429.
        around: whether there is a middleware of the framework's on both sides of ours.
        lifespan: whether a server that starts and stops takes the databases along.
        guest_at: where there is a guest, if anywhere.
        plan: what it does.
        shown: where the databases are shown, and to whom: the keywords of ``install``.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "async"
    missing: ClassVar[dict[str, str]] = {}  #: cases that there cannot be, and why
    starts_again: ClassVar[bool] = True  #: whether the framework lets an application start a second time
    late: ClassVar[tuple[Late, ...]] = ()  #: where code runs after the handler and before the first byte
    after: ClassVar[tuple[str, ...]] = ()  #: where code runs after the first byte
    unsendable: ClassVar[
        dict[str, int]
    ] = {}  #: answers found wanting after the handler, with the status in their place
    pages: ClassVar[dict[str, Page]] = PAGES  #: errors that have pages
    stopping: ClassVar[tuple[str, ...]] = ()  #: where code runs when the application stops
    template: ClassVar[str] = "/do/{what}/{number}"  #: of the first of the paths, as the framework writes it
    app: Any

    def __init__(
        self,
        db: Any,
        other: Any,
        *,
        handlers: bool = False,
        around: bool = False,
        lifespan: bool = True,
        guest_at: str = "",
        plan: str = "",
        shown: Mapping[str, Any] = NOTHING,
    ) -> None:
        self.db = db
        self.databases = [db, other]
        self.work: Any = (SyncWork if self.kind == "sync" else AsyncWork)(db, other)
        self.handlers = handlers
        self.around = around
        self.lifespan = lifespan
        self.guest_at = guest_at
        self.work.plan = plan
        self.shown = shown
        self.app = self.build()

    @classmethod
    def title(cls) -> str:
        return f"{cls.name}-{cls.kind}"

    @abstractmethod
    def build(self) -> Any:
        """The application."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For the length of a block it can be asked."""
        yield

    @abstractmethod
    async def call(
        self,
        path: str,
        method: str = "POST",
        *,
        probe: Callable[[], Any] = lambda: None,
        gone: asyncio.Event | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        """Ask it."""

    async def talk(self, path: str, texts: list[str]) -> list[str]:
        """Send texts through a websocket; returns the answers."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Wait until nothing goes on in the background any more."""
        await self.work.finish_jobs()


class ASGIStand(Stand):
    async def call(
        self,
        path: str,
        method: str = "POST",
        *,
        probe: Callable[[], Any] = lambda: None,
        gone: asyncio.Event | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        return await call_asgi(self.app, path, method, probe=probe, gone=gone, headers=headers)

    async def talk(self, path: str, texts: list[str]) -> list[str]:
        return await talk_asgi(self.app, path, texts)

    @asynccontextmanager
    async def living(self) -> AsyncIterator[list[str]]:
        async with living(self.app) as said:
            yield said


class WSGIStand(Stand):
    kind = "sync"
    missing: ClassVar = {
        "client_gone": NO_CLIENT,
        "websocket": NO_SOCKET,
        "lifespan": NO_LIFESPAN,
        "base_http_middleware": STARLETTES,
        "stopping": NO_LIFESPAN,
    }

    async def call(
        self,
        path: str,
        method: str = "POST",
        *,
        probe: Callable[[], Any] = lambda: None,
        gone: asyncio.Event | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        return await asyncio.to_thread(call_wsgi, self.app, path, method, probe=probe, headers=headers)


class ServerStand(Stand):
    """A framework with a server of its own, on loopback."""

    starts_again = False

    port: int

    @abstractmethod
    def serving(self) -> Any:
        """Serve for the length of a block; sets the port."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.serving():
            yield

    @asynccontextmanager
    async def living(self) -> AsyncIterator[list[str]]:
        said = ["lifespan.startup.complete"]
        async with self.serving():
            yield said
        said.append("lifespan.shutdown.complete")

    async def call(
        self,
        path: str,
        method: str = "POST",
        *,
        probe: Callable[[], Any] = lambda: None,
        gone: asyncio.Event | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        return await call_http(self.port, path, method, gone=gone, headers=headers)

    async def talk(self, path: str, texts: list[str]) -> list[str]:
        import aiohttp

        told: list[str] = []
        async with aiohttp.ClientSession() as client, client.ws_connect(f"http://127.0.0.1:{self.port}{path}") as ws:
            for text in texts:
                await ws.send_str(text)
                told.append(await ws.receive_str(timeout=60))
        return told
