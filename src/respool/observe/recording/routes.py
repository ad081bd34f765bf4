"""The figures of all requests of one route, added up; any number of requests in little memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from respool.observe.recording.account import NO_OUTCOMES, Account
from respool.pool.core.histogram import Histogram

__all__ = ["MOST_ROUTES", "OTHERS", "Route", "Routes"]

#: How many routes are told apart; the rest go under one name, so that a metric cannot have labels without end.
MOST_ROUTES = 200
OTHERS = "(others)"


class Route:
    """What was noted of one route, since the process began."""

    __slots__ = (
        "held", "idle", "leases", "outcomes", "requests", "seconds", "sql", "statements", "transaction_leases", "waited",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = 0
        self.statements = 0
        self.leases = 0  #: plain reads that had a connection for themselves, in autocommit
        self.transaction_leases = 0  #: ... and those that had it for a transaction of their own
        self.outcomes = Counter(NO_OUTCOMES)  #: of sessions' COMMITs
        self.seconds = Histogram()  #: from the beginning of a scope to its end
        self.waited = Histogram()  #: for connections
        self.held = Histogram()  #: a connection
        self.sql = Histogram()  #: in the database
        self.idle = Histogram()  #: holding a connection while nothing was executed

    def add(self, accounts: Sequence[Account], offset: float) -> None:
        """Some scopes more.

        Args:
            accounts: of scopes that are over.
            offset: how many seconds the clock of their ends is ahead of that of their beginnings.
        """
        # most scopes do nothing but read: what is 0.0 for these is counted, not looked at
        others = [each for each in accounts if each.executed or each.seconds_holding]
        reading = accounts if not others else [each for each in accounts if not (each.executed or each.seconds_holding)]
        reads = sum([each.reads for each in accounts])
        self.requests += len(accounts)
        self.statements += reads
        self.leases += reads
        self.seconds.add_all([
            seconds if (seconds := (each.ended_at or 0.0) - each.started - offset) > 0.0 else 0.0 for each in accounts
        ])  # fmt: skip
        waits = [each.seconds_waited for each in accounts if each.seconds_waited]
        self.waited.add_zeros(len(accounts) - len(waits))
        self.waited.add_all(waits)
        times = [each.seconds_reading for each in reading]
        self.held.add_all(times[:])
        self.sql.add_all(times)
        self.idle.add_zeros(len(reading))
        for each in others:
            self._add(each)

    def _add(self, account: Account) -> None:
        self.statements += account.executed
        self.transaction_leases += account.transaction_leases
        if account.outcomes is not NO_OUTCOMES:
            self.outcomes.update(account.outcomes)
        held, sql = account.seconds_held, account.seconds_in_sql
        self.held.add(held)
        self.sql.add(sql)
        self.idle.add(max(0.0, held - sql))


class Routes(dict[str, Route]):
    """The routes by name."""

    keeps_times = False  #: whether single values of how long a connection was held are kept, for whoever fetches them

    def keep_times(self, keeps: bool) -> None:
        """Keep them, or do so no more."""
        self.keeps_times = keeps
        for route in list(self.values()):
            route.held.keeps = keeps

    def of(self, name: str) -> Route:
        """That of a name; of those that are too many, the one for all."""
        route = self.get(name)
        if route is None:
            if len(self) >= MOST_ROUTES:
                name = OTHERS
            route = self.setdefault(name, Route())
            route.held.keeps = self.keeps_times
        return route
