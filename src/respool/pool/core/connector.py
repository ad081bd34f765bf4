"""What a pool asks of whoever knows the connections: two protocols, one colour each, and one made of functions."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from respool.pool.core.entries import CloseReason

__all__ = ["AsyncConnector", "AsyncFunctions", "CheckAborted", "Connector", "Functions", "is_outage"]


class CheckAborted(Exception):
    """Raised by a connector's check, from an error that the caller should see; the connection is closed."""


class Connector(Protocol):
    """For threads. Every method may block; all but ``is_outage`` may raise."""

    def connect(self) -> Any:
        """Open a connection."""

    def close(self, resource: Any, reason: CloseReason) -> None:
        """Close it."""

    def check(self, resource: Any, timeout: float) -> None:
        """Raise when it does not answer within ``timeout`` seconds; ``CheckAborted`` tells the caller why."""

    def reset(self, resource: Any) -> None:
        """Bring it into the state in which the next caller expects it."""

    def is_outage(self, error: BaseException) -> bool:
        """Whether a connect that failed so may succeed later, without anybody changing a setting."""

    def is_databases(self, error: BaseException) -> bool:
        """Whether a connect failed so by itself; else it was its thread that was interrupted."""

    def note(self, resource: Any) -> str | None:
        """What is worth knowing of a connection that somebody holds, such as "in transaction"; without I/O."""

    def dead(self, resources: list[Any]) -> list[Any]:
        """Those of these idle connections that the other end has closed, as far as one sees without blocking."""


class AsyncConnector(Protocol):
    """For asyncio; as :class:`Connector`."""

    async def connect(self) -> Any: ...
    async def close(self, resource: Any, reason: CloseReason) -> None: ...
    async def check(self, resource: Any, timeout: float) -> None: ...
    async def reset(self, resource: Any) -> None: ...
    def is_outage(self, error: BaseException) -> bool: ...
    def note(self, resource: Any) -> str | None: ...
    def dead(self, resources: list[Any]) -> list[Any]: ...


def is_outage(error: BaseException) -> bool:
    """Whether this looks like a server that is away for now: refused, reset, unreachable, too slow."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
    return isinstance(error, OSError) and error.filename is None  # else a file is missing, which stays so


class Functions:
    """A connector for threads made of the functions that ``ConnectionPool`` is given."""

    def __init__(
        self,
        connect: Callable[[], Any],
        close: Callable[[Any], object] | None,
        check: Callable[[Any], object] | None,
        reset: Callable[[Any], object] | None,
        is_dead: Callable[[Any], bool] | None,
    ) -> None:
        self.connect = connect
        self._close, self._check, self._reset, self._is_dead = close, check, reset, is_dead
        self.is_outage = is_outage

    def is_databases(self, error: BaseException) -> bool:
        return isinstance(error, Exception)

    def close(self, resource: Any, reason: CloseReason) -> None:
        if self._close is not None:
            self._close(resource)
        else:
            resource.close()

    def check(self, resource: Any, timeout: float) -> None:
        if self._check is not None:
            self._check(resource)

    def reset(self, resource: Any) -> None:
        if self._reset is not None:
            self._reset(resource)

    def note(self, resource: Any) -> None:
        """Nothing is known of just any resource."""

    def dead(self, resources: list[Any]) -> list[Any]:
        return [] if self._is_dead is None else [one for one in resources if self._is_dead(one)]


class AsyncFunctions:
    """A connector for asyncio made of the coroutine functions that ``AsyncConnectionPool`` is given."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        close: Callable[[Any], Awaitable[object]] | None,
        check: Callable[[Any], Awaitable[object]] | None,
        reset: Callable[[Any], Awaitable[object]] | None,
        is_dead: Callable[[Any], bool] | None,
    ) -> None:
        self._connect, self._close, self._check, self._reset = connect, close, check, reset
        self._is_dead = is_dead
        self.is_outage = is_outage

    async def connect(self) -> Any:
        return await self._connect()

    async def close(self, resource: Any, reason: CloseReason) -> None:
        if self._close is not None:
            await self._close(resource)
        else:
            await resource.close()

    async def check(self, resource: Any, timeout: float) -> None:
        if self._check is not None:
            await self._check(resource)

    async def reset(self, resource: Any) -> None:
        if self._reset is not None:
            await self._reset(resource)

    def note(self, resource: Any) -> None:
        """Nothing is known of just any resource."""

    def dead(self, resources: list[Any]) -> list[Any]:
        return [] if self._is_dead is None else [one for one in resources if self._is_dead(one)]
