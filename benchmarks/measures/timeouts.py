"""False alarms: callers that give up although connections come back all the time."""

from __future__ import annotations

from benchmarks import contention
from benchmarks.measures.base import Column, Measurement, Target, with_task_peer, with_thread_peer
from benchmarks.peers import TASK_PEERS, THREAD_PEERS, Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Rows, collect

THREADS, TASKS = "64 threads, 5 connections", "64 tasks, 5 connections"
HOLD, TIMEOUT = 0.005, 1.0


def run(budget: Budget) -> Rows:
    rounds, seconds = budget.pick((2, 2.5), (1, 1.2))
    threads = collect(THREADS, THREAD_PEERS, rounds, lambda kind: in_threads(kind, seconds), warm_up=False)
    tasks = collect(TASKS, TASK_PEERS, rounds, lambda kind: in_tasks(kind, seconds), warm_up=False)
    return Rows([*threads, *tasks])


def in_threads(kind: type[ThreadPeer], seconds: float) -> dict[str, float]:
    def use(peer: ThreadPeer) -> contention.Tally:
        return contention.in_threads(peer, callers=64, hold=HOLD, seconds=seconds)

    return with_thread_peer(kind, Setup(timeout=TIMEOUT), use).figures()


def in_tasks(kind: type[TaskPeer], seconds: float) -> dict[str, float]:
    async def use(peer: TaskPeer) -> contention.Tally:
        return await contention.in_tasks(peer, callers=64, hold=HOLD, seconds=seconds)

    return with_task_peer(kind, Setup(timeout=TIMEOUT), use).figures()


MEASUREMENT = Measurement(
    name="timeouts",
    title="False timeouts",
    text=(
        "64 callers, five connections held for 5 ms each, and a limit of 1 s to wait for one. A connection comes back"
        " every millisecond: in turn, each caller waits about 65 ms. Every timeout here is a request that failed"
        " although nothing was wrong."
    ),
    columns=(
        Column("timeouts", "timeouts", 0, spread=True),
        Column("never_served", "callers never served", 0),
        Column("p50", "wait p50, ms"),
        Column("max", "longest of those served, ms"),
        Column("per_second", "served a second", 0, spread=True),
    ),
    run=run,
    targets=(
        Target(
            "no timeouts, with threads and with tasks",
            lambda rows: sum(sum(row.samples["timeouts"]) for row in rows if row.ours),
            0,
            "",
        ),
    ),
)
