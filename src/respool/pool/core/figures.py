"""What a pool counts and times while it works, and who waits for the whole of it."""

from __future__ import annotations

from collections import Counter
from math import inf

from respool.pool.core.entries import ACQUIRED, CloseReason, PoolEntry, ToDo, Waiter, Wake
from respool.pool.core.histogram import Histogram

__all__ = ["BATCH", "Audience", "Figures"]

#: After so many uses of a connection the times of all of them are counted at once.
BATCH = 256


class Figures:
    """The figures of one pool; its circulation writes them."""

    __slots__ = (
        "_notable",
        "_past_uses",
        "_used",
        "acquired",
        "closes",
        "count",
        "create_time",
        "entries",
        "max_size",
        "now",
        "peak",
        "saturated_seconds",
        "saturated_since",
        "use_time",
        "wait_time",
    )

    max_size: int

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[int, PoolEntry] = {}
        self.acquired = 0
        self.count: Counter[str] = Counter()
        self.closes: Counter[CloseReason] = Counter()
        self.peak = 0
        self._notable = 1  #: so many in use are worth noting
        self._past_uses = 0  #: of connections that are closed
        self._used: list[float] = []  #: how long the latest were held; goes into ``use_time`` in batches
        self.wait_time = Histogram()
        self.use_time = Histogram()
        self.create_time = Histogram()
        self.saturated_seconds = 0.0
        self.saturated_since = inf

    @property
    def takes(self) -> int:
        """How many connections have been handed out."""
        return self._past_uses + sum(entry.uses for entry in self.entries.values())

    def flush_figures(self) -> None:
        """Bring the histograms up to date."""
        self.use_time.add_all(self._used)

    @property
    def used_seconds(self) -> float:
        """How long connections have been held, all together, to this moment."""
        held = sum(self.now - entry.acquired_at for entry in self.entries.values() if entry.state is ACQUIRED)
        return self.use_time.value().sum + held

    @property
    def keeps_times(self) -> bool:
        """Whether the histograms keep their single values until somebody fetches them."""
        return self.use_time.keeps

    @keeps_times.setter
    def keeps_times(self, keeps: bool) -> None:
        self.flush_figures()
        for histogram in (self.wait_time, self.use_time, self.create_time):
            histogram.keeps = keeps

    def _note_use(self) -> None:
        """More are held than ever before, or all that may be."""
        self.peak = max(self.peak, self.acquired)
        if self.acquired >= self.max_size:
            self.saturated_since = min(self.saturated_since, self.now)
        self._notable = min(self.peak + 1, self.max_size)

    def _desaturate(self) -> None:
        self.saturated_seconds += self.now - self.saturated_since
        self.saturated_since = inf


class Audience(Figures):
    """The callers that wait for a warm-up to be complete, or for a closed pool to become empty; its circulation tells them."""

    __slots__ = ("connecting", "drained", "todo", "warm_size", "warming")

    def __init__(self) -> None:
        super().__init__()
        self.todo: list[ToDo] = []
        self.connecting = 0
        self.drained: list[Waiter] = []  #: they wait for a closed pool to become empty
        self.warm_size = 0  #: how many connections a warm-up wants to see open
        self.warming: list[Waiter] = []  #: they wait for it

    @property
    def total(self) -> int:
        return len(self.entries)

    def _fail(self, waiter: Waiter, error: BaseException) -> None:
        waiter.error = error
        self.todo.append(Wake(waiter))

    def _tell_warm(self) -> None:
        if self.warming and self.total - self.connecting >= self.warm_size:
            self.todo.extend(map(Wake, self.warming))
            self.warming, self.warm_size = [], 0

    def _fail_warming(self, error: BaseException) -> None:
        for waiter in self.warming:
            self._fail(waiter, error)
        self.warming, self.warm_size = [], 0

    def _tell_drained(self) -> None:
        if self.drained and not self.entries:
            self.todo.extend(map(Wake, self.drained))
            self.drained = []
