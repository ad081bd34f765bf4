"""The pool of the one connection: whoever comes while somebody has it waits for his turn, in a thread or in any loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from logging import DEBUG
from typing import Any, NoReturn
from weakref import ref

from sqlalchemy.pool import Pool, PoolProxiedConnection
from sqlalchemy.pool.base import PoolResetState, ResetStyle, _ConnectionRecord
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from respool.config import PoolConfig
from respool.engine.dialects.arrivals import Arrival
from respool.engine.pools.checkout import Checkout
from respool.engine.pools.connectors import RecordConnector
from respool.engine.pools.fair import FairPool
from respool.engine.pools.leases import EITHER
from respool.engine.pools.records import Records
from respool.engine.pools.timeouts import EnginePoolTimeout
from respool.engine.shared.monitor import SharedMonitor
from respool.engine.shared.proxies import SharedConnection
from respool.engine.shared.transaction import OuterTransaction
from respool.errors import PoolTimeout, SelfDeadlock
from respool.pool import PoolObserver
from respool.pool.core.entries import Claim, CloseReason, PoolEntry
from respool.pool.drivers.ledger import Ledger
from respool.whereabouts import Holder, caller

__all__ = ["SECOND_CONNECTION", "SharedPool"]

_CONFIG = PoolConfig(max_size=1, max_idle=None, max_lifetime=None, check_after=None, leak_after=None)

#: The checkout that was made in this context, or in one that this was copied from.
_mine: ContextVar[ref[SharedCheckout] | None] = ContextVar("respool_shared_checkout", default=None)

#: What to do about a second connection that is asked for while the first is held.
SECOND_CONNECTION = [
    "commit, or leave the db.scope() block, before calling the application: uncommitted rows are seen by nobody else",
    "in production there would be a second connection, which sees other things: a test that needs one needs a database"
    + " of its own, fresh_database(db), in place of rolled_back(db)",
]


class SharedCheckout(Checkout):
    """The connection in somebody's hands. Giving it back ends his transaction, and never the connection."""

    __slots__ = ()

    @property
    def outer(self) -> OuterTransaction:
        """The transaction around."""
        found: OuterTransaction = self._connection_record.dbapi_connection.outer
        return found

    def commit(self) -> None:
        """As the driver's."""
        self.dbapi_connection.commit()

    def rollback(self) -> None:
        """As the driver's."""
        self.dbapi_connection.rollback()

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """Give it back; whether it is really lost shows when its transaction is rolled back."""
        if soft or not self.is_valid or self._connection_record is None:
            return
        if e is None or isinstance(e, Exception):
            self._give_back()
        else:
            self._give_back_later()

    def detach(self) -> None:
        """Nothing: there is no other one."""

    def _checkin(self, transaction_was_reset: bool = False) -> None:
        record, pool = self._connection_record, self._pool
        if record is None or self.dbapi_connection is None:
            super()._checkin(transaction_was_reset)
            return
        try:
            self._reset(pool, transaction_was_reset, terminate_only=False, asyncio_safe=True)
        except Exception:
            pool.logger.exception("Exception during reset or similar")
        except BaseException:
            self._give_back_later()
            raise
        self._give_back()

    def _reset(self, pool: Any, transaction_was_reset: bool, terminate_only: bool, asyncio_safe: bool) -> None:
        if pool.dispatch.reset:
            state = PoolResetState(transaction_was_reset, terminate_only, asyncio_safe)
            pool.dispatch.reset(self.dbapi_connection, self._connection_record, state)
        if self.alone:
            self.outer.has_read()
        elif pool._reset_on_return is ResetStyle.reset_commit:
            self.outer.commit()
        else:
            self.outer.rollback()

    def _give_back(self) -> None:
        outer = self.outer
        try:
            if outer.lost is None:
                outer.rollback()
        except Exception as error:
            outer.lose(error)
        except BaseException:
            self._give_back_later()
            raise
        _return(self.let_go(), self._pool)

    def _give_back_later(self) -> None:
        """The same where nothing can be awaited: its caller was cancelled, or nobody has it any more."""
        outer, pool = self.outer, self._pool
        record = self.let_go()

        def roll_back_and_return() -> None:
            try:
                outer.rollback()
            except Exception as error:
                outer.lose(error)
            _return(record, pool)

        outer.home.later(roll_back_and_return)

    def __del__(self) -> None:
        record = self._connection_record
        if record is not None and record.fairy_ref is not None and record.fairy_ref() in (self, None):
            self._pool.logger.error(
                "The connection that a test shares was not given back; what was open is rolled back"
            )
            self._give_back_later()
        elif self._entry is not None or self._waiter is not None:
            self._monitor.abandon(self, CloseReason.BROKEN)


def _return(record: Any, pool: Any) -> None:
    if record.finalize_callback or pool.dispatch.checkin:
        record.fairy_ref = None
        record.checkin(_fairy_was_created=False)
    else:
        pool._do_return_conn(record)


class _SharedRecords(Records):
    """The one record, whose connection is there already, and stays when the record is closed."""

    _pool: SharedPool

    def connect(self) -> Any:
        record: Any = _ConnectionRecord(self._pool, connect=False)
        record.starttime = time.time()
        record.dbapi_connection = self._pool.connection
        record.respool_arrival = Arrival(lends=self._pool.lends, alone=True)
        record.respool_mode = EITHER
        record.respool_tells = record.respool_far = False
        return record

    def close(self, record: Any, reason: CloseReason) -> None:
        record.dbapi_connection = None


