"""Many callers, few connections: each takes one, holds it a moment, gives it back, and comes straight back."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from statistics import fmean, median
from time import perf_counter

from benchmarks.peers import TaskPeer, ThreadPeer
from benchmarks.rounds import percentile

__all__ = ["Tally", "in_tasks", "in_threads"]


@dataclass
class Tally:
    """How long each caller waited, each time it was served (seconds), and how often it gave up."""

    waits: list[list[float]]
    late: list[int]
    seconds: float

    def figures(self) -> dict[str, float]:
        """The whole in a few numbers: waits in milliseconds, and how often the callers were served."""
        waits = [wait for one in self.waits for wait in one]
        served = self.served()
        mean = fmean(waits)
        return {
            "per_second": len(waits) / self.seconds,
            "p50": median(waits) * 1e3,
            "p99": percentile(waits, 0.99) * 1e3,
            "max": max(waits) * 1e3,
            "max_by_mean": max(waits) / mean,
            "served_min": served[0],
            "served_median": median(served),
            "served_max": served[-1],
            "uneven": _uneven(served),
            "timeouts": sum(self.late),
            "never_served": sum(not one for one in self.waits),
        }

    def served(self) -> list[int]:
        """How often each caller was served, the unluckiest first."""
        return sorted(map(len, self.waits))


def _uneven(served: list[int]) -> float:
    """How far the luckiest and the unluckiest are from the median, as a share of it; one turn more or less is none."""
    middle = median(served)
    apart = max(served[-1] - middle, middle - served[0])
    return max(0.0, apart - 1) / middle if middle else float("inf")


def in_threads(peer: ThreadPeer, *, callers: int, hold: float, seconds: float) -> Tally:
    """Let so many threads compete for so long."""
    tally = Tally([[] for _ in range(callers)], [0] * callers, seconds)
    start = threading.Barrier(callers)
    acquire, release, late = peer.acquire, peer.release, peer.late

    def caller(number: int) -> None:
        waits = tally.waits[number]
        start.wait()
        end = perf_counter() + seconds
        while (asked := perf_counter()) < end:
            try:
                connection = acquire()
            except late:
                tally.late[number] += 1
                continue
            waits.append(perf_counter() - asked)
            time.sleep(hold)
            release(connection)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


async def in_tasks(peer: TaskPeer, *, callers: int, hold: float, seconds: float) -> Tally:
    """Let so many tasks compete for so long."""
    tally = Tally([[] for _ in range(callers)], [0] * callers, seconds)
    acquire, release, late = peer.acquire, peer.release, peer.late
    end = perf_counter() + seconds

    async def caller(number: int) -> None:
        waits = tally.waits[number]
        while (asked := perf_counter()) < end:
            try:
                connection = await acquire()
            except late:
                tally.late[number] += 1
                continue
            waits.append(perf_counter() - asked)
            await asyncio.sleep(hold)
            await release(connection)

    await asyncio.gather(*map(caller, range(callers)))
    return tally
