"""Takes notes of one database: who asks its pool for connections, what is executed on them, and which scopes are over.

In a request's own time it only writes down.  Adding up is done by whoever looks: the watcher's thread, a snapshot, a scrape.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from respool.database.base import DatabaseBase
from respool.engine.pools.lending import LendingPool
from respool.observe.recording.account import Account, now
from respool.observe.recording.meter import Meter
from respool.observe.recording.other_pools import other_pool
from respool.observe.recording.routes import Route, Routes
from respool.pool.core.histogram import HistogramValue
from respool.whereabouts import handler_name

__all__ = ["UNKNOWN", "Recorder", "recorder_of", "recorders", "route_of"]

#: The route of a request whose framework has told none.
UNKNOWN = "(no route)"

#: How many scopes may be over and not added up yet, where nobody reads, as between a fork and the child's first look.
_UNREAD = 1000
#: How many are added up at a time.
_BATCH = 200

_recorders: weakref.WeakKeyDictionary[DatabaseBase[Any], Recorder] = weakref.WeakKeyDictionary()


def recorder_of(database: DatabaseBase[Any]) -> Recorder | None:
    """Who takes notes of a database, if somebody does."""
    return _recorders.get(database)


def recorders() -> list[Recorder]:
    """All of this process."""
    return list(_recorders.values())


class Recorder:
    """See the head of the file.

    Args:
        database: whose.
        requests: how many scopes that are over are kept for people to look at.
        room: how many steps these may have together, each with a statement of some hundred characters at most.
    """

    def __init__(self, database: DatabaseBase[Any], requests: int = 200, room: int = 3000) -> None:
        self._database = weakref.ref(database)
        self.scope_here = database.scope_variable.get
        self._most, self._room, self._used = requests, room, 0
        self.finished: deque[Account] = deque(maxlen=_UNREAD)
        self._reading = threading.Lock()
        self._recent: deque[Account] = deque()
        self.routes = Routes()
        #: Gives the trace that the present work belongs to, where somebody traces.
        self.trace: Callable[[], Any] | None = None
        #: Are handed the scopes that are over, when they are added up.
        self.listeners: list[Callable[[list[Account]], object]] = []
        self._pools: weakref.WeakSet[Any] = weakref.WeakSet()  #: that it takes notes of
        self._follow(database)
        database.followers += (self._follow,)
        _recorders[database] = self

    @property
    def database(self) -> DatabaseBase[Any] | None:
        """Whose; ``None`` when it is gone."""
        return self._database()

    def forget(self) -> None:
        """This is a forked child: what was noted is the parent's."""
        self.finished.clear()
        self._recent.clear()
        self._reading = threading.Lock()
        self._used = 0
        keeps, self.routes = self.routes.keeps_times, Routes()
        self.routes.keep_times(keeps)

    def close(self) -> None:
        """Take no more notes."""
        database, pools = self.database, {*self._pools}
        if database is not None:
            _recorders.pop(database, None)
            database.followers = tuple(each for each in database.followers if each != self._follow)
            pools.add(database.pool)  # it may have been disposed of, and made anew
        for pool in pools:
            Meter.remove(pool, self)

    def _follow(self, database: DatabaseBase[Any]) -> None:
        """Take notes of the pools that it has now: an override puts another one in place of its own."""
        pools = {engine.pool for engine in database.engines_at_hand()}
        for pool in {*self._pools} - pools:
            Meter.remove(pool, self)
        for engine in database.engines_at_hand():
            if isinstance(engine.pool, LendingPool):
                Meter.add(engine.pool, self)
            else:
                other_pool(engine)  # what is opened from now on
        self._pools = weakref.WeakSet(pools)

    # -- what is over ---------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Add up what is over. To be called outside of a request's own time."""
        with self._reading:
            while batch := self._next():
                self._add(batch)

    def _next(self) -> list[Account]:
        """Some of those that are over, the first ones."""
        take = self.finished.popleft
        return [take() for _ in range(min(len(self.finished), _BATCH))]

    def _add(self, batch: list[Account]) -> None:
        by_route: dict[Any, list[Account]] = {}
        for account in batch:
            if account.handler is not None:
                account.route, account.handler = _name(account.handler), None
            key = (account.method, account.route) if account.is_request else account.title
            if key in by_route:
                by_route[key].append(account)
            else:
                by_route[key] = [account]
        offset = now() - time.monotonic()  # of the clock that scopes go by
        for accounts in by_route.values():
            self.routes.of(route_of(accounts[0])).add(accounts, offset)
        for listener in self.listeners:
            listener(batch)
        recent, used = self._recent, self._used
        for account in batch:
            if account.context is not None:
                account.context = None
            used += len(account.steps)
            recent.append(account)
        while len(recent) > self._most or (used > self._room and len(recent) > 1):
            used -= len(recent.popleft().steps)
        self._used = used

    def held(self, fetches: bool) -> dict[tuple[str, Route], tuple[HistogramValue, list[float]]]:
        """By route how long connections were held; and the single values since the last time, if these are fetched."""
        self.read()
        with self._reading:
            return {
                each: (each[1].held.value(), each[1].held.fetch() if fetches else []) for each in self.routes.items()
            }

    def recent(self) -> list[Account]:
        """The scopes that were over last and had used the database, the latest first."""
        self.read()
        return list(self._recent)[::-1]


def route_of(account: Account) -> str:
    """Under which name a scope's figures are added up: never a path, of which there are as many as there are numbers."""
    if not account.is_over:
        account.identify()
    if not account.is_request:
        return account.title
    return f"{account.method or ''} {account.route or UNKNOWN}".strip()


def _name(handler: Any) -> str:
    try:
        return _known_name(handler)
    except TypeError:  # it cannot be remembered
        return handler_name(handler)


_known_name = lru_cache(maxsize=1000)(handler_name)
