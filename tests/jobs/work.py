"""What jobs do, once for sync and once for async; a library's function only calls it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from tests.session.shop import Order, Product

__all__ = ["AsyncWork", "SyncWork", "Work"]


class Work:
    """What is common: the databases, and what was seen.

    Args:
        db, other: the databases.
    """

    def __init__(self, db: Any, other: Any) -> None:
        self.db = db
        self.other = other
        self.again: Callable[[], Exception] = lambda: LookupError("on purpose")  #: what makes the library try again
        self.sessions: list[Any] = []  #: of jobs that have begun
        self.scopes: list[Any] = []  #: theirs
        self.met = 0  #: jobs that have met another one
        self.meeting = threading.Barrier(2, timeout=60)

    def begun(self) -> Any:
        """A job begins: its session."""
        session = self.db.session
        self.sessions.append(session)
        self.scopes.append(session.scope)
        return session

    def order(self, number: int) -> None:
        self.begun().add(Order(product_id=number))

    def both(self, number: int) -> None:
        self.begun().add(Order(product_id=1))
        self.other.session.add(Order(product_id=1) if number == 1 else Product(id=1, name="there already"))

    def fails_first(self, number: int) -> None:
        """Fail at the first run, when everything is done."""
        self.order(number)
        if len(self.sessions) == 1:
            raise self.again()

    def commit_fails_first(self, number: int) -> None:
        """Be refused at the first COMMIT."""
        self.order(999 if not self.sessions else number)


class SyncWork(Work):
    def do(self, what: str, number: int) -> None:
        """Do what the job says."""
        getattr(self, what)(number)

    def broken(self, number: int) -> None:
        self.order(number)
        self.db.session.flush()
        raise LookupError("on purpose")

    def explicit(self, number: int) -> None:
        self.order(number)
        self.db.session.commit()
        self.broken(number)

    def meet(self, number: int) -> None:
        """Have a change that nobody else must see, while another job has its own."""
        session, order = self.begun(), Order(product_id=1, note=str(number))
        session.add(order)
        self.meeting.wait()
        assert list(session.new) == [order]
        self.met += 1
        self.meeting.wait()


class AsyncWork(Work):
    async def do(self, what: str, number: int) -> None:
        """Do what the job says."""
        done = getattr(self, what)(number)
        if done is not None:
            await done

    async def broken(self, number: int) -> None:
        self.order(number)
        await self.db.session.flush()
        raise LookupError("on purpose")

    async def explicit(self, number: int) -> None:
        self.order(number)
        await self.db.session.commit()
        await self.broken(number)

    async def meet(self, number: int) -> None:
        """As the sync one. The other job may have an event loop of its own."""
        session, order = self.begun(), Order(product_id=1, note=str(number))
        session.add(order)
        await asyncio.to_thread(self.meeting.wait)
        assert list(session.new) == [order]
        self.met += 1
        await asyncio.to_thread(self.meeting.wait)