class SharedPool(FairPool):
    """See the head of the file.

    Args:
        original: the pool of the engine whose connection is shared; its listeners are heard here too.
    """

    connection: SharedConnection
    lends = False  #: whether plain reads are leased, as they are with the other pool
    patience = 5.0  #: seconds that somebody waits for his turn
    explain: Callable[[], Sequence[str]] = staticmethod(tuple)  #: what more there is to say of who has it

    lends_bare = False  # its proxy is what keeps the transaction around

    def __init__(self, original: Pool) -> None:
        Pool.__init__(self, _nobody, _dispatch=original.dispatch, reset_on_return=_style_of(original))
        self.config = _CONFIG
        self._longest_wait = self.patience
        self._size, self._use_lifo, self.as_queue_pool, self.has_server = 1, True, False, False
        self.pool_name = getattr(original, "pool_name", "default")
        self._observer = PoolObserver()

    def lend(self, connection: SharedConnection, original: Pool, *, lends: bool, patience: float, dialect: Any) -> None:
        """From now on, this is the connection.

        Args:
            connection: what is lent.
            original: the pool that it comes from.
            lends: whether plain reads are leased.
            patience: seconds that somebody waits for his turn.
            dialect: the engine's.
        """
        self._dialect = dialect
        self.dispatch._update(original.dispatch, only_propagate=False)  # some may listen since
        self.connection, self.lends, self._longest_wait = connection, lends, patience
        self._lent: ref[SharedCheckout] | None = None
        self._start()

    def _start(self) -> None:
        self._records = _SharedRecords(self)
        connector = RecordConnector(self, self._records)
        self.ledger = Ledger()
        self._monitor: SharedMonitor = SharedMonitor(
            connector, self.config, self.pool_name, self._observer, inline=True
        )
        connector.monitor = self._monitor
        self.ledger.add(self._monitor)

    # -- out ----------------------------------------------------------------------------------------------------------

    def connect(self) -> PoolProxiedConnection:
        """A connection in a caller's hands."""
        return self._taken(SharedCheckout(self, self.logger.isEnabledFor(DEBUG)))

    def lease(self) -> PoolProxiedConnection | None:
        """The connection for the length of one plain read; ``None`` if none is leased."""
        if not self.lends:
            return None
        checkout = SharedCheckout(self, self.logger.isEnabledFor(DEBUG))
        checkout.alone = True
        return self._taken(checkout)

    def _taken(self, checkout: SharedCheckout) -> PoolProxiedConnection:
        mine = self._lent = ref(checkout)
        _mine.set(mine)
        outer = self.connection.outer
        outer.autocommit = outer.always_autocommits
        return self._announced(checkout)

    def _do_get(self, claim: Any = None) -> Any:
        self.connection.outer.require()
        return super()._do_get(claim)

    def _acquire(self, monitor: Any, claim: Claim) -> PoolEntry:
        holder = monitor.holder()
        if holder is not None and monitor.is_mine(holder) and self._is_held_here():
            self._refuse(holder)
        try:
            if sys.modules.get("greenlet") and in_greenlet():  # where it is not installed, asking is an error
                entry: PoolEntry = await_only(monitor.acquire_async(claim, self._longest_wait))
            else:
                entry = monitor.acquire(claim, self._longest_wait)
        except PoolTimeout as error:
            raise EnginePoolTimeout(
                f"the one connection of the test was not free within {self._longest_wait:g} s",
                now=[*error.now, *self.explain()],
                advice=SECOND_CONNECTION,
                **error.facts,
            ) from None
        return entry

    def _is_held_here(self) -> bool:
        """Whether it was taken in this context: a thread may have handed its session on to somebody else."""
        mine = _mine.get()
        checkout = mine() if mine is not None and mine is self._lent else None
        return checkout is not None and checkout.is_valid  # else it is on its way back

    def _is_usable(self, record: Any) -> bool:
        return True  # if it is not, there is no other one

    def _refuse(self, holder: Any) -> NoReturn:
        who = Holder(*holder)
        raise SelfDeadlock(
            f"{who.name()} has the one connection of the test, and asks for a second one",
            now=[f"asked for at {caller()}", *(f"taken at {line}" for line in who.stack[:2]), *self.explain()],
            advice=SECOND_CONNECTION,
            scope=who.label or "",
            max_size=1,
        )

    # -- what stays as it is ------------------------------------------------------------------------------------------

    def recreate(self) -> SharedPool:
        """Itself."""
        return self

    def dispose(self) -> None:
        """Nothing: the connection is somebody else's."""

    def close(self, timeout: float = 10.0) -> None:
        """Nothing: the connection is somebody else's."""

    def warm_up(self, size: int | None = None, *, wait: float | None = None) -> None:
        """Nothing: the connection is there."""

    def _invalidate(self, connection: Any, exception: BaseException | None = None, _checkin: bool = True) -> None:
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)


def _style_of(pool: Pool) -> Any:
    return pool._reset_on_return


def _nobody() -> NoReturn:
    raise AssertionError("the connection is there already")
