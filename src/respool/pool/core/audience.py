"""Who waits for the whole pool: for a warm-up to be complete, or for a closed pool to become empty."""

from __future__ import annotations

from respool.pool.core.entries import ToDo, Waiter, Wake
from respool.pool.core.figures import Figures

__all__ = ["Audience"]


class Audience(Figures):
    """The callers that wait for more than one connection; its circulation tells them."""

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
