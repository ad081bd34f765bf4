"""A connection in a caller's hands: SQLAlchemy's proxy, lighter, and harder to break.

Lighter: it is given back by a finalizer of its own instead of a registered one, and when nothing needs doing on return,
nothing is done.  Harder to break: a cancelled query does not cost the connection where the driver can mend it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from weakref import ref

from sqlalchemy.pool import base

from respool.engine.dialects.arrivals import NOTHING, after_reset
from respool.engine.dialects.cancels import can_mend
from respool.engine.dialects.cursors import watched_cursor
from respool.engine.dialects.signs import driver_of, is_closed, transaction_note
from respool.engine.pools.leases import (
    ALONE,
    EITHER,
    NEVER_ALONE,
    TOGETHER,
    Loan,
    as_it_is,
    come_back,
    leave,
    mode_of,
)
from respool.engine.pools.lending import LendingPool
from respool.pool import CloseReason
from respool.pool.core.entries import ACQUIRED

__all__ = ["Checkout", "WatchedCheckout"]

ROLLBACK = base.ResetStyle.reset_rollback


def _finalize(record: Any, pool: Any, echo: Any) -> None:
    """Have SQLAlchemy take a connection back that nobody gave back."""
    with _returning(record, pool):
        if _SINCE_2_1:
            base._finalize_fairy(None, record, pool, echo, is_gc_cleanup=True)
        else:
            base._finalize_fairy(None, record, pool, _nobody, echo)  # type: ignore[arg-type]


def _look_again(record: Any, pool: Any, dbapi_connection: Any) -> None:
    """An isolation level was set back, or whatever else somebody wanted done in the end."""
    if record.respool_mode is not ALONE:  # in which it is by us
        record.respool_arrival = after_reset(record.respool_arrival, pool, dbapi_connection)
        record.respool_mode = mode_of(record.respool_arrival)


@contextmanager
def _returning(record: Any, pool: Any) -> Iterator[None]:
    """Give the place back also where a listener or a finalizer has failed: what that left of the connection nobody knows."""
    if record.finalize_callback:
        record.finalize_callback.appendleft(partial(_look_again, record, pool))  # the last one
    entry = record.respool_entry
    uses = entry.uses
    try:
        yield
    except BaseException as error:
        if entry.state is ACQUIRED and entry.uses == uses and record.fairy_ref is None:
            record.finalize_callback.clear()
            with suppress(Exception):  # of those who hear of this: the first error is the one that tells
                record.invalidate(e=error)
            if record.dbapi_connection is None:
                pool._do_return_conn(record)
            else:
                record.respool_monitor.give(entry, CloseReason.BROKEN)
        raise


_SINCE_2_1 = "is_gc_cleanup" in inspect.signature(base._finalize_fairy).parameters


class _NoFinalizer:
    """Stands where SQLAlchemy keeps its registered finalizer."""

    def detach(self) -> None: ...


def _nobody() -> None:
    """A dead weak reference, for a proxy that is being finalized."""


class Checkout(base._ConnectionFairy):
    """See the head of the file. Its public side is SQLAlchemy's ``PoolProxiedConnection``."""

    __slots__ = ()

    _finalizer = _NoFinalizer()  # type: ignore[assignment]
    _pool: Any  #: a ``LendingPool``
    _connection_record: Any  #: a ``Record`` of ours, or ``None``
    #: Whether a statement has been sent since the connection was taken.
    used = False
    #: Whether it was taken for one plain read, in autocommit.
    alone = False
    #: Whether the driver's connection was asked for, or found in a transaction that no statement of SQLAlchemy's began.
    touched = False
    #: How many cursors were made: one for each statement, and more where somebody has used the driver's own.
    cursors = 0
    #: Whether a COMMIT was the last that was done with it, after which there is nothing to roll back.
    committed = False
    #: Whether whoever sent that COMMIT does nothing after it.
    over = False
    #: Why the connection must not be used again, when it was lost while being rolled back.
    lost: BaseException | None = None

    # It is a ``Claim`` as well: empty at first, so that it is there before the pool does anything for it.
    _entry: Any = None
    _waiter: Any = None
    _who: Any = None
    _monitor: Any = None

    def __init__(self, pool: LendingPool, echo: Any, *, alone: bool = False) -> None:
        if alone:
            self.alone = True
        self.dbapi_connection = None  # type: ignore[assignment]
        self._pool = pool
        self._counter = 1
        self._echo = echo
        self._connection_record = None
        self.take()

    def take(self) -> None:
        """Take a connection from the pool, and become its proxy."""
        meter = self._pool.meter
        asked = None if meter is None else meter.asked()
        try:
            record: Any = self._pool._do_get(self)
            self._connection_record = record
            self.dbapi_connection = record.dbapi_connection
            record.fairy_ref = ref(self)
        except BaseException:
            if self._monitor is not None:
                self._monitor.abandon(self)
            if meter is not None:
                meter.gave_up(asked)
            raise
        if meter is not None:
            meter.took(asked, self._entry, alone=self.alone)

    @classmethod
    def of_loan(cls, loan: Loan) -> Checkout:
        """The proxy of a connection that was lent without one, for a read that has been sent."""
        checkout = cls.__new__(cls)
        record, pool = loan.record, loan.pool
        checkout._pool, checkout._echo, checkout._counter = pool, False, 1
        checkout._connection_record, checkout.dbapi_connection = record, record.dbapi_connection
        checkout._monitor, checkout._who, checkout._entry = loan._monitor, loan._who, loan._entry
        record.fairy_ref = ref(checkout)
        loan.let_go()
        checkout.alone = checkout.used = True
        return checkout

    def settle(self) -> None:
        """Bring the connection into the mode that it was taken for; a stale one is replaced meanwhile.

        Raises:
            Exception: the driver's error; the connection has been given back then.
        """
        pool, record = self._pool, self._connection_record
        wanted = ALONE if self.alone else TOGETHER
        if record.respool_mode in (wanted, EITHER, NEVER_ALONE):
            return
        try:
            if wanted is ALONE:
                before = record.respool_before = as_it_is(pool._dialect, self.dbapi_connection)
                leave(pool._dialect, self.dbapi_connection, before)
            else:
                come_back(pool._dialect, self.dbapi_connection, record.respool_before)
        except Exception as error:
            if self.is_fresh or not pool.is_disconnect(error, self):
                self.invalidate(error)
                raise
            pool.replace(self, error)
        except BaseException as error:
            self.invalidate(error)
            raise
        else:
            record.respool_mode = wanted

    @property
    def is_fresh(self) -> bool:
        """Whether the connection was opened for this checkout."""
        return bool(self._connection_record.respool_entry.uses == 1)

    def let_go(self, *, place: bool = True) -> Any:
        """Stop being its proxy, without a word to the pool; returns the record.

        Args:
            place: somebody else gives the place back; if not, this does so at its end, should nobody have come to it.
        """
        record = self._connection_record
        self._connection_record = None
        self.dbapi_connection = None  # type: ignore[assignment]
        if place:
            self._entry = None
        if record is not None:
            record.fairy_ref = None
        return record

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """As SQLAlchemy's; but after a cancellation the pool mends the connection if it can."""
        if not soft and self.is_valid and not self.is_detached and can_mend(self._pool._dialect, e):
            self._pool.mend(self.let_go())
        else:
            super().invalidate(e, soft)

    def detach(self) -> None:
        """As SQLAlchemy's: the connection is the caller's from now on."""
        if self._connection_record is not None:
            self._connection_record.respool_detached = True
        super().detach()

    def __getattr__(self, key: str) -> Any:
        if key in ("_connection_record", "dbapi_connection"):  # it was interrupted while it was made
            return None
        self.committed, self.touched = False, True  # whatever it is for
        return getattr(self.dbapi_connection, key)

    @property
    def driver_connection(self) -> Any:  # type: ignore[override]
        """The driver's own connection, for things that only it can do."""
        self.committed, self.touched = False, True
        return super().driver_connection

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        self.committed = False
        self.cursors += 1
        return self.dbapi_connection.cursor(*args, **kwargs)

    def commit(self) -> None:
        """As the driver's."""
        self.dbapi_connection.commit()
        self.committed, self.over = True, False

    def _is_committed(self) -> bool:
        """Whether nothing is open, since there was a COMMIT and nothing after it, also by the driver's own account."""
        if not self.committed or self._pool.as_queue_pool or transaction_note(self.dbapi_connection):
            return False
        return self.over or self._connection_record.respool_tells is True

    def rollback(self) -> None:
        """Roll back. On a connection that is lost the server has done it already: no reason to bother the caller."""
        try:
            self.dbapi_connection.rollback()
        except Exception as error:
            if self._pool.as_queue_pool or not self._pool.is_disconnect(error, self):
                raise
            self._pool.logger.info("Connection %r was lost before its rollback", self.dbapi_connection)
            self.lost = error

    def close(self) -> None:
        """Give the connection back, when it was taken as often as given."""
        self._counter -= 1
        if self._counter == 0:
            self._checkin()

    def _checkin(self, transaction_was_reset: bool = False) -> None:
        record, pool = self._connection_record, self._pool
        if self.lost is not None and record is not None:
            self._checkin_lost()
            return
        if record is None:
            super()._checkin(transaction_was_reset)
            return
        if self.dbapi_connection is None:
            with _returning(record, pool):
                super()._checkin(transaction_was_reset)
            return
        if (mine := record.fairy_ref) is None or mine() is not self:
            super()._checkin(transaction_was_reset)
            return
        if self._echo:
            pool.logger.debug("Connection %r being returned to pool", self.dbapi_connection)
        if not ((transaction_was_reset or self.alone or self._is_committed()) and pool.reset_needs_nothing):
            try:
                if pool._reset_on_return is ROLLBACK and not (
                    self._echo or transaction_was_reset or pool.dispatch.reset
                ):
                    pool._dialect.do_rollback(self)  # the common case of what _reset() does
                else:
                    self._reset(pool, transaction_was_reset, terminate_only=False, asyncio_safe=True)
            except BaseException as error:
                if can_mend(pool._dialect, error):
                    pool.mend(self.let_go())
                    raise
                pool.logger.exception("Exception during reset or similar")
                self.let_go(place=False)
                if not isinstance(error, Exception):
                    with _returning(record, pool):
                        record._checkin_failed(error, _fairy_was_created=False)
                    raise
                record.invalidate(e=error)
        elif self._echo:
            pool.logger.debug("Connection %s reset, transaction already reset", self.dbapi_connection)
        if self.lost is not None or (pool.has_server and self._is_lost()):
            self._checkin_lost()
            return
        self._connection_record = None
        self.dbapi_connection = None
        record.fairy_ref = None
        if record.finalize_callback or pool.dispatch.checkin or record.dbapi_connection is None:
            with _returning(record, pool):
                record.checkin(_fairy_was_created=False)
        else:  # the rest of what checkin() does
            pool._do_return_conn(record)
        self._entry = None

    def _is_lost(self) -> bool:
        """Whether the connection was lost while it was held, as far as the driver knows."""
        record = self._connection_record  # none after a reset that has failed
        if record is None or record.respool_arrival is NOTHING or self._pool.as_queue_pool:
            return False
        if is_closed(driver_of(self.dbapi_connection)):
            self.lost = ConnectionError("the connection was lost while it was held")
        return self.lost is not None

    def _checkin_lost(self) -> None:
        """Give the place back, and not the connection."""
        error: Any = self.lost
        record, pool = self.let_go(place=False), self._pool
        if not pool.as_queue_pool:
            pool.doubt()
        with _returning(record, pool):
            record._checkin_failed(error, _fairy_was_created=False)
        self._entry = None

    def __del__(self) -> None:
        try:
            try:
                record = self._connection_record
                if record is not None and record.fairy_ref is not None and record.fairy_ref() in (self, None):
                    record.fairy_ref = _nobody
                    _finalize(record, self._pool, self._echo)
            finally:
                if self._entry is not None or self._waiter is not None:  # an exception from outside came in between
                    self._monitor.abandon(self, CloseReason.BROKEN)
        except BaseException:  # and another one in here: Python tries only once
            if self._entry is not None or self._waiter is not None:
                self._monitor.abandon(self, CloseReason.BROKEN)
            raise


class WatchedCheckout(Checkout):
    """One that takes note whether more is done with its cursors than to execute statements through SQLAlchemy.

    A checkout becomes one for as long as it is of interest, and is an ordinary one again after that.
    """

    __slots__ = ()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's."""
        self.committed = False
        self.cursors += 1
        return watched_cursor(self, *args, **kwargs)

    def look(self, context: Any, statement: str) -> None:
        """A statement is about to be executed: as SQLAlchemy has made it, and after nothing that somebody else did?"""
        if statement != context.statement or (not self.used and transaction_note(self.dbapi_connection)):
            self.touched = True
