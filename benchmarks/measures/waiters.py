"""What it costs to hand a connection to the next in line, with few and with many waiting behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter, thread_time

from benchmarks.measures.base import Column, Measurement, Target, with_task_peer, with_thread_peer
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Rows, collect

ONE_CONNECTION = Setup(size=1, timeout=600.0)
#: Hand-offs in one sample, at least: a short line is served again and again.
IN_THREADS, IN_TASKS = 500, 2000


def run(budget: Budget) -> Rows:
    rounds, few = budget.pick((3, 2), (1, 1))
    rows = Rows()
    for number in (10, 1000):
        rows += collect(threads(number), THREAD_PEERS, rounds, partial(in_threads, number))
    for number in budget.pick((10, 1000, 100_000), (10, 1000)):
        short = number < 100_000
        rows += collect(tasks(number), TASK_PEERS, rounds if short else few, partial(in_tasks, number), warm_up=short)
    return rows


def threads(number: int) -> str:
    return f"{number:,} threads".replace(",", " ")


def tasks(number: int) -> str:
    return f"{number:,} tasks".replace(",", " ")


def in_threads(number: int, kind: type[ThreadPeer]) -> dict[str, float]:
    times = max(1, IN_THREADS // number)
    with _no_collection():
        seconds = with_thread_peer(kind, ONE_CONNECTION, lambda peer: sum(_drain(peer, number) for _ in range(times)))
    return {"us": seconds / (times * number) * 1e6}


def _drain(peer: ThreadPeer, number: int) -> float:
    """Seconds until so many waiting threads have been served, one after the other."""
    held = peer.acquire()
    turns = [threading.Thread(target=lambda: peer.release(peer.acquire())) for _ in range(number)]
    for turn in turns:
        turn.start()
    time.sleep(0.01 + number * 20e-6)  # until all are in line
    began = perf_counter()
    peer.release(held)
    for turn in turns:
        turn.join()
    return perf_counter() - began


def in_tasks(number: int, kind: type[TaskPeer]) -> dict[str, float]:
    times = max(1, IN_TASKS // number)

    async def use(peer: TaskPeer) -> float:
        return sum([await _drain_tasks(peer, number) for _ in range(times)])

    with _no_collection():
        seconds = with_task_peer(kind, ONE_CONNECTION, use)
    return {"us": seconds / (times * number) * 1e6}


async def _drain_tasks(peer: TaskPeer, number: int) -> float:
    """The same with tasks."""
    held = await peer.acquire()
    left, done = number, asyncio.Event()

    async def turn() -> None:
        nonlocal left
        await peer.release(await peer.acquire())
        left -= 1
        if not left:
            done.set()

    turns = [asyncio.ensure_future(turn()) for _ in range(number)]
    for _ in range(10):
        await asyncio.sleep(0)  # until all are in line
    began = thread_time()
    await peer.release(held)
    await done.wait()
    seconds = thread_time() - began
    await asyncio.gather(*turns)
    return seconds


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection, whose cost is the tasks' own and grows with their number."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


MEASUREMENT = Measurement(
    name="waiters",
    title="Long queues",
    text=(
        "So many callers wait for one connection. It is given back, and each passes it on to the next at once, until"
        " all are served. The time, divided by the number of callers, is the price of one hand-off: give back, wake"
        " the next, switch to it. It should not grow with the number of those who wait. Time on the wall for threads, of the processor for tasks."
    ),
    columns=(Column("us", "µs a hand-off", 1, spread=True),),
    compare="us",
    run=run,
    targets=(
        Target(
            "asyncio: with 100 000 waiting at most 1.2 × the price with 10",
            lambda rows: rows.at(tasks(100_000), "respool").median("us") / rows.at(tasks(10), "respool").median("us"),
            1.2,
        ),
    ),
)
