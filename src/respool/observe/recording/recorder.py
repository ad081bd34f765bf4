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
from respool.observe.recording.account import Account, Lease, Use, now
from respool.observe.recording.routes import Route, Routes
from respool.pool.core.entries import PoolEntry
from respool.pool.core.histogram import HistogramValue
from respool.scope.scope import Scope
from respool.whereabouts import get_label, handler_name, users_line

__all__ = ["OUTSIDE", "UNKNOWN", "Recorder", "recorder_of", "recorders", "route_of"]

#: What work is called that belongs to no scope.
OUTSIDE = "outside of any scope"

#: The route of a request whose framework has told none.
UNKNOWN = "(no route)"

#: What takes fewer seconds than this is no wait: a connection was there.
_WAIT = 0.0001
#: Waits shorter than this many seconds are none that anybody wants to see.
_NOTABLE_WAIT = 0.001
#: How many places of one scope are kept where it asked for a second connection.
_NESTED = 5
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
        self._scope_here = database.scope_variable.get
        self._beside: tuple[Recorder, ...] = (self,)  #: those of databases that share its pool
        self._most, self._room, self._used = requests, room, 0
        self._finished: deque[Account] = deque(maxlen=_UNREAD)
        self._reading = threading.Lock()
        self._recent: deque[Account] = deque()
        self.routes = Routes()
        #: Gives the trace that the present work belongs to, where somebody traces.
        self.trace: Callable[[], Any] | None = None
        #: Are handed the scopes that are over, when they are added up.
        self.listeners: list[Callable[[list[Account]], object]] = []
        pool = database.pool
        if isinstance(pool, LendingPool):
            if isinstance(pool.meter, Recorder):
                pool.meter._beside += (self,)
            else:
                pool.meter = self
        _recorders[database] = self

    @property
    def database(self) -> DatabaseBase[Any] | None:
        """Whose; ``None`` when it is gone."""
        return self._database()

    def forget(self) -> None:
        """This is a forked child: what was noted is the parent's."""
        self._finished.clear()
        self._recent.clear()
        self._reading = threading.Lock()
        self._used = 0
        keeps, self.routes = self.routes.keeps_times, Routes()
        self.routes.keep_times(keeps)

    def close(self) -> None:
        """Take no more notes."""
        database = self.database
        if database is None:
            return
        _recorders.pop(database, None)
        pool = database.pool
        others = tuple(each for each in self._beside if each is not self)
        if isinstance(pool, LendingPool) and isinstance(pool.meter, Recorder):
            first = pool.meter
            others = tuple(each for each in first._beside if each is not self)
            pool.meter = others[0] if others else None
            for each in others:
                each._beside = others

    # -- a pool's meter -------------------------------------------------------------------------------------------

    def asked(self) -> tuple[Account, float]:
        """A connection is asked for."""
        for recorder in self._beside:
            scope = recorder._scope_here()
            if scope is not None:
                account: Any = scope.account
                if account is None:
                    account = scope.account = Account(scope, scope.label, recorder._finished)
                    if recorder.trace is not None:
                        account.context = recorder.trace()
                if account.uses or (scope.parent is not None and _holds_around(scope)):
                    self._nested(account)
                break
        else:
            account = Account(None, get_label() or OUTSIDE, self._finished)
            if self.trace is not None:
                account.context = self.trace()
        began = account.waiting_since = now()
        return account, began

    def _nested(self, account: Account) -> None:
        if len(account.nested) < _NESTED and (place := users_line()) is not None:
            account.nested = (*account.nested, place)

    def took(self, asked: tuple[Account, float], entry: PoolEntry, *, alone: bool) -> Use:
        """It was had. Where it is for one read, nobody looks up the line: it is back before anybody could ask."""
        account, began = asked
        use = entry.use = Lease(account, now()) if alone else Use(account, users_line())
        account.waiting_since = None
        waited = use.began - began
        if waited > _WAIT:
            account.seconds_waited += waited
        if waited > _NOTABLE_WAIT:
            account.note("wait", began, use.began, None, use.place or users_line())
        account.uses = (*account.uses, use) if account.uses else (use,)
        return use

    def gave_up(self, asked: tuple[Account, float]) -> None:
        """It was not."""
        account, began = asked
        ended = now()
        account.waiting_since = None
        account.seconds_waited += ended - began
        account.note("wait", began, ended, None, users_line())
        if not account.uses:
            account.ends(None)

    # -- what is over ---------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Add up what is over. To be called outside of a request's own time."""
        with self._reading:
            while batch := self._next():
                self._add(batch)

    def _next(self) -> list[Account]:
        """Some of those that are over, the first ones."""
        take = self._finished.popleft
        return [take() for _ in range(min(len(self._finished), _BATCH))]

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


def _holds_around(scope: Scope | None) -> bool:
    """Whether a scope around this one holds a connection meanwhile."""
    while scope is not None and (scope := scope.parent) is not None:
        if isinstance(scope.account, Account) and scope.account.uses:
            return True
    return False


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
