"""``with db.override(…)``: entered and left in any order, by any thread; what is in force is what was entered last."""

from __future__ import annotations

import threading
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from sqlalchemy.util import greenlet_spawn

from respool.database.override.engines import InPlace, engine_for
from respool.database.override.exchange import InUse
from respool.engine import FairPool
from respool.engine.shared.pool import SECOND_CONNECTION
from respool.errors import ConfigError
from respool.scope.nesting import Nesting

__all__ = ["AsyncOverride", "Override"]

D = TypeVar("D")

#: Seconds that connections which are still in use have before the override's pool is closed.
_CLOSING_SECONDS = 10.0
#: Held while a database's engine is exchanged.
_changing = threading.Lock()


class _Exchange(Generic[D]):
    """One block that has not been left.

    Args:
        database: whose engine is exchanged.
        target: a URL, an engine or a connection.
    """

    def __init__(self, database: D, target: Any) -> None:
        self._database: Any = database
        self._target = target
        self._place: InPlace | None = None
        self.below: Any = None  #: what the database had before, and has again afterwards

    def _put(self) -> None:
        database = self._database
        if self._place is not None:
            raise ConfigError(
                f"an override of database {database.name!r} was entered twice",
                advice=["make one for each block: with db.override(url): …"],
                setting="override",
            )
        if database.closed:
            database.reopen()
        self._place = place = engine_for(database, self._target)
        nesting = Nesting(SECOND_CONNECTION if place.shares else ())
        with _changing:
            self.below = database.in_use()
            database.use(InUse(database.face_of(place.engine), place.given, nesting))
            database.overrides += (self,)
            self._tell()

    def _take_away(self) -> InPlace:
        place, self._place = self._place, None
        assert place is not None
        with _changing:
            database = self._database
            at = database.overrides.index(self)
            later = database.overrides[at + 1 :]
            database.overrides = (*database.overrides[:at], *later)
            if later:  # entered since, and goes on
                later[0].below = self.below
            else:
                if database.closed:  # with the application that was tested
                    database.reopen()
                database.use(self.below)
            self._tell()
        return place

    def _tell(self) -> None:
        for follower in self._database.followers:
            follower(self._database)

    @staticmethod
    def _end(place: InPlace) -> None:
        place.end()
        if not place.given:
            pool: Any = place.engine.pool
            if isinstance(pool, FairPool) and not place.engine.dialect.is_async:
                pool.close(_CLOSING_SECONDS)
            else:
                place.engine.dispose()


class Override(_Exchange[D], AbstractContextManager[D]):
    """Another engine in the place of a database's own, for the length of a block. See :meth:`Database.override`."""

    def __enter__(self) -> D:
        self._put()
        database: D = self._database
        return database

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(self._take_away())


class AsyncOverride(Override[D], AbstractAsyncContextManager[D]):
    """The same for an :class:`~respool.AsyncDatabase`, by ``async with`` or ``with``."""

    async def __aenter__(self) -> D:
        await greenlet_spawn(self._put)
        database: D = self._database
        return database

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await greenlet_spawn(self._end, self._take_away())

    def __enter__(self) -> D:
        if hasattr(self._target, "sync_connection"):
            raise ConfigError(
                f"with db.override(connection) on the AsyncDatabase {self._database.name!r}",
                advice=["it has to be awaited: async with db.override(connection)"],
                setting="override",
            )
        return super().__enter__()
