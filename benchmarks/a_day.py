"""A day of requests, noted by an observer with a fake clock: ``python -m benchmarks.a_day [REQUESTS]``.

Each request is of one of 1000 routes, more than are told apart, and executes up to 80 statements of 5000 from 500 lines;
some wait, fail, repeat a statement or ask for a second connection. A million of them, a day of the clock, is the default.

Prints what Python has allocated after each tenth, and fails if the last half of the day has added a tenth to it.
"""

from __future__ import annotations

import logging
import random
import sys
import tracemalloc
from collections import deque
from types import SimpleNamespace
from typing import Any

from respool import Database
from respool.observe import observe
from respool.observe.observation import EVERY
from respool.observe.recording import account as accounts
from respool.observe.recording import recorder as recorders
from respool.observe.recording.account import Account, Lease, Use
from respool.whereabouts import Place

DAY, REQUESTS, ROUTES, STATEMENTS, LINES = 86_400.0, 1_000_000, 1000, 5000, 500
#: So much more may be allocated at the end of the day than at noon.
LIMIT = 1.1


class Clock:
    """Seconds that go on when they are told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def lines() -> list[Place]:
    """Lines of so many functions."""
    names: dict[str, Any] = {"sys": sys, "Place": Place}
    for number in range(LINES):
        exec(compile(f"def f{number}(): return Place(sys._getframe(0))", f"views/{number}.py", "exec"), names)
    return [names[f"f{number}"]() for number in range(LINES)]


class Requests:
    """Makes what is noted of requests.

    Args:
        clock: by which they take time.
        finished: where those go that are over.
    """

    def __init__(self, clock: Clock, finished: deque[Account]) -> None:
        self._clock, self._finished = clock, finished
        self._chance = random.Random(1)
        self._statements = [
            f"SELECT * FROM t{number} WHERE id = ?" + " " * (number % 900) for number in range(STATEMENTS)
        ]
        self._lines = lines()

    def one(self, number: int) -> None:
        """One request, to its end."""
        chance, clock = self._chance, self._clock
        scope = SimpleNamespace(
            started=clock.time,
            is_request=True,
            method="GET",
            route=f"/{number % ROUTES}/{{id}}",
            client=None,
            handler=None,
            status=200,
        )
        account = Account(scope, f"GET /{number % ROUTES}/{number}", self._finished)
        if chance.random() < 0.1:
            clock.time += 0.002
            account.seconds_waited += 0.002
            account.note("wait", clock.time - 0.002, clock.time, None, chance.choice(self._lines))
        if chance.random() < 0.05:
            account.nested = (chance.choice(self._lines),)
        place = chance.choice(self._lines)
        accounts.users_line = lambda: place
        if chance.random() < 0.7:
            for _ in range(chance.choice((1, 1, 1, 2, 8))):
                self._read(account)
        else:
            self._write(account, place)
        account.over(scope)

    def _read(self, account: Account) -> None:
        lease = Lease(account, self._clock.time)
        account.uses = (lease,)
        lease.begin(self._chance.choice(self._statements))
        self._clock.time += 0.0003
        lease.over(0.0003)

    def _write(self, account: Account, place: Place) -> None:
        clock, chance = self._clock, self._chance
        use, began = Use(account, place), clock.time
        account.uses = (use,)
        statement = chance.choice(self._statements)
        for _ in range(chance.choice((1, 3, 80))):
            use.begin(statement if chance.random() < 0.5 else chance.choice(self._statements))
            clock.time += 0.0002
            use.end()
        use.commit(lambda: None, None)
        use.over(clock.time - began)


def day(requests: int) -> list[int]:
    """Bytes that are allocated after each tenth of the day."""
    clock = Clock()
    accounts.now = recorders.now = clock
    recorders.time = accounts.time = SimpleNamespace(monotonic=clock)
    db = Database("sqlite://", name="shop")
    observation = observe(db, socket=False)
    logging.getLogger("respool.observe").setLevel(logging.ERROR)  # there are thousands of findings
    (recorder,) = observation.recorders
    observation.remove(db)
    recorder.routes.keep_times(True)
    made = Requests(clock, recorder.finished)
    a_request, sizes, looked = DAY / requests, [], 0.0
    tracemalloc.start()
    for number in range(requests):
        at = clock.time
        made.one(number)
        clock.time = max(clock.time, at + a_request)
        if clock.time - looked >= EVERY:
            looked = clock.time
            recorder.read()
        if not number % 1000:
            recorder.held(fetches=True)  # as an exporter does, each second
        if (number + 1) % (requests // 10) == 0:
            recorder.read()
            sizes.append(tracemalloc.get_traced_memory()[0])
            print(f"{clock.time / 3600:5.1f} h {sizes[-1] / 1e6:8.3f} MB", flush=True)
    print(
        f"{sum(route.requests for route in recorder.routes.values()):,} requests, {len(recorder.routes)} routes,"
        f" {len(observation.board.all())} findings, {len(recorder.recent())} requests kept"
    )
    return sizes


def main() -> int:
    sizes = day(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)
    grown = sizes[-1] / sizes[4]
    print(f"at the end {grown:.3f} × as much as at noon, at most {LIMIT}: {'met' if grown <= LIMIT else 'not met'}")
    return 0 if grown <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
