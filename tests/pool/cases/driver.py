"""Two pools behind one face, so that a case is written once, as a coroutine.

With threads every caller is a real thread of its own, which the case awaits.  A case waits for conditions with
:func:`until`; it never sleeps for a time and hopes.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from respool.pool import AsyncConnectionPool, AsyncLease, ConnectionPool, Lease, PoolObserver, PoolStats
from respool.pool.drivers.monitor import Monitor
from respool.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector

PATIENCE = 20.0  # seconds until a test gives up; nothing that works comes near


async def until(happened: Callable[[], object]) -> None:
    """Wait for a condition, and fail when it does not come true."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        await asyncio.sleep(0.001)


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call it in a new thread, and await what comes of it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)

    def run() -> None:
        result, error = None, None
        try:
            result = function(*args)
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the test is over

    threading.Thread(target=run, daemon=True).start()
    return await future


class Recorder(PoolObserver):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.closes: list[str] = []
        self.errors: list[BaseException] = []
        self.outages: list[float] = []
        self.leaks: list[str] = []

    def closed(self, reason: str) -> None:
        self.closes.append(reason)

    def connect_failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def recovered(self, seconds: float) -> None:
        self.outages.append(seconds)

    def leaked(self, holder: object, seconds: float) -> None:
        self.leaks.append(f"held by {holder}")

    def leak_returned(self, holder: object, seconds: float) -> None:
        self.leaks.append(f"returned by {holder}")


class Holding:
    """A lease of either pool."""

    def __init__(self, lease: Lease[FakeConnection] | AsyncLease[FakeConnection]) -> None:
        self.lease = lease
        self.connection = lease.resource

    async def release(self, *, broken: bool = False) -> None:
        if isinstance(self.lease, AsyncLease):
            await self.lease.release(broken=broken)
        else:
            lease = self.lease
            await in_thread(lambda: lease.release(broken=broken))


class Face:
    """A pool of either kind with its scripted connector and a recorder."""

    def __init__(self, driver: Driver, steps: tuple[str, ...], settings: dict[str, Any]) -> None:
        self.driver = driver
        self.observer = Recorder()
        self.connector = driver.connector()
        self.late = 0  # connects that were given up, and come to something all the same
        self.pool = driver.pool_class(
            **self.connector.functions(*steps), observer=self.observer, name="shop", **settings
        )

    async def acquire(self, timeout: float | None = None) -> Holding:
        if isinstance(self.pool, AsyncConnectionPool):
            return Holding(await self.pool.acquire(timeout))
        return Holding(await in_thread(self.pool.acquire, timeout))

    def ask(self, timeout: float | None = None) -> asyncio.Task[Holding]:
        """Somebody asks, in a task (and thread) of its own."""
        return asyncio.create_task(self.acquire(timeout))

    async def line_up(self, number: int) -> list[asyncio.Task[Holding]]:
        """So many callers get in line, one after the other."""
        tasks, before = [], self.stats.waiting
        for n in range(1, number + 1):
            tasks.append(self.ask())
            await until(lambda n=n: self.stats.waiting == before + n)
        return tasks

    async def hold(self, number: int) -> list[Holding]:
        """So many connections, newly opened or not."""
        return [await self.acquire() for _ in range(number)]

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A method of the pool's that may block."""
        function = getattr(self.pool, method)
        if isinstance(self.pool, AsyncConnectionPool):
            return await function(*args, **kwargs)
        return await in_thread(lambda: function(*args, **kwargs))

    async def close(self, timeout: float = PATIENCE) -> None:
        await self.call("close", timeout)

    @property
    def stats(self) -> PoolStats:
        return self.pool.stats()

    @property
    def monitor(self) -> Monitor:
        """The lock and the state behind the pool."""
        return self.pool._monitors.current() if isinstance(self.pool, AsyncConnectionPool) else self.pool._monitor

    def check(self) -> None:
        """The law holds."""
        self.monitor.step(self.monitor.state.check)
        assert self.connector.most_open <= self.stats.max_size + self.late


class Driver:
    """How callers run: ``threads`` or ``asyncio``."""

    def __init__(self, name: str, pool_class: Any, connector: Callable[[], Any]) -> None:
        self.name = name
        self.pool_class = pool_class
        self.connector = connector

    @asynccontextmanager
    async def pool(self, *steps: str, **settings: Any) -> AsyncIterator[Face]:
        """A pool for one case; at the end of it the law must hold and nothing may be left open.

        Args:
            steps: of the connector that the pool is given, besides connect and close.
            settings: of the pool.
        """
        face = Face(self, ("connect", "close", *steps), {"max_size": 2, "timeout": PATIENCE, **settings})
        try:
            yield face
            face.connector.free()
            face.check()
        finally:
            face.connector.free()
            await face.close(1.0)
        gc.collect()  # leases that the case forgot would warn here, and not in the middle of another test
        await until(lambda: face.connector.open == 0)


THREADS = Driver("threads", ConnectionPool, ScriptedConnector)
ASYNCIO = Driver("asyncio", AsyncConnectionPool, AsyncScriptedConnector)
