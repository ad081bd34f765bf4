"""Both sides' databases for one driver, and what a program does differently on them."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.differential.allowed import not_allowed
from tests.differential.compare import Difference, differences
from tests.differential.interpreter import driven, perform
from tests.differential.limits import OURS, STOCK, TookTooLong, limit
from tests.differential.listeners import deafen, silence
from tests.differential.model import Program
from tests.differential.places import DRIVERS, Place, SqlitePlace
from tests.differential.servers import MariaPlace, PostgresPlace
from tests.differential.sides import Ours, Stock
from tests.differential.traces import Trace

__all__ = ["Arena"]


class Arena:
    """Runs programs with one driver on both sides, for as long as its block lasts.

    Args:
        driver: one of ``DRIVERS``.
        server: the server's fixture or object; SQLite needs none.
        stock, ours: the two sides.
        seconds: that a program may take on each side.
    """

    def __init__(
        self,
        driver: str,
        server: Any = None,
        stock: Stock | None = None,
        ours: Stock | None = None,
        seconds: tuple[float, float] = (STOCK, OURS),
    ) -> None:
        self.driver = driver
        self.seconds = seconds
        self.sides = (stock or Stock(), ours or Ours())
        self.asynchronous = DRIVERS[driver][1]
        self._server = server
        self._places: list[Place] = []
        self.skipped = 0  #: how many programs did not come to their end on stock's side
        self._runner = asyncio.Runner() if self.asynchronous else None

    def __enter__(self) -> Self:
        for _ in self.sides:
            self._places.append(self._make_place())
        gc.collect()
        gc.freeze()  # what is there by now is not looked through after each program
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._runner is not None:
            self._runner.close()
        for place in self._places:
            place.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a program has left, where another test would hear of it
            gc.collect()

    def _make_place(self) -> Place:
        match DRIVERS[self.driver][0]:
            case "sqlite":
                return SqlitePlace(self.driver)
            case "postgresql":
                return PostgresPlace(self.driver, self._server)
            case _:
                return MariaPlace(self.driver, self._server)

    @property
    def database(self) -> str:
        """The kind of database."""
        return DRIVERS[self.driver][0]

    def run(self, program: Program) -> tuple[Trace, Trace]:
        """Run a program on both sides; on ours only if stock's comes to an end."""
        (here, there), (one, other), (short, long) = self._places, self.sides, self.seconds
        stock = self._perform(program, here, one, short)
        return stock, Trace() if stock.hung else self._perform(program, there, other, long)

    def compare(self, program: Program) -> list[Difference]:
        """Run a program on both sides; returns the differences that are not meant."""
        stock, ours = self.run(program)
        if stock.hung:
            self.skipped += 1
            return []
        return not_allowed(list(differences(program, self.driver, stock, ours)))

    def _perform(self, program: Program, place: Place, side: Stock, seconds: float) -> Trace:
        place.begin(program.setup.journal)
        trace = Trace()
        gc.disable()  # what it closes is closed when it comes to it: at the end, for all
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a listener has left
            try:
                with limit(seconds, deafen):
                    self._drive(perform(program, place, side, trace))
            except TookTooLong:
                trace.hung = True
                self._drop_what_hangs(seconds)
                silence()
            finally:
                gc.enable()
            gc.collect(2 if trace.out or trace.hung or program.setup.pool == "null" else 1)
        place.restore()
        return trace

    def _drive(self, performance: Coroutine[Any, Any, None]) -> None:
        if self._runner is None:
            driven(performance)
        else:
            self._runner.run(performance)

    def _drop_what_hangs(self, seconds: float) -> None:
        """The next program has a loop of its own."""
        runner, self._runner = self._runner, asyncio.Runner() if self.asynchronous else None
        if runner is not None:
            with suppress(TookTooLong), limit(seconds):
                runner.close()
