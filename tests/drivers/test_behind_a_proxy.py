"""Every step that can go wrong on the way to a real server, in every way it can, under every driver.

A visit is connect, check, use, reset, close.  One step of it goes wrong once, at the byte: the proxy waits for what the
driver sends at that step and resets the connection, or holds it and lets it go later, never, or after the visitor was
cancelled (only tasks can be).  Afterwards the law holds, the next callers are served, and the server has nothing left.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Iterator
from typing import Literal

import pytest
import sqlalchemy as sa

from respool.errors import PoolTimeout
from respool.testing import FaultProxy, Trap
from tests.drivers.driver import ONE, Driver, Running, Shop, pool_of

pytestmark = pytest.mark.drivers(server=True)

#: What becomes of the visitor.
OUTCOMES = {
    "connect": {"ok": "done", "error": "done", "slow": "done", "never": "done", "cancelled": "cancelled"},
    "check": {"ok": "done", "error": "done", "slow": "done", "never": "PoolTimeout", "cancelled": "cancelled"},
    "use": {"ok": "done", "error": "lost", "slow": "done", "never": "hangs", "cancelled": "cancelled"},
    "reset": {"ok": "done", "error": "done", "slow": "done", "never": "hangs", "cancelled": "cancelled"},
    "close": {"ok": "done", "error": "done", "slow": "done", "never": "done", "cancelled": "done"},
}
CELLS = [(step, fault) for step, faults in OUTCOMES.items() for fault in faults]

FAULTS: dict[str, Literal["pass", "reset", "hold"]] = {
    "ok": "pass",
    "error": "reset",
    "slow": "hold",
    "never": "hold",
    "cancelled": "hold",
}

#: What a driver sends at each step; a connect is an attempt.
SIGNS: dict[str, dict[str, bytes | None]] = {
    "postgres": {
        "connect": None,
        "check": b"SELECT 1\0",
        "use": b"goods",
        "reset": b"ROLLBACK",
        "close": b"X\0\0\0\x04",
    },
    "mariadb": {
        "connect": None,
        "check": b"\x01\0\0\0\x0e",  # COM_PING
        "use": b"goods",
        "reset": b"ROLLBACK",
        "close": b"\x01\0\0\0\x01",  # COM_QUIT
    },
}
OF_ITS_OWN = {("psycopg", "check"): b"\x06;\0", ("asyncpg", "check"): b"\0;\0"}

GOODS = sa.text("SELECT 'goods'")


@pytest.fixture
def proxy(shop: Shop) -> Iterator[FaultProxy]:
    """In front of the server."""
    with FaultProxy("127.0.0.1", shop.server.port) as proxy:
        yield proxy


def visit(engine: sa.Engine, step: str) -> None:
    with engine.connect() as connection:
        connection.execute(ONE)
        connection.execute(GOODS)
        if step == "close":
            pool_of(engine).soft_evict()


def outcome(visitor: Running) -> str:
    if not visitor.done:
        return "hangs"
    try:
        visitor.result()
    except CancelledError:
        return "cancelled"
    except PoolTimeout:
        return "PoolTimeout"
    except sa.exc.DBAPIError as error:
        return "lost" if error.connection_invalidated else repr(error)
    return "done"


def cancel(visitor: Running, step: str) -> None:
    """Cancel the visitor, or the pool's task that closes for it: only asyncpg's waits for the other side."""
    if step != "close":
        visitor.cancel()
        return
    for task in asyncio.all_tasks():
        if task.get_name() == "respool-shop":
            task.cancel()


@pytest.mark.parametrize("step, fault", CELLS)
def test_promise_07_a_fault(shop: Shop, driver: Driver, proxy: FaultProxy, step: str, fault: str) -> None:
    if fault == "cancelled" and not driver.asynchronous:
        pytest.skip("a thread cannot be cancelled")
    limits = {"connect_timeout": 0.3} if (step, fault) == ("connect", "never") else {}
    patience = 0.3 if (step, fault) == ("check", "never") else 30
    engine = shop.engine(
        shop.url.set(port=proxy.port),
        pool_name="shop",
        max_size=3,
        pool_timeout=patience,
        check_after=0.0 if step == "check" else None,
        **limits,
    )
    shop.fill(engine, 1)
    if step == "connect":
        engine.dispose()
    trap = proxy.trap(OF_ITS_OWN.get((driver.name, step), SIGNS[driver.backend][step]), FAULTS[fault])
    visitor = shop.start(visit, engine, step)
    shop.until(trap.sprung.is_set)
    if fault == "slow":
        trap.release()
    elif fault == "cancelled":
        cancel(visitor, step)
    expected = OUTCOMES[step][fault]
    if expected != "hangs":
        shop.until(lambda: visitor.done)
    serve(engine, 1 if expected == "hangs" else 2)
    assert outcome(visitor) == expected
    finish(shop, engine, trap)
    assert outcome(visitor) == ("done" if expected == "hangs" else expected)


@pytest.mark.drivers(server=True, asynchronous=True)
@pytest.mark.parametrize("step", ["check", "use"])
def test_promise_07_a_connection_that_never_answers_is_let_go(
    shop: Shop, driver: Driver, proxy: FaultProxy, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("respool.engine.pools.aio.MENDING_SECONDS", 0.1)
    engine = shop.engine(shop.url.set(port=proxy.port), max_size=1, check_after=0.0 if step == "check" else None)
    shop.fill(engine, 1)
    trap = proxy.trap(OF_ITS_OWN.get((driver.name, step), SIGNS[driver.backend][step]), "hold")
    visitor = shop.start(visit, engine, step)
    shop.until(trap.sprung.is_set)
    visitor.cancel()
    serve(engine, 1)
    (monitor,) = pool_of(engine).running_monitors()
    shop.until(lambda: not monitor._tasks)  # type: ignore[attr-defined]
    assert pool_of(engine).stats().closes, "closed, although it says nothing"
    assert outcome(visitor) == "cancelled"
    trap.release()


def serve(engine: sa.Engine, callers: int) -> None:
    """Serve the next callers at the same time, and see that the law holds."""
    connections = [engine.connect() for _ in range(callers)]
    for connection in connections:
        assert connection.scalar(ONE) == 1
    for monitor in pool_of(engine).running_monitors():
        monitor.step(monitor.state.check)
    for connection in connections:
        connection.close()


def finish(shop: Shop, engine: sa.Engine, trap: Trap) -> None:
    """Let go what is still held; then nothing is out, and the pool works as ever."""
    trap.release()
    shop.until(lambda: (pool_of(engine).stats().acquired, pool_of(engine).stats().connecting) == (0, 0))
    serve(engine, 2)
