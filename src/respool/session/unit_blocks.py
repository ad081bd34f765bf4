"""Units as blocks: what a ``with`` and an ``async with`` do to enter and leave what ``units.py`` decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from sqlalchemy.exc import DBAPIError

from respool.errors import PoolTimeout, ScopeEnded, UnitError
from respool.session.places import caller
from respool.session.units import Unit, UnitOptions, Units

if TYPE_CHECKING:
    from respool.session.aio import AsyncSession
    from respool.session.scope import Scope
    from respool.session.session import Session

__all__ = ["HasUnits", "unit_block", "unit_block_async"]

Face = TypeVar("Face", bound="AsyncSession")
Rules = TypeVar("Rules", bound="Session")


class HasUnits:
    """The part of a session that is about its units of work."""

    scope: Scope | None
    _units: Units | None = None  # most sessions never have any

    def unit(
        self,
        *,
        savepoint: bool = False,
        new: bool = False,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> AbstractContextManager[Self]:
        """A unit of work, as a block: all of it is saved, or nothing.

        Outermost, it commits at its end, with all that is uncommitted in the session, and rolls back if an exception
        comes out of it. Inside of another unit, or a ``session.begin()`` block, it joins that one, which decides for
        both: an exception that comes out of a joined unit dooms the one around, whose commit then raises
        ``RollbackOnly`` though somebody caught the exception.

        Args:
            savepoint: roll back this unit alone if an exception comes out of it; what is around may go on.
            new: a transaction of its own, in a scope, session and connection of its own. It is saved whatever becomes
                of what is around, and does not see what that has not committed.
            isolation: the transaction's isolation level, ``"SERIALIZABLE"``.
            read_only: the transaction must not write; PostgreSQL is told so as well.

        Yields:
            the session: this one, or the new one.

        Raises:
            UnitError: isolation or read_only are at odds with the transaction to be joined.
            SelfDeadlock: ``new=True``, and the pool cannot give a second connection.
            RollbackOnly: at the end: an exception came through a unit that had joined this one.
            ReadOnly: something was to be written in a unit that only reads.
        """
        session: Any = self
        return unit_block(session, UnitOptions(savepoint, new, isolation, read_only), caller())

    def enter_unit(self, options: UnitOptions, place: str) -> Unit:
        """Begin a unit that is not new; see :meth:`unit`."""
        if self._units is None:
            self._units = Units(self.scope)
        return self._units.enter(cast("Session", self), options, place)

    def leave_unit(self, unit: Unit, error: BaseException | None) -> None:
        """End a unit; ``error`` is what came out of it."""
        assert self._units is not None
        self._units.leave(cast("Session", self), unit, error)


@contextmanager
def unit_block(session: Rules, options: UnitOptions, place: str) -> Iterator[Rules]:
    """The block of a unit. See :meth:`HasUnits.unit`."""
    if options.new:
        scope = _scope_of(session)
        with _noting_locks(session), scope.owner.scope(_label(scope)) as inner, unit_block(inner, options.alone, place):
            yield inner
        return
    unit = session.enter_unit(options, place)
    try:
        yield session
    except BaseException as error:
        with suppress(ScopeEnded):  # that end has rolled it back
            session.leave_unit(unit, error)
        raise
    session.leave_unit(unit, None)


@asynccontextmanager
async def unit_block_async(face: Face, options: UnitOptions, place: str) -> AsyncIterator[Face]:
    """The same for asyncio."""
    session = face.rules
    if options.new:
        scope = _scope_of(session)
        with _noting_locks(session):
            async with scope.owner.scope(_label(scope)) as inner, unit_block_async(inner, options.alone, place):
                yield inner
        return
    unit = await face.run_sync(_enter, options, place)
    try:
        yield face
    except BaseException as error:
        with suppress(ScopeEnded):
            await face.run_sync(_leave, unit, error)
        raise
    await face.run_sync(_leave, unit, None)


def _enter(session: Any, options: UnitOptions, place: str) -> Unit:
    unit: Unit = session.enter_unit(options, place)
    return unit


def _leave(session: Any, unit: Unit, error: BaseException | None) -> None:
    session.leave_unit(unit, error)


def _scope_of(session: Session) -> Scope:
    if session.scope is None:
        raise UnitError(
            "unit(new=True) of a session without a scope",
            advice=["new=True opens a scope of the same database: use a session of db.scope() or of a request"],
        )
    return session.scope


def _label(scope: Scope) -> str:
    return f"{scope.label} > unit"


@contextmanager
def _noting_locks(outer: Session) -> Iterator[None]:
    """Say with an error of the inner unit what the outer one had locked meanwhile."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if outer.holds_connection and (lines := outer.changes().lines()):
            error.add_note(
                f"meanwhile {outer.title}, around this unit, had uncommitted changes and their locks: "
                f"{'; '.join(lines)}. If this unit waited for one of them, it waited for itself"
            )
        raise
