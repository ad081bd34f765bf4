"""Taking a free connection and giving it back, without a database: what a pool costs when nothing is the matter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter, thread_time

from benchmarks.measures.base import Column, Measurement, Target, with_task_peer, with_thread_peer
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Bare, BareAsync, Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Rows, collect

ONE, EIGHT, TASK = "1 thread", "8 threads on 5 connections", "asyncio, 1 task"
WARM_UP = 300


def run(budget: Budget) -> Rows:
    rounds, seconds = budget.pick((7, 0.2), (3, 0.04))
    return Rows(
        [
            *collect(ONE, [*THREAD_PEERS, Bare], rounds, lambda kind: one_thread(kind, seconds)),
            *collect(EIGHT, [*THREAD_PEERS, Bare], rounds, lambda kind: eight_threads(kind, 2 * seconds)),
            *collect(TASK, [*TASK_PEERS, BareAsync], rounds, lambda kind: one_task(kind, seconds)),
        ]
    )


def one_thread(kind: type[ThreadPeer], seconds: float) -> dict[str, float]:
    def use(peer: ThreadPeer) -> float:
        times = calls_in(seconds, _timed(peer.repeat, WARM_UP))
        return _timed(peer.repeat, times) / times

    return {"us": with_thread_peer(kind, Setup(), use) * 1e6}


def eight_threads(kind: type[ThreadPeer], seconds: float) -> dict[str, float]:
    def use(peer: ThreadPeer) -> float:
        times = calls_in(seconds / 8, _timed(peer.repeat, WARM_UP))
        start = threading.Barrier(9)

        def work() -> None:
            start.wait()
            peer.repeat(times)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        start.wait()
        began = perf_counter()
        for thread in threads:
            thread.join()
        return (perf_counter() - began) / (8 * times)

    return {"us": with_thread_peer(kind, Setup(), use) * 1e6}


def one_task(kind: type[TaskPeer], seconds: float) -> dict[str, float]:
    async def use(peer: TaskPeer) -> float:
        began = thread_time()
        await peer.repeat(WARM_UP)
        times = calls_in(seconds, thread_time() - began)
        began = thread_time()
        await peer.repeat(times)
        return (thread_time() - began) / times

    return {"us": with_task_peer(kind, Setup(), use) * 1e6}


def _timed(repeat: Callable[[int], None], times: int) -> float:
    """Seconds of the processor."""
    began = thread_time()
    repeat(times)
    return thread_time() - began


def calls_in(seconds: float, warm_up: float) -> int:
    """How many calls fit, going by the warm-up (whose first call opened the connection)."""
    return max(WARM_UP, int(seconds * WARM_UP / warm_up))


MEASUREMENT = Measurement(
    name="raw",
    title="The price of a free connection",
    text=(
        "One connection is taken and given back in a loop, and nobody else wants it. In the second case eight threads"
        " share five connections and hold them for no time at all: a pool that serves in order of arrival then may"
        " switch threads at each turn, which is what its spread shows (this case is in time on the wall, the others in time of the processor). SQLAlchemy's pools are called below the engine, as `engine.raw_connection()`, and those for asyncio"
        " within one greenlet, which is their cheapest way in. `asyncpg.Pool` is measured without its reset, which"
        " would be a round trip to the server. The floor serves in order of arrival and does nothing else: it knows no"
        " deadline, no age, no figures, no holder, no lost lease. With eight threads a strict order makes it, too, switch"
        " threads at each turn once somebody waits: it shows what the order itself costs in CPython, whoever keeps it."
    ),
    columns=(Column("us", "µs a turn", 2, spread=True),),
    compare="us",
    run=run,
    targets=(
        Target(
            "threads: at most half of what psycopg_pool takes",
            lambda rows: rows.ratio("us", (ONE, "respool"), (ONE, "psycopg_pool")),
            0.5,
        ),
        Target(
            "asyncio: at most half of what psycopg_pool takes",
            lambda rows: rows.ratio("us", (TASK, "respool"), (TASK, "psycopg_pool")),
            0.5,
        ),
        Target(
            "8 threads on 5 connections: at most 1.2 × what psycopg_pool takes with a single thread",
            lambda rows: rows.ratio("us", (EIGHT, "respool"), (ONE, "psycopg_pool")),
            1.2,
        ),
    ),
)
