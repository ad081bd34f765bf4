"""Who is served, and after how long, when many want few connections."""

from __future__ import annotations

from typing import Any

from benchmarks import contention
from benchmarks.measures.base import Column, Measurement, Target, with_task_peer, with_thread_peer
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Rows, collect

THREADS, TASKS = "64 threads, 5 connections", "1000 tasks, 5 connections"
HOLD, WARM_UP = 0.001, 0.1


def run(budget: Budget) -> Rows:
    rounds, seconds = budget.pick((3, 2.5), (1, 0.5))
    for kind in THREAD_PEERS:
        in_threads(kind, WARM_UP)
    threads = collect(THREADS, THREAD_PEERS, rounds, lambda kind: in_threads(kind, seconds), warm_up=False)
    tasks = collect(TASKS, TASK_PEERS, rounds, lambda kind: in_tasks(kind, seconds), warm_up=False)
    return Rows([*threads, *tasks])


def in_threads(kind: type[ThreadPeer], seconds: float) -> dict[str, Any]:
    def use(peer: ThreadPeer) -> contention.Tally:
        return contention.in_threads(peer, callers=64, hold=HOLD, seconds=seconds)

    return _figures(with_thread_peer(kind, Setup(), use))


def in_tasks(kind: type[TaskPeer], seconds: float) -> dict[str, Any]:
    async def use(peer: TaskPeer) -> contention.Tally:
        return await contention.in_tasks(peer, callers=1000, hold=HOLD, seconds=seconds)

    return _figures(with_task_peer(kind, Setup(), use))


def _figures(tally: contention.Tally) -> dict[str, Any]:
    return tally.figures() | {"series": [[number, served] for number, served in enumerate(tally.served(), 1)]}


def targets(case: str) -> list[Target]:
    """Both of our pools have to reach them."""

    def worst(rows: Rows, figure: str) -> float:
        return max(rows.at(case, key).median(figure) for key in ("respool", "respool-engine"))

    equal = f"{case}: everybody served equally often, within 10 % (or one turn)"
    return [
        Target(f"{case}: longest wait at most 2 × the mean", lambda rows: worst(rows, "max_by_mean"), 2.0),
        Target(equal, lambda rows: worst(rows, "uneven") * 100, 10.0, " %"),
    ]


MEASUREMENT = Measurement(
    name="fairness",
    title="Fairness: who is served when connections are scarce",
    text=(
        "Callers that come straight back compete for five connections and hold each for 1 ms. “Served” is how often"
        " the unluckiest, the median and the luckiest caller got a connection; “max / mean” compares the longest wait"
        " with the mean one. In a fair queue nobody waits much longer than the others."
    ),
    columns=(
        Column("served_min", "served: least", 0),
        Column("served_median", "median", 0),
        Column("served_max", "most", 0),
        Column("p50", "wait p50, ms"),
        Column("p99", "p99, ms"),
        Column("max", "longest, ms"),
        Column("max_by_mean", "max / mean"),
        Column("per_second", "served a second", 0, spread=True),
    ),
    run=run,
    targets=(*targets(THREADS), *targets(TASKS)),
)
