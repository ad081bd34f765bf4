"""The fakes do what they say: other tests are only as good as they are."""

from __future__ import annotations

import asyncio
import threading

import pytest

from respool.testing import AsyncScriptedConnector, FakeClock, FakeConnection, Gate, ScriptedConnector
from tests.pool.cases.driver import in_thread, until


def test_a_clock_moves_when_told_and_never_back() -> None:
    clock = FakeClock(10)
    assert (clock(), clock.advance(2.5), clock()) == (10, 12.5, 12.5)
    with pytest.raises(ValueError, match=r"advance\(-1\)"):
        clock.advance(-1)


async def test_a_gate_holds_threads_and_tasks_until_it_is_opened_from_any_thread() -> None:
    gate = Gate()
    thread = asyncio.create_task(in_thread(gate.wait))
    task = asyncio.create_task(gate.wait_async())
    await until(lambda: gate.waiting == 2)
    assert (thread.done(), task.done()) == (False, False)
    opener = threading.Thread(target=gate.open)
    opener.start()
    opener.join()
    await asyncio.gather(thread, task)
    assert gate.waiting == 0
    gate.wait()
    await gate.wait_async()


async def test_a_gate_may_let_through_with_an_error() -> None:
    gate = Gate(OSError("late"))
    task = asyncio.create_task(gate.wait_async())
    await until(lambda: gate.waiting)
    gate.open()
    with pytest.raises(OSError, match="late"):
        await task
    with pytest.raises(OSError, match="late"):
        gate.wait()


async def test_who_is_cancelled_at_a_gate_is_gone() -> None:
    gate = Gate()
    task = asyncio.create_task(gate.wait_async())
    await until(lambda: gate.waiting)
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), gate.waiting) == (True, 0)
    gate.open()


def test_a_script_gives_its_answers_in_order_and_then_always_the_same() -> None:
    connector = ScriptedConnector()
    connector.connects.then(OSError("one"), None, TimeoutError).always(ValueError("always"))
    for error in (OSError, None, TimeoutError, ValueError, ValueError):
        if error is None:
            connector.connect()
        else:
            with pytest.raises(error):
                connector.connect()
    assert (connector.connects.calls, connector.open, connector.most_open) == (5, 1, 1)
    connector.free()
    connector.close(connector.connect())
    assert (connector.open, connector.most_open, len(connector.connections)) == (1, 2, 2)


async def test_leaving_a_connector_frees_whoever_hangs() -> None:
    with ScriptedConnector() as connector:
        connector.connects.then(Gate())
        task = asyncio.create_task(in_thread(connector.connect))
        await until(lambda: connector.connects.calls == 1)
    assert isinstance(await task, FakeConnection)


def test_a_connection_refuses_what_no_pool_may_do() -> None:
    connector = ScriptedConnector()
    connection = connector.connect()
    assert connector.note(connection) is None
    connection.enter("use")
    assert connector.note(connection) == "busy"
    with pytest.raises(AssertionError, match="reset of <FakeConnection 1> while another step"):
        connector.reset(connection)
    connection.leave()
    connector.close(connection)
    for step in (connector.use, connector.check, connector.reset):
        with pytest.raises(AssertionError, match="of <FakeConnection 1 closed>"):
            step(connection)
    with pytest.raises(AssertionError, match="closed a second time"):
        connector.close(connection)


async def test_the_connector_for_asyncio_does_the_same() -> None:
    connector = AsyncScriptedConnector()
    connector.connects.then(OSError("no"))
    with pytest.raises(OSError, match="no"):
        await connector.connect()
    connection = await connector.connect()
    connector.uses.then(gate := Gate())
    use = asyncio.create_task(connector.use(connection))
    await until(lambda: gate.waiting)
    with pytest.raises(AssertionError, match="while another step"):
        await connector.check(connection)
    gate.open()
    await use
    await connector.reset(connection)
    await connector.close(connection)
    assert (connector.open, connector.uses.calls, connector.resets.calls) == (0, 1, 1)
    assert connector.is_outage(OSError())
    assert not connector.is_outage(ValueError())
