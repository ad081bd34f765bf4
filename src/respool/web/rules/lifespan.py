"""The life of an application: its databases are warmed up when it starts, and drained when it stops."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from respool.database.base import DatabaseBase
from respool.database.database import AsyncDatabase
from respool.engine import AsyncFairPool, FairPool
from respool.errors import PoolTimeout
from respool.web.rules.client import Message, Receive
from respool.web.rules.readiness import compare_with_server

__all__ = ["Lifespan", "start", "stop"]

logger = logging.getLogger("respool.web")

#: Who closes a database at the end of the application, for those who come later.
_BY = "the application that it was installed in has stopped"

#: Seconds that a start waits for the first connections.
_WARM_UP = 10.0

#: The databases that were closed when their application had stopped: if the application starts again, as in tests, they are opened again.
_stopped: weakref.WeakSet[DatabaseBase[Any]] = weakref.WeakSet()
#: How many applications that have started and not stopped have each database. The last one closes it.
_users: weakref.WeakKeyDictionary[DatabaseBase[Any], int] = weakref.WeakKeyDictionary()


async def start(databases: Sequence[DatabaseBase[Any]]) -> None:
    """Open as many connections as the pools are to keep, so that the first requests find them.

    Where the database is away the application starts nevertheless, and its pool goes on trying.

    Raises:
        ConnectFailed: the database refuses for good, as for a wrong password.
    """
    for database in databases:
        if database in _stopped:
            _stopped.discard(database)
            database.reopen()
        pool = database.pool
        size = pool.config.min_size if isinstance(pool, FairPool) else 0
        if not size:
            continue
        try:
            if isinstance(pool, AsyncFairPool):
                await pool.awarm_up(size, wait=_WARM_UP)
            else:
                await asyncio.to_thread(pool.warm_up, size, wait=_WARM_UP)
            await compare_with_server(database)
        except PoolTimeout as error:
            logger.warning("database %r is not ready; starting without it: %s", database.name, error.headline)
    for database in databases:
        _users[database] = _users.get(database, 0) + 1


async def stop(databases: Sequence[DatabaseBase[Any]]) -> None:
    """Close the databases, after waiting for connections that are still in use.

    What is not the application's stays open: an engine that the user made, and a database that another application
    is at work with.
    """
    for database in databases:
        _users[database] = users = max(_users.get(database, 0) - 1, 0)
        if not users and database.closed:
            _stopped.add(database)  # by a lifespan of the application's own
        elif not users and not database.given:
            _stopped.add(database)
            if isinstance(database, AsyncDatabase):
                await database.close(by=_BY)
            else:
                await asyncio.to_thread(database.close, by=_BY)  # type: ignore[attr-defined]


class Lifespan:
    """The lifespan of an ASGI application, with its databases ready before it starts, and closed after it has stopped.

    An application that has none gets one: servers take an exception for the lack of it.

    Args:
        databases: what is started and stopped.
        app: the application.
        receive, send: as ASGI gives them.
    """

    def __init__(
        self,
        databases: Sequence[DatabaseBase[Any]],
        app: Callable[..., Awaitable[None]],
        receive: Receive,
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._databases = databases
        self._app = app
        self._receive_on = receive
        self._send_on = send
        self._started = False  #: we have started
        self._spoken = False  #: the application has answered

    async def run(self, scope: Any) -> None:
        """Live through it."""
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            if self._spoken:
                raise
            logger.info("the application has no lifespan of its own: %r", error)
        if not self._spoken:
            await self._stand_in()

    async def _stand_in(self) -> None:
        if not self._started:
            await self._receive()
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive_on()
        await self._send({"type": "lifespan.shutdown.complete"})

    async def _receive(self) -> Message:
        message = await self._receive_on()
        if message["type"] == "lifespan.startup":
            try:
                await start(self._databases)
            except Exception as error:
                self._spoken = True
                await self._send_on({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            self._started = True
        return message

    async def _send(self, message: Message) -> None:
        self._spoken = True
        if message["type"].startswith("lifespan.shutdown.") or message["type"] == "lifespan.startup.failed":
            await stop(self._databases)
        await self._send_on(message)
