"""How much memory a connection at rest takes, and a caller in line."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

from benchmarks.measures.base import Column, Measurement, with_task_peer, with_thread_peer
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Row, Rows
from benchmarks.stub import StubServer

CONNECTION, WAITER = "an idle connection", "a waiting task"


def run(budget: Budget) -> Rows:
    connections, waiters = budget.pick((1000, 10_000), (300, 1000))
    rows = Rows([Row(CONNECTION, "(the stub connection alone)", "none")])
    rows[-1].add({"bytes": _stubs(connections)})
    for kind in THREAD_PEERS:
        rows.append(Row(CONNECTION, kind.name, kind.key, kind.ours))
        rows[-1].add({"bytes": with_thread_peer(kind, Setup(size=connections + 1), lambda p: _connections(p))})
    rows.append(Row(WAITER, "(a task that waits for a future)", "none"))
    rows[-1].add({"bytes": asyncio.run(_futures(waiters))})
    for task_kind in TASK_PEERS:
        rows.append(Row(WAITER, task_kind.name, task_kind.key, task_kind.ours))
        one = Setup(size=1, timeout=600.0)
        rows[-1].add({"bytes": with_task_peer(task_kind, one, lambda p: _waiters(p, waiters))})
    return rows


class _Traced:
    """Counts the bytes that are allocated inside its block and are still there at its end."""

    bytes = 0

    def __enter__(self) -> _Traced:
        gc.collect()
        tracemalloc.start()
        return self

    def __exit__(self, *failure: Any) -> None:
        gc.collect()
        self.bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()


def _stubs(number: int) -> float:
    server = StubServer()
    with _Traced() as traced:
        kept = [server.connect() for _ in range(number)]
    return traced.bytes / len(kept)


def _connections(peer: ThreadPeer) -> float:
    peer.repeat(10)
    number = peer.setup.size - 1
    with _Traced() as traced:
        held = [peer.acquire() for _ in range(number + 1)]
        while held:
            peer.release(held.pop())
    return traced.bytes / number


async def _futures(number: int) -> float:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with _Traced() as traced:
        tasks = [asyncio.ensure_future(wait()) for _ in range(number)]
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return traced.bytes / number


async def _waiters(peer: TaskPeer, number: int) -> float:
    async def turn() -> None:
        await peer.release(await peer.acquire())

    held = await peer.acquire()
    with _Traced() as traced:
        tasks = [asyncio.ensure_future(turn()) for _ in range(number)]
        for _ in range(10):
            await asyncio.sleep(0)
    await peer.release(held)
    await asyncio.gather(*tasks)
    return traced.bytes / number


MEASUREMENT = Measurement(
    name="memory",
    title="Memory",
    text=(
        "Bytes that Python has allocated for each, counted with `tracemalloc`; the task, its frames and its future"
        " are part of a waiting task, the stub connection of a connection. Stacks of greenlets and C memory are not seen."
    ),
    columns=(Column("bytes", "bytes each", 0),),
    compare="bytes",
    run=run,
)
