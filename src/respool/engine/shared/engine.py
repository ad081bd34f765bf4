"""An engine whose one connection is another engine's, in a transaction that somebody else ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine

from respool.engine.dialects.arrivals import Arrival, arrival_of
from respool.engine.pools.lending import LendingPool
from respool.engine.shared.dialect import shared_dialect
from respool.engine.shared.home import Home
from respool.engine.shared.pool import SharedPool
from respool.engine.shared.proxies import SharedConnection
from respool.engine.shared.transaction import OuterTransaction

__all__ = ["SharedEngine", "Sharing"]

#: Where an engine keeps the one that shares its connections: what is compiled and known of a database stays for all tests.
_SHARED = "_respool_shared_engine"


class SharedEngine(Engine):
    """Like another engine, with its options and listeners, but for the pool.

    Args:
        original: the other one; it has connected.
    """

    pool: SharedPool
    in_use = False  #: whether a connection is shared by it now

    def __init__(self, original: Engine) -> None:
        self.original = original
        super().__init__(
            SharedPool(original.pool),
            shared_dialect(original.dialect),
            original.url,
            logging_name=getattr(original, "logging_name", None),
            echo=original.echo,
            hide_parameters=original.hide_parameters,
        )
        self._execution_options = original._execution_options
        self.dispatch = self.dispatch._join(original.dispatch)
        self._respool_watched = True  # as the other one is

    @property
    def _has_events(self) -> bool:
        return self.original._has_events or bool(vars(self).get("_has_events"))

    @_has_events.setter
    def _has_events(self, value: bool) -> None:
        vars(self)["_has_events"] = value


class Sharing:
    """A connection that is shared for the length of a block.

    Args:
        connection: SQLAlchemy's, which somebody else closes; where its transaction has begun he ends that, too.
        home: where it works.
        patience: seconds that somebody waits for his turn.
        explain: tells more of who has it, a line each.
    """

    def __init__(
        self,
        connection: Connection,
        home: Home,
        *,
        patience: float = 5.0,
        explain: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._connection = connection
        self._home = home
        self._patience = patience
        self._explain = explain
        self._outer: OuterTransaction | None = None
        self._engine: SharedEngine | None = None
        self._begun_here = False

    def start(self) -> SharedEngine:
        """Begin, and get the engine by which the connection is used."""
        connection = self._connection
        engine, pool = self._shared_engine(), connection.engine.pool
        dbapi_connection: Any = self._home.run(lambda: connection.connection).dbapi_connection
        if isinstance(dbapi_connection, SharedConnection):
            self._home = Home()  # it knows where it works
        lends = self._home.run(self._lends, pool)
        if not connection.in_transaction():
            self._home.run(connection.begin)
            self._begun_here = True
        outer = OuterTransaction(engine.dialect, dbapi_connection, self._home)
        try:
            outer.start()
        except BaseException:
            self.end()
            raise
        self._outer, self._engine = outer, engine
        engine.in_use = True
        engine.pool.explain = self._explain
        engine.pool.lend(SharedConnection(outer), pool, lends=lends, patience=self._patience, dialect=engine.dialect)
        return engine

    def end(self) -> None:
        """Take back all that was done on it since.

        Raises:
            SharedConnectionLost: that is no more possible.
        """
        try:
            if self._outer is not None:
                self._outer.end()
        finally:
            if self._engine is not None:
                self._engine.in_use = False
            if self._begun_here:
                self._begun_here = False
                self._home.run(self._connection.rollback)

    def _lends(self, pool: Any) -> bool:
        """Whether plain reads are leased with the pool that the connection comes from."""
        checkout: Any = self._connection.connection
        if isinstance(pool, LendingPool):
            arrival: Arrival = checkout._connection_record.respool_arrival
            return arrival.lends
        return not self._connection.in_transaction() and arrival_of(pool, checkout.dbapi_connection).lends

    def _shared_engine(self) -> SharedEngine:
        original: Any = self._connection.engine
        found: SharedEngine | None = getattr(original, _SHARED, None)
        if found is None or found.in_use:
            found = SharedEngine(original)
            setattr(original, _SHARED, found)
        return found
