"""Runs programs on SQLAlchemy and on respool for as long as you like, and prints each kind of difference once, made small.

It starts its own PostgreSQL.  Programs have numbers: ``--seed`` is the first one, and ``--programs 1`` shows it again.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tests.differential.arena import Arena
from tests.differential.compare import Difference
from tests.differential.places import DRIVERS
from tests.differential.search import kind_of, search, smaller
from tests.differential.sides import Stock
from tests.support.mariadb import MariaMissing, MariaServer
from tests.support.postgres import PostgresServer

_BATCH = 100


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=None, help="how long; default: until --programs are run")
    parser.add_argument("--programs", type=int, default=None, help="how many, over all drivers; default: 1000")
    parser.add_argument("--seed", type=int, default=None, help="the number of the first program; by chance otherwise")
    parser.add_argument("--only", action="append", choices=[*DRIVERS], help="this driver only")
    parser.add_argument("--stop", action="store_true", help="stop at the first difference")
    parser.add_argument("--stock", action="store_true", help="SQLAlchemy on both sides: nothing may differ")
    options = parser.parse_args(arguments)
    if options.minutes is None and options.programs is None:
        options.programs = 1000
    return options


class Runner:
    """Goes around the drivers, a batch of programs each time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        first = random.randrange(10**9) if options.seed is None else options.seed
        self.next = dict.fromkeys(DRIVERS, first)
        self.run: Counter[str] = Counter()
        self.in_a_row = 0
        self.kinds: Counter[tuple[str, ...]] = Counter()
        self.until = None if options.minutes is None else time.monotonic() + 60 * options.minutes

    def over(self) -> bool:
        """Whether time is up or enough programs were run."""
        if self.until is not None and time.monotonic() > self.until:
            return True
        return self.options.programs is not None and self.run.total() >= self.options.programs

    def __call__(self) -> int:
        with ExitStack() as stack:
            arenas = self._arenas(stack)
            while not self.over():
                for arena in arenas:
                    self._batch(arena)
                    if self.over() or (self.options.stop and self.kinds):
                        break
                if self.options.stop and self.kinds:
                    break
        print(", ".join(f"{driver}: {count}" for driver, count in self.run.items()), flush=True)
        skipped = sum(arena.skipped for arena in arenas)
        print(f"{self.run.total()} programs, the last {self.in_a_row} without a difference", flush=True)
        if skipped:
            print(f"{skipped} of them did not come to an end on SQLAlchemy, and were skipped", flush=True)
        return 1 if self.kinds else 0

    def _arenas(self, stack: ExitStack) -> list[Arena]:
        wanted = list(self.options.only or DRIVERS)
        servers: dict[str, Any] = {}
        if any(DRIVERS[driver][0] == "postgresql" for driver in wanted):
            servers["postgresql"] = stack.enter_context(PostgresServer())
        if "mariadb" in wanted:
            try:
                servers["mariadb"] = stack.enter_context(MariaServer())
            except MariaMissing as missing:
                print(missing)
                wanted = [driver for driver in wanted if driver != "mariadb"]
        ours = Stock() if self.options.stock else None
        return [stack.enter_context(Arena(driver, servers.get(DRIVERS[driver][0]), ours=ours)) for driver in wanted]

    def _batch(self, arena: Arena) -> None:
        until = self.next[arena.driver] + min(_BATCH, self.options.programs or _BATCH)
        while self.next[arena.driver] < until and not self.over():
            tally = search(arena, range(self.next[arena.driver], until))
            self.next[arena.driver] = tally.number + 1
            self.run[arena.driver] += tally.programs
            if tally.found is None or not self._is_one(arena, tally.number, tally.found):
                self.in_a_row += tally.programs
            else:
                self.in_a_row = 0

    def _is_one(self, arena: Arena, number: int, found: Difference) -> bool:
        """Whether a difference is one at every run; prints the first of its kind."""
        where = f"-- {arena.driver}, number {number}"
        if not arena.compare(found.program):
            print(f"{where}, but not when it was run again\n{found}\n", flush=True)
            return False
        kind = kind_of(found)
        self.kinds[kind] += 1
        if self.kinds[kind] == 1:
            print(f"{where}\n{smaller(arena, found)}\n", flush=True)
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    for name in ("sqlalchemy", "respool", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    return Runner(parse(arguments))()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended as well
    sys.exit(main())
