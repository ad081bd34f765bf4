"""Plays scripts by chance on mappings by chance, with plans and without, on every driver; prints what can be told apart.

It starts its own PostgreSQL and, where that is installed, MariaDB.  Batches have numbers: ``--seed 17 --mappings 100`` shows
the batch of number 17 again.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.loading.arenas import DRIVERS, NAMES, Arena
from tests.loading.comparing import BEGINS, compare
from tests.loading.mappings import Shape, shapes
from tests.loading.scripts import Step, scripts
from tests.loading.watching import watched
from tests.support.mariadb import MariaMissing, MariaServer
from tests.support.postgres import PostgresServer

_BATCH = 100


class Search:
    """What was found on one driver.

    Args:
        arena: of the driver.
        planned: where it is noted what goes by plans.
    """

    def __init__(self, arena: Arena, planned: list[str]) -> None:
        self.arena, self.planned = arena, planned
        self.mappings = self.simple = self.reads = self.by_plans = self.differences = 0

    def batch(self, number: int, size: int) -> None:
        """Play as many mappings; a difference is made small, printed, and ends the batch."""

        @seed(number)
        @settings(
            max_examples=size,
            database=None,
            deadline=None,
            derandomize=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[*HealthCheck],
        )
        @given(shape=shapes(), script=scripts(), begin=st.sampled_from(BEGINS))
        def played(shape: Shape, script: Sequence[Step], begin: str | None) -> None:
            told = compare(self.arena, shape, script, self.planned, begin)
            self.mappings += 1
            self.simple += shape.simple
            self.reads += told.read
            self.by_plans += len(told.planned)

        try:
            played()
        except Exception as error:
            found = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
            self.differences += len(found)
            for each in found:
                told = "".join(traceback.format_exception_only(each))
                print(f"\n{self.arena.driver}, batch {number}: {told}", flush=True)

    def __str__(self) -> str:
        return (
            f"{self.arena.driver}: {self.mappings} mappings, {self.simple} of them simple; the second time "
            f"{self.by_plans} of {self.reads} reads went by plans; {self.differences} differences"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.loading", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mappings", type=int, default=1000, help="how many on each driver")
    parser.add_argument("--seed", type=int, default=None, help="the number of the first batch; by chance otherwise")
    parser.add_argument("--only", action="append", choices=[*DRIVERS], help="this driver only")
    options = parser.parse_args(arguments)
    first = random.randrange(10**6) if options.seed is None else options.seed
    logging.getLogger("respool").setLevel(logging.CRITICAL)
    gc.freeze()
    with ExitStack() as stack:
        planned = stack.enter_context(watched())
        searches = [Search(arena, planned) for arena in _arenas(stack, options.only or [*DRIVERS])]
        for done in range(0, options.mappings, _BATCH):
            for search in searches:
                began = time.monotonic()
                search.batch(first + done // _BATCH, min(_BATCH, options.mappings - done))
                print(f"{search}; batch {first + done // _BATCH}: {time.monotonic() - began:.0f} s", flush=True)
    print(*("", *searches), sep="\n")
    return 1 if any(search.differences for search in searches) else 0


def _arenas(stack: ExitStack, drivers: Sequence[str]) -> list[Arena]:
    servers: dict[str, Any] = {"sqlite": None}
    arenas = []
    for driver in drivers:
        place = DRIVERS[driver]
        if find_spec(NAMES.get(driver, driver)) is None:
            print(f"{driver} is left out: it is not installed", flush=True)
            continue
        try:
            if place not in servers:
                servers[place] = stack.enter_context(PostgresServer() if place == "postgresql" else MariaServer())
        except MariaMissing as missing:
            print(f"{driver} is left out: {missing}", flush=True)
            continue
        if servers[place] is not None:
            servers[place].create_database(f"plans_{driver}")
        arenas.append(stack.enter_context(closing(Arena(driver, servers[place], f"plans_{driver}"))))
    return arenas


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Hypothesis takes sys.exit() for a difference
    sys.exit(main())
