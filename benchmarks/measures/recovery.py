"""Lost wake-ups: connects fail while others queue; the database is well again; who notices?"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from benchmarks.measures.base import Column, Measurement, Target, with_task_peer, with_thread_peer
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Rows, collect
from benchmarks.stub import StubServer

THREADS, TASKS = "threads", "tasks"
CONNECTING, QUEUED = 5, 3
#: Seconds: how long the refused connects take, when the others get in line, when the database is back.
REFUSED_AFTER, QUEUE_AT, BACK_AT = 0.3, 0.1, 0.2


def run(budget: Budget) -> Rows:
    rounds, timeout = budget.pick((2, 4.0), (1, 1.4))
    threads = collect(THREADS, THREAD_PEERS, rounds, lambda kind: in_threads(kind, timeout), warm_up=False)
    tasks = collect(TASKS, TASK_PEERS, rounds, lambda kind: in_tasks(kind, timeout), warm_up=False)
    return Rows([*threads, *tasks])


def in_threads(kind: type[ThreadPeer], timeout: float) -> dict[str, float]:
    return with_thread_peer(kind, Setup(timeout=timeout), _threads)


def _threads(peer: ThreadPeer) -> dict[str, float]:
    server, line = peer.setup.server, threading.Event()
    _go_away(server)

    def caller(first: bool) -> tuple[float, bool]:
        if not first:
            line.wait()
        asked = perf_counter()
        try:
            peer.release(peer.acquire())
        except Exception:
            return perf_counter() - asked, False
        return perf_counter() - asked, True

    with ThreadPoolExecutor(CONNECTING + QUEUED) as executor:
        answers = [executor.submit(caller, number < CONNECTING) for number in range(CONNECTING + QUEUED)]
        time.sleep(QUEUE_AT)
        line.set()
        time.sleep(BACK_AT - QUEUE_AT)
        _come_back(server)
    return _figures([answer.result() for answer in answers])


def in_tasks(kind: type[TaskPeer], timeout: float) -> dict[str, float]:
    return with_task_peer(kind, Setup(timeout=timeout), _tasks)


async def _tasks(peer: TaskPeer) -> dict[str, float]:
    server, line = peer.setup.server, asyncio.Event()
    _go_away(server)

    async def caller(first: bool) -> tuple[float, bool]:
        if not first:
            await line.wait()
        asked = perf_counter()
        try:
            await peer.release(await peer.acquire())
        except Exception:
            return perf_counter() - asked, False
        return perf_counter() - asked, True

    callers = [asyncio.create_task(caller(number < CONNECTING)) for number in range(CONNECTING + QUEUED)]
    await asyncio.sleep(QUEUE_AT)
    line.set()
    await asyncio.sleep(BACK_AT - QUEUE_AT)
    _come_back(server)
    return _figures(await asyncio.gather(*callers))


def _go_away(server: StubServer) -> None:
    server.away, server.connect_seconds = True, REFUSED_AFTER


def _come_back(server: StubServer) -> None:
    """For connects that begin from now on; those under way are refused when their time has come."""
    server.away, server.connect_seconds = False, 0.0


def _figures(answers: list[tuple[float, bool]]) -> dict[str, float]:
    first, queued = answers[:CONNECTING], answers[CONNECTING:]
    return {
        "longest": max(seconds for seconds, _ in queued),
        "queued_failed": sum(not served for _, served in queued),
        "first_failed": sum(not served for _, served in first),
    }


MEASUREMENT = Measurement(
    name="recovery",
    title="After a hiccup of the database",
    text=(
        "The database is away: five callers come, and their connects hang for 0.3 s and are then refused. Three more"
        " callers come after 0.1 s and queue. At 0.2 s the database is back: whoever connects from then on succeeds at"
        " once. So five connections could be opened at 0.3 s; how long do the three wait? Their limit is 4 s"
        " (1.4 s with `--quick`; SQLAlchemy's default is 30 s): who waits that long was not woken, but timed out."
    ),
    columns=(
        Column("longest", "longest wait of the queued, s", 2, spread=True),
        Column("queued_failed", "of 3 queued, failed", 0),
        Column("first_failed", "of the 5 first, failed", 0),
    ),
    run=run,
    targets=(
        Target(
            "those in line are served within a second",
            lambda rows: max(row.median("longest") for row in rows if row.ours),
            1.0,
            " s",
        ),
    ),
)
