"""What a run of simulated clients counts, and the words in which it is reported."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["Figures", "Latencies", "PoolWatch"]


class Latencies:
    """Response times in buckets 2 % wide: any number of them in little memory."""

    _WIDTH = math.log(1.02)

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0

    def add(self, seconds: float) -> None:
        self._buckets[math.ceil(math.log(max(seconds, 1e-6)) / self._WIDTH)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the requests stayed within; 0.0 when there were none."""
        rank, seen = math.ceil(self.count * percent / 100), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return math.exp(bucket * self._WIDTH)
        return 0.0

    def __str__(self) -> str:
        return "  ".join(f"p{percent} {self.percentile(percent) * 1000:.1f} ms" for percent in (50, 95, 99))


class PoolWatch:
    """The pool as the clients saw it over time, from the server's own snapshots."""

    def __init__(self) -> None:
        self.pool: Mapping[str, Any] = {}
        self.open_sessions = 0
        self.max_total = 0
        self.max_waiting = 0

    def see(self, snapshot: Mapping[str, Any]) -> None:
        database = snapshot["databases"][0]
        self.pool = database["pool"]
        self.open_sessions = len(database["scopes"])
        self.max_total = max(self.max_total, self.pool["total"])
        self.max_waiting = max(self.max_waiting, self.pool["waiting"])

    @property
    def limit(self) -> int:
        return int(self.pool.get("max_size", 0))

    @property
    def over_limit(self) -> bool:
        return self.max_total > self.limit

    @property
    def at_rest(self) -> bool:
        """Nothing is held, waited for or open."""
        return not (self.pool.get("acquired", 1) or self.pool["waiting"] or self.open_sessions)


class Figures:
    """Counts of one run. ``requests`` holds the answered ones by kind, ``errors`` the failures by their text."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latencies = Latencies()
        self.watch = PoolWatch()

    def progress(self, elapsed: float, *, answered: int, seconds: float) -> str:
        """One line: what happened so far; ``answered`` requests in the last ``seconds`` give the rate."""
        pool = self.watch.pool
        return (
            f"{elapsed:5.0f} s  {self.latencies.count:>8,} requests  {answered / seconds:7.1f}/s  {self.latencies}"
            f"  errors {self.errors.total()}"
            f"  pool {pool.get('acquired', '?')}/{pool.get('max_size', '?')} acquired, {pool.get('waiting', '?')} waiting"
        )

    def report(self, elapsed: float) -> str:
        """The final lines."""
        pool, watch = self.watch.pool, self.watch
        queue = f"{pool.get('waited_total', 0):,} waits, {pool.get('timeouts', 0):,} timeouts"
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.requests.most_common())
        lines = [
            f"{self.clients} clients, {elapsed:.1f} s",
            f"  requests   {self.latencies.count:,} ({kinds or 'none'})",
            f"  errors     {self.errors.total():,}",
            *(f"             {count:,} x {text}" for text, count in self.errors.most_common(5)),
            f"  rate       {self.latencies.count / max(elapsed, 0.001):.1f} requests/s",
            f"  latency    {self.latencies}",
            f"  pool       at most {watch.max_total} open of {watch.limit} allowed, {watch.max_waiting} in line; {queue}",
            f"  left over  {pool.get('acquired', '?')} connections acquired, {watch.open_sessions} sessions open",
        ]
        return "\n".join(lines)

    def verdict(self) -> list[str]:
        """What is wrong, a line each; empty when the run was clean."""
        wrong = []
        if self.errors:
            wrong.append(f"{self.errors.total():,} errors")
        if not self.latencies.count:
            wrong.append("no request was answered")
        if self.watch.over_limit:
            wrong.append(f"{self.watch.max_total} connections open, {self.watch.limit} allowed")
        if not self.watch.at_rest:
            wrong.append("connections or sessions were left over")
        return wrong
