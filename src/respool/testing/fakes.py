"""Fakes for tests of pools: a clock that moves when told, connections to nothing, connectors that follow a script.

connector = ScriptedConnector()
connector.connects.then(ConnectionRefusedError(), gate := Gate())     # the first fails, the second waits
pool = ConnectionPool(**connector.functions(), max_size=2)
...
assert connector.most_open <= 2
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from respool.pool.core.connector import is_outage
from respool.pool.core.entries import CloseReason
from respool.testing.gates import Script

__all__ = ["AsyncScriptedConnector", "FakeClock", "FakeConnection", "ScriptedConnector"]


class FakeClock:
    """A clock that stands still until it is moved; call it for the time.

    Args:
        now: where it starts, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Move it on, never back; returns the new time."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds!r})")
        self.now += seconds
        return self.now


class FakeConnection:
    """A connection to nothing. It refuses to be used when it is closed, and by two at once."""

    def __init__(self, number: int) -> None:
        self.number = number  #: the first one opened is 1
        self.closed = False
        self.dead = False  #: the other end has closed it
        self.busy = False  #: a step on it is under way

    def enter(self, step: str) -> None:
        """Begin a step. ``AssertionError`` when the connection is closed, or when another step is under way."""
        if self.closed:
            raise AssertionError(f"{step} of {self!r}")
        if self.busy:
            raise AssertionError(f"{step} of {self!r} while another step on it is under way")
        self.busy = True

    def leave(self) -> None:
        """End the step."""
        self.busy = False

    def __repr__(self) -> str:
        return f"<FakeConnection {self.number}{' closed' if self.closed else ''}>"


class _Scripted:
    """What both connectors know: a script for each step, and the connections."""

    def __init__(self) -> None:
        self.connects = Script()
        self.checks = Script()
        self.resets = Script()
        self.closes = Script()
        self.uses = Script()
        self.connections: list[FakeConnection] = []  #: all that were ever opened
        self.most_open = 0  #: the most that were open at once
        self._open: set[FakeConnection] = set()
        self._lock = threading.RLock()  # a finalizer may close while this thread is inside

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def free(self) -> None:
        """Open all gates and answer well from now on, so that whoever hangs goes on."""
        for script in (self.connects, self.checks, self.resets, self.closes, self.uses):
            script.free()

    def functions(self, *steps: str) -> dict[str, Callable[..., Any]]:
        """The steps as keyword arguments of a pool; without names: connect, close, check and reset."""
        return {step: getattr(self, step) for step in steps or ("connect", "close", "check", "reset")}

    def is_outage(self, error: BaseException) -> bool:
        """As the pools themselves see it: an ``OSError`` or a ``TimeoutError`` may pass."""
        return is_outage(error)

    def note(self, connection: FakeConnection) -> str | None:
        """What there is to say of a held connection."""
        return "busy" if connection.busy else None

    def is_dead(self, connection: FakeConnection) -> bool:
        """Whether the other end has closed it: set :attr:`FakeConnection.dead`."""
        return connection.dead

    def dead(self, connections: list[FakeConnection]) -> list[FakeConnection]:
        """Those of them that the other end has closed."""
        return [one for one in connections if one.dead]

    def _opened(self) -> FakeConnection:
        with self._lock:
            connection = FakeConnection(len(self.connections) + 1)
            self.connections.append(connection)
            self._open.add(connection)
            self.most_open = max(self.most_open, self.open)
        return connection

    def _closing(self, connection: FakeConnection) -> None:
        if connection.closed:
            raise AssertionError(f"{connection!r} is closed a second time")
        connection.closed = True
        self._open.discard(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.free()


class ScriptedConnector(_Scripted):
    """Connections for threads that behave as scripted: see ``connects``, ``checks``, ``resets``, ``closes``, ``uses``.

    Leave it as a context manager and whoever still stands at a gate goes on.
    """

    def connect(self) -> FakeConnection:
        """Open one, as :attr:`connects` says."""
        self.connects.run()
        return self._opened()

    def close(self, connection: FakeConnection, reason: CloseReason | None = None) -> None:
        """Close it, as :attr:`closes` says; it counts as closed from the beginning."""
        self._closing(connection)
        self.closes.run()

    def check(self, connection: FakeConnection, timeout: float = 0.0) -> None:
        """Check it, as :attr:`checks` says."""
        self._step("check", connection, self.checks)

    def reset(self, connection: FakeConnection) -> None:
        """Reset it, as :attr:`resets` says."""
        self._step("reset", connection, self.resets)

    def use(self, connection: FakeConnection) -> None:
        """Do some work on it, as :attr:`uses` says."""
        self._step("use", connection, self.uses)

    def _step(self, name: str, connection: FakeConnection, script: Script) -> None:
        connection.enter(name)
        try:
            script.run()
        finally:
            connection.leave()


class AsyncScriptedConnector(_Scripted):
    """The same for asyncio: see :class:`ScriptedConnector`."""

    async def connect(self) -> FakeConnection:
        """Open one, as :attr:`connects` says."""
        await self.connects.run_async()
        return self._opened()

    async def close(self, connection: FakeConnection, reason: CloseReason | None = None) -> None:
        """Close it, as :attr:`closes` says; it counts as closed from the beginning."""
        self._closing(connection)
        await self.closes.run_async()

    async def check(self, connection: FakeConnection, timeout: float = 0.0) -> None:
        """Check it, as :attr:`checks` says."""
        await self._step("check", connection, self.checks)

    async def reset(self, connection: FakeConnection) -> None:
        """Reset it, as :attr:`resets` says."""
        await self._step("reset", connection, self.resets)

    async def use(self, connection: FakeConnection) -> None:
        """Do some work on it, as :attr:`uses` says."""
        await self._step("use", connection, self.uses)

    async def _step(self, name: str, connection: FakeConnection, script: Script) -> None:
        connection.enter(name)
        try:
            await script.run_async()
        finally:
            connection.leave()
