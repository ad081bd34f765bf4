"""What the pools inside SQLAlchemy have in common: they are used through an engine, on stub connections."""

from __future__ import annotations

from operator import methodcaller
from typing import Any, ClassVar

from sqlalchemy import Pool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from benchmarks.peers.base import Setup, TaskPeer, ThreadPeer

__all__ = ["AsyncEnginePeer", "EnginePeer"]


class EnginePeer(ThreadPeer):
    """The pool of an engine, asked for what the DBAPI would give."""

    poolclass: ClassVar[type[Pool]]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._engine = create_engine(
            "stub://", creator=setup.server.connect, poolclass=self.poolclass, **self.options(setup)
        )
        self.acquire = self._engine.raw_connection
        self.release = methodcaller("close")

    def options(self, setup: Setup) -> dict[str, Any]:
        """The setup in this pool's own words."""
        raise NotImplementedError

    def close(self) -> None:
        self._engine.dispose()


class AsyncEnginePeer(TaskPeer):
    """The pool of an async engine, which runs it in a greenlet."""

    poolclass: ClassVar[type[Pool]]

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        creator = setup.server.connect_in_greenlet
        self._engine = create_async_engine(
            "stub+asyncio://", creator=creator, poolclass=self.poolclass, **self.options(setup)
        )
        self.acquire = self._engine.raw_connection
        self.release = _close

    def options(self, setup: Setup) -> dict[str, Any]:
        """The setup in this pool's own words."""
        raise NotImplementedError

    async def repeat(self, times: int) -> None:
        """All in one greenlet: the cheapest way in."""
        await greenlet_spawn(self._repeat, times)

    def _repeat(self, times: int) -> None:
        connect = self._engine.sync_engine.raw_connection
        for _ in range(times):
            connect().close()

    async def close(self) -> None:
        await self._engine.dispose()


async def _close(connection: Any) -> None:
    await greenlet_spawn(connection.close)
