"""Takes notes of who asks one pool for connections, for whoever observes its databases."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from respool.engine.pools.lending import LendingPool, noted
from respool.observe.recording.account import Account, Lease, Use, now
from respool.pool.core.entries import PoolEntry
from respool.scope.scope import Scope
from respool.whereabouts import get_label, users_line

__all__ = ["OUTSIDE", "Meter", "Notes"]

#: What work is called that belongs to no scope.
OUTSIDE = "outside of any scope"

#: What takes fewer seconds than this is no wait: a connection was there.
_WAIT = 0.0001
#: Waits shorter than this many seconds are none that anybody wants to see.
_NOTABLE_WAIT = 0.001
#: How many places of one scope are kept where it asked for a second connection.
_NESTED = 5


class Notes(Protocol):
    """Where the accounts of one database go."""

    scope_here: Any  #: gives the scope in force here, or ``None``
    finished: deque[Account]
    trace: Callable[[], Any] | None  #: gives the trace that the present work belongs to, where somebody traces


class Meter:
    """That of one pool, which databases may share.

    Args:
        notes: of the database that is observed first.
    """

    def __init__(self, notes: Notes) -> None:
        self.recorders: tuple[Notes, ...] = (notes,)
        noted.append(ref(self, noted.remove))

    @staticmethod
    def add(pool: LendingPool, notes: Notes) -> None:
        """Have a pool's checkouts noted."""
        if not isinstance(pool.meter, Meter):
            pool.meter = Meter(notes)
        elif notes not in pool.meter.recorders:
            pool.meter.recorders += (notes,)

    @staticmethod
    def remove(pool: Any, notes: Notes) -> None:
        """Have them noted no more; with the last one the pool has no meter."""
        if isinstance(pool, LendingPool) and isinstance(pool.meter, Meter):
            others = tuple(each for each in pool.meter.recorders if each is not notes)
            if others:
                pool.meter.recorders = others
            else:
                pool.meter = None

    def asked(self) -> tuple[Account, float]:
        """A connection is asked for."""
        recorder = self.recorders[0]
        scope = recorder.scope_here()
        if scope is None and len(self.recorders) > 1:
            recorder, scope = self._of_another()
        account: Any = None if scope is None else scope.account
        if account is None:
            account = Account(scope, (get_label() or OUTSIDE) if scope is None else scope.label, recorder.finished)
            if recorder.trace is not None:
                account.context = recorder.trace()
            if scope is not None:
                scope.account = account
        if account.uses or (scope is not None and scope.parent is not None and _holds_around(scope)):
            self._nested(account)
        began = account.waiting_since = now()
        return account, began

    def _of_another(self) -> tuple[Notes, Any]:
        """The scope of a database that shares the pool, with its recorder; the first and ``None`` where there is none."""
        for recorder in self.recorders:
            if (scope := recorder.scope_here()) is not None:
                return recorder, scope
        return self.recorders[0], None

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


def _holds_around(scope: Scope | None) -> bool:
    """Whether a scope around this one holds a connection meanwhile."""
    while scope is not None and (scope := scope.parent) is not None:
        if isinstance(scope.account, Account) and scope.account.uses:
            return True
    return False
