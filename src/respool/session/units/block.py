"""Units as blocks: what a ``with`` and an ``async with`` do to enter and leave what ``units.py`` decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError

from respool.errors import PoolTimeout, ScopeEnded, UnitError
from respool.session.life import life_of
from respool.session.operations import guarded
from respool.session.signposts import async_block, block
from respool.session.units.units import Unit, UnitOptions, Units
from respool.whereabouts import caller

if TYPE_CHECKING:
    from sqlalchemy.ext import asyncio as sa_asyncio

    from respool.scope.scope import Scope

__all__ = ["enter_unit", "leave_unit", "unit_block", "unit_block_async"]

Face = TypeVar("Face", bound="sa_asyncio.AsyncSession")
Rules = TypeVar("Rules", bound=orm.Session)


@guarded
def enter_unit(session: Any, options: UnitOptions, place: str) -> Unit:
    """Begin a unit that is not new."""
    life = life_of(session)
    if life.units is None:
        life.units = Units(life.scope)
    units: Units = life.units
    return units.enter(session, options, place)


@guarded
def leave_unit(session: Any, unit: Unit, error: BaseException | None) -> None:
    """End a unit; ``error`` is what came out of it."""
    units = life_of(session).units
    assert units is not None
    units.leave(session, unit, error)


@block
def unit_block(session: Rules, options: UnitOptions, place: str) -> Iterator[Rules]:
    """The block of a unit. See :meth:`respool.Session.unit`."""
    if options.new:
        scope = _scope_of(session)
        with _noting_locks(session), _new(scope) as inner, unit_block(inner, options.alone, place):
            yield inner
        return
    unit = enter_unit(session, options, place)
    try:
        yield session
    except BaseException as error:
        with suppress(ScopeEnded):  # that end has rolled it back
            leave_unit(session, unit, error)
        raise
    leave_unit(session, unit, None)


@async_block
async def unit_block_async(face: Face, options: UnitOptions, place: str) -> AsyncIterator[Face]:
    """The same for asyncio."""
    session: Any = face.sync_session
    if options.new:
        scope = _scope_of(session)
        with _noting_locks(session):
            async with _new(scope) as inner, unit_block_async(inner, options.alone, place):
                yield inner
        return
    unit = await face.run_sync(enter_unit, options, place)
    try:
        yield face
    except BaseException as error:
        with suppress(ScopeEnded):
            await face.run_sync(leave_unit, unit, error)
        raise
    await face.run_sync(leave_unit, unit, None)


def _scope_of(session: orm.Session) -> Scope:
    scope = life_of(session).scope
    if scope is None:
        raise UnitError(
            "unit(new=True) of a session without a scope",
            advice=["new=True opens a scope of the same database: use a session of db.scope() or of a request"],
        )
    return scope


def _new(around: Scope) -> Any:
    """The block of a scope of its own, within another one."""
    return around.owner.block_of(around.owner.new_scope(f"{around.label} > unit", place=caller()))


@contextmanager
def _noting_locks(outer: orm.Session) -> Iterator[None]:
    """Say with an error of the inner unit what the outer one had locked meanwhile."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        life = life_of(outer)
        if life.holds_connection and (lines := life.changes(outer).lines()):
            error.add_note(
                f"meanwhile {life.title}, around this unit, had uncommitted changes and their locks: "
                f"{'; '.join(lines)}. If this unit waited for one of them, it waited for itself"
            )
        raise
