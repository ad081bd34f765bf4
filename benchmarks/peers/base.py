"""What every peer offers to the measurements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from benchmarks.stub import StubServer

__all__ = ["Peer", "Setup", "TaskPeer", "ThreadPeer"]


@dataclass(frozen=True)
class Setup:
    """One pool to be made. What is ``None`` stays at the peer's own default. Times are in seconds."""

    size: int = 5  #: the limit
    kept: int | None = None  #: SQLAlchemy's ``pool_size``, where it differs from the limit
    timeout: float | None = None
    max_idle: float | None = None
    server: StubServer = field(default_factory=StubServer)


class Peer(ABC):
    """One pool under test.

    Args:
        setup: its settings.
    """

    name: ClassVar[str]  #: in tables and plots
    key: ClassVar[str]  #: in results
    ours: ClassVar[bool] = False
    package: ClassVar[str]  #: whose version is printed
    late: ClassVar[type[Exception]]  #: what it raises when the wait for a connection was too long

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def open_connections(self) -> int:
        """How many connections are open now."""
        return self.setup.server.open


class ThreadPeer(Peer):
    """A pool for threads."""

    acquire: Callable[[], Any]
    release: Callable[[Any], object]

    def repeat(self, times: int) -> None:
        """Take a free connection and give it back, so often."""
        acquire, release = self.acquire, self.release
        for _ in range(times):
            release(acquire())

    @abstractmethod
    def close(self) -> None:
        """End the pool."""


class TaskPeer(Peer):
    """A pool for asyncio; made and used inside one event loop."""

    acquire: Callable[[], Awaitable[Any]]
    release: Callable[[Any], Awaitable[object]]

    async def open(self) -> None:
        """Whatever has to be awaited before the pool can be used."""

    async def repeat(self, times: int) -> None:
        """Take a free connection and give it back, so often."""
        acquire, release = self.acquire, self.release
        for _ in range(times):
            await release(await acquire())

    @abstractmethod
    async def close(self) -> None:
        """End the pool."""
