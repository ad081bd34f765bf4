"""The event loops that a pool is used from: a sub-pool for each, from its first use to the loop's own end."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from respool.config import PoolConfig
from respool.pool.core import messages
from respool.pool.core.state import PoolState
from respool.pool.drivers.monitor import resized
from respool.pool.telling.snapshot import PoolSnapshot
from respool.pool.telling.stats import PoolStats, stats_of, together

if TYPE_CHECKING:
    from respool.pool.drivers.tasks import LoopMonitor

__all__ = ["LoopMonitors"]


class LoopMonitors:
    """The sub-pools of one pool, one for each event loop; those of closed loops are forgotten.

    Args:
        make: makes the monitor of the running loop.
        ended: is handed each whose loop is closed, before it is forgotten.
    """

    def __init__(
        self, make: Callable[[], LoopMonitor], ended: Callable[[LoopMonitor], object] = lambda monitor: None
    ) -> None:
        self._make = make
        self._ended = ended
        self._of: dict[asyncio.AbstractEventLoop, LoopMonitor] = {}
        self.latest: LoopMonitor | None = None  #: the one asked for last
        self._lock = threading.Lock()
        self._suspended = False

    def current(self) -> LoopMonitor:
        """The running loop's; made when there is none yet."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            if _in_trio():
                raise messages.not_under_trio() from None
            raise
        latest = self.latest
        if latest is not None and latest.loop is loop:
            return latest
        monitor = self._of.get(loop) or self._add(loop)
        self.latest = monitor
        return monitor

    def _add(self, loop: asyncio.AbstractEventLoop) -> LoopMonitor:
        monitor = self._make()
        if self._suspended:
            monitor.step(monitor.state.suspend)
        with self._lock:
            gone = [kept for other, kept in self._of.items() if other.is_closed()]
            self._of = {other: kept for other, kept in self._of.items() if not other.is_closed()} | {loop: monitor}
        for each in gone:
            self._ended(each)
        _dismissed_with(loop, monitor)
        monitor.tick()
        return monitor

    def suspend(self, suspended: bool) -> None:
        """Suspend or resume every loop's pool, those of loops to come included."""
        self._suspended = suspended
        for monitor in self.all():
            monitor.step(monitor.state.suspend if suspended else monitor.state.resume)

    def resize(self, config: PoolConfig, min_size: int | None, max_size: int | None) -> PoolConfig:
        """Change the limits of every loop's pool; returns the settings for those of loops to come."""
        config = resized(config, min_size, max_size)
        for monitor in self.all():
            monitor.step(monitor.state.resize, config)
        return config

    def all(self) -> list[LoopMonitor]:
        """Those of the loops that are not closed."""
        return [monitor for loop, monitor in list(self._of.items()) if not loop.is_closed()]

    def stats(self, name: str, config: PoolConfig) -> PoolStats:
        """The numbers of all of them together; of none, those of a pool at rest."""
        parts = [monitor.stats() for monitor in self._here_and_elsewhere()]
        return together(parts) if parts else stats_of(name, PoolState(config, float, object))

    def snapshot(self, name: str, config: PoolConfig) -> PoolSnapshot:
        """The rows of all of them together."""
        parts = [monitor.snapshot() for monitor in self._here_and_elsewhere()]
        return PoolSnapshot(
            together([part.stats for part in parts]) if parts else self.stats(name, config),
            tuple(row for part in parts for row in part.connections),
            tuple(row for part in parts for row in part.waiters),
        )

    def _here_and_elsewhere(self) -> list[LoopMonitor]:
        """All, that of the loop which runs here among them: who asks there begins to use the pool."""
        if asyncio._get_running_loop() is not None:
            self.current()
        return self.all()


def _in_trio() -> bool:
    trio: Any = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


class _Ending:
    """The end of one loop. ``asyncio.run`` closes async generators when it ends, the last moment to await something.

    So there is one, for all pools of the loop, that waits for nothing else.
    """

    def __init__(self) -> None:
        self.monitors: WeakSet[LoopMonitor] = WeakSet()
        self._generator = _dismissing(self.monitors)
        with suppress(StopIteration):  # as far as its yield
            self._generator.asend(None).send(None)


async def _dismissing(monitors: WeakSet[LoopMonitor]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        _endings.pop(get_running_loop(), None)  # what stands there knows its loop, and would keep it
        await asyncio.gather(*(monitor.dismiss() for monitor in monitors), return_exceptions=True)


_endings: WeakKeyDictionary[asyncio.AbstractEventLoop, _Ending] = WeakKeyDictionary()


def _dismissed_with(loop: asyncio.AbstractEventLoop, monitor: LoopMonitor) -> None:
    """Have a loop's sub-pool close its connections when the loop ends; called in the loop."""
    if loop not in _endings:
        _endings[loop] = _Ending()
    _endings[loop].monitors.add(monitor)
