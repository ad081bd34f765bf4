"""What a checkout, a record and a connector know of the pool that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy.pool import Pool, PoolProxiedConnection

__all__ = ["LendingPool", "Meter", "Use", "noted", "use_of"]


#: The meters that there are, weakly: where there is none, no statement looks for whom to tell.
noted: list[Any] = []


class Meter(Protocol):
    """Who takes notes of a pool's checkouts. It is called at each, so it does little, and never fails."""

    def asked(self) -> Any:
        """A connection is asked for here; returns what the other two are handed."""

    def took(self, asked: Any, entry: Any, *, alone: bool) -> Use:
        """It was had: this entry of the pool; for one read ``alone``, or for as long as it takes."""

    def gave_up(self, asked: Any) -> None:
        """It was not."""


class Use(Protocol):
    """What is noted of one use of a connection, from taking it to giving it back; the pool tells when it is over."""

    alone: bool  #: whether it is for one plain read, in autocommit: that is over with the use, unless it is said before
    is_executing: bool  #: whether a statement or a COMMIT is being executed now

    def begin(self, statement: str) -> None:
        """A statement is sent to the driver."""

    def end(self) -> None:
        """The driver has answered."""

    def undone(self) -> None:
        """It has not: the connection was dead, and the statement is sent once more on another one."""

    def commit(self, run: Callable[[], object], work: Any) -> None:
        """Execute a COMMIT; ``work.unknown`` tells afterwards whether one that failed may have come through."""


class LendingPool(Pool):
    """A pool that lends connections for one statement; ours does."""

    as_queue_pool: bool  #: whether it has a ``QueuePool``'s ways in all that somebody could tell
    has_server: bool  #: whether its connections lead to one, which may hang up
    lends_bare = False  #: whether a connection may be lent without a proxy
    meter: Meter | None = None  #: who takes notes of its checkouts, if somebody does

    def lease(self) -> PoolProxiedConnection | None:
        """One that is in autocommit; ``None`` if connections do not come as they would have to."""
        raise NotImplementedError

    @property
    def reset_needs_nothing(self) -> bool:
        """Whether a connection whose transaction has ended can be given back as it is."""
        raise NotImplementedError

    def is_disconnect(self, error: BaseException, checkout: Any) -> bool:
        """Whether the driver's error says that the connection is lost."""
        raise NotImplementedError

    def doubt(self) -> None:
        """Have the idle connections checked before they are handed out: one was found dead."""
        raise NotImplementedError

    def replace(self, checkout: Any, error: BaseException) -> None:
        """Give a checkout another connection, in place of one that died before anything was done on it."""
        raise NotImplementedError

    def mend(self, record: Any) -> None:
        """Take a connection back whose query was cancelled; only asyncio has such."""
        raise NotImplementedError


def use_of(checkout: Any) -> Use | None:
    """What is noted of this use of a connection, where somebody takes notes; ``None`` for a proxy that is not ours, too."""
    entry = getattr(checkout, "_entry", None)
    return None if entry is None else entry.use
