"""Sessions that hold a connection and may wait for a second one: so many of them that the pool can never run dry.

Whoever holds one connection and waits for another gives neither back. If such sessions hold all that a pool may have,
each waits for the others for ever. So the one that would take the last connection into that state is refused; as long as
one connection is with somebody who does not wait like this, that one comes back and everybody gets on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from respool.errors import SelfDeadlock
from respool.scope.contracts import Tenant

__all__ = ["Nesting"]


class Nesting:
    """The sessions of one database inside of which others are open.

    Args:
        advice: what there is to do where one has to be refused; else what suits a pool.
    """

    __slots__ = ("_advice", "_lock", "_outer")

    def __init__(self, advice: Sequence[str] = ()) -> None:
        self._advice = advice
        self._lock = threading.Lock()
        self._outer: list[Tenant] = []

    def enter(self, life: Tenant, limit: int | None, place: str) -> None:
        """From here on, until :meth:`leave`, others are used inside of this session.

        Args:
            life: that of the one around.
            limit: how many connections the pool may have; ``None`` for no limit.
            place: ``file:line`` of the block.

        Raises:
            SelfDeadlock: it would have to wait for itself.
        """
        with self._lock:
            self._require_one_left(life, limit, place)
            self._outer.append(life)

    def leave(self, life: Tenant) -> None:
        """One block less is open inside of it."""
        with self._lock, suppress(ValueError):  # in a forked child it is not there any more
            self._outer.remove(life)

    @contextmanager
    def within(self, life: Tenant | None, limit: int | None, place: str) -> Iterator[None]:
        """The same as a block; of a scope that has no session yet there is nothing to say."""
        if life is None:
            yield
            return
        self.enter(life, limit, place)
        try:
            yield
        finally:
            self.leave(life)

    def _require_one_left(self, life: Tenant, limit: int | None, place: str) -> None:
        if limit is None or not life.holds_connection:
            return
        holders = {id(each): each for each in (*self._outer, life) if each.holds_connection}
        if len(holders) < limit:
            return
        raise SelfDeadlock(
            f"{life.title} holds a connection and needs a second one, and the pool may have {limit}",
            now=[f"asked for at {place}", *(f"holds one: {each.title}" for each in holders.values())],
            advice=self._advice
            or [
                "commit, or roll back, before opening the inner session: then nothing is held",
                "use savepoint=True, which stays on the same connection",
                f"raise max_size above {limit}, the number of those that hold one while they need another",
            ],
            scope=life.title,
            max_size=limit,
        )
