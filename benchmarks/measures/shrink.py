"""What stays open after a burst."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from benchmarks.measures.base import Column, Measurement, Target
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Setup
from benchmarks.peers.base import Peer
from benchmarks.rounds import Budget, Row, Rows

THREADS, TASKS = "threads", "asyncio"
BURST, MAX_IDLE = 15, 1.0


def run(budget: Budget) -> Rows:
    return asyncio.run(_all(budget.pick(10.0, 2.5)))


async def _all(seconds: float) -> Rows:
    """All pools side by side: they only rest."""
    threads = [kind(_setup()) for kind in THREAD_PEERS]
    tasks = [kind(_setup()) for kind in TASK_PEERS]
    for task_peer in tasks:
        await task_peer.open()
    held_by_threads = [[peer.acquire() for _ in range(BURST)] for peer in threads]
    held_by_tasks = [[await peer.acquire() for _ in range(BURST)] for peer in tasks]
    for peer, connections in zip(threads, held_by_threads, strict=True):
        for connection in connections:
            peer.release(connection)
    for task_peer, connections in zip(tasks, held_by_tasks, strict=True):
        for connection in connections:
            await task_peer.release(connection)
    rows = Rows(Row(THREADS, peer.name, peer.key, peer.ours) for peer in threads)
    rows += [Row(TASKS, task_peer.name, task_peer.key, task_peer.ours) for task_peer in tasks]
    await _watch(rows, [*threads, *tasks], seconds)
    for peer in threads:
        peer.close()
    for task_peer in tasks:
        await task_peer.close()
    return rows


def _setup() -> Setup:
    return Setup(size=BURST, kept=5, max_idle=MAX_IDLE)


async def _watch(rows: Rows, peers: Sequence[Peer], seconds: float) -> None:
    began = perf_counter()
    while (now := perf_counter() - began) < seconds:
        for row, peer in zip(rows, peers, strict=True):
            row.series.append([round(now, 2), peer.open_connections()])
        await asyncio.sleep(0.1)
    for row in rows:
        opened = [number for _, number in row.series]
        row.add({"at_once": opened[0], "after_2": opened[min(20, len(opened) - 1)], "at_the_end": opened[-1]})


MEASUREMENT = Measurement(
    name="shrink",
    title="After a burst",
    text=(
        "15 connections are taken at once and given back, then nothing happens any more. Idle connections may rest for"
        " 1 s where a pool has such a setting, and none has to be kept; SQLAlchemy's pools have only"
        " `pool_size=5, max_overflow=10`, their default. psycopg_pool closes one each `max_idle`."
    ),
    columns=(
        Column("at_once", "open at once after it", 0),
        Column("after_2", "after 2 s", 0),
        Column("at_the_end", "after 10 s", 0),
    ),
    run=run,
    targets=(
        Target(
            "nothing is left open after twice `max_idle`",
            lambda rows: max(row.median("after_2") for row in rows if row.ours),
            0,
            "",
        ),
    ),
)
