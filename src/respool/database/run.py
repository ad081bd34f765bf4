"""Running a function as a unit of work: joined to the one around, or in a scope of its own, and there once more if it lost.

What is repeated is repeated from nothing: each attempt has a scope, a session and a transaction of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from respool.database.retry import Attempts, Retry
from respool.errors import UnitError
from respool.session.life import life_of
from respool.session.routing import release_connection
from respool.session.units.block import unit_block, unit_block_async
from respool.session.units.units import UnitOptions
from respool.whereabouts import caller

if TYPE_CHECKING:
    from respool.scope.contracts import Owner
    from respool.scope.scope import Scope
    from respool.session.session import Session

__all__ = ["Work", "name_of", "perform", "perform_async"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """How a function is to be run.

    Attributes:
        label: what errors and pages call a scope of its own.
        options: of its unit.
        retry: how it is repeated.
        own: never in the session of the scope around.
    """

    label: str
    options: UnitOptions
    retry: Retry
    own: bool = False

    def joins(self, around: Scope | None) -> bool:
        """Whether it runs in the session of the scope around. There it cannot be repeated: others began the work."""
        if around is None or self.own or (self.options.new and self.retry.times):
            return False
        return self.retry.times == 0 or (
            around.session is not None and life_of(around.session).in_begin_block(around.session)
        )

    def to_release(self, around: Scope | None) -> Session | None:
        """The session around, if its connection is to be given back before the first attempt.

        Raises:
            UnitError: it has changes, which would be neither seen nor repeated.
        """
        session: Session | None = around.session if around is not None else None
        if session is None or self.own or self.options.new:
            return None
        life = life_of(session)
        changes = life.changes(session)
        if lines := [*changes.lines(), *changes.locks]:
            what = "uncommitted changes" if changes else "locks"
            raise UnitError(
                f"{self.label} is to be repeated if need be, and {life.title} has {what} before it",
                now=lines,
                advice=[
                    "commit them before; or do them inside, so that they are repeated with the rest",
                    "or give it a transaction of its own beside them: new=True",
                ],
                scope=life.title,
            )
        return session


def name_of(function: Callable[..., Any]) -> str:
    """What people call a function."""
    return getattr(function, "__qualname__", type(function).__qualname__)


def perform(database: Owner, function: Callable[[Any], T], work: Work) -> T:
    """Run a function as a unit of work.

    Args:
        database: whose session it gets.
        function: called with the session, once for each attempt.
        work: how.
    """
    around, place = database.scope_here(), caller()
    if work.joins(around):
        with unit_block(database.session, work.options, place) as session:
            return function(session)
    attempts = Attempts(work.retry, around)
    if (session_around := work.to_release(around)) is not None:
        release_connection(session_around)
    while True:
        scope = database.new_scope(work.label, place=place)
        with attempts.one(), database.block_of(scope) as session:
            attempts.scope = scope
            with unit_block(session, work.options.alone, place):
                return function(session)
        time.sleep(attempts.wait)


async def perform_async(database: Owner, function: Callable[[Any], Awaitable[T]], work: Work) -> T:
    """The same for asyncio."""
    around, place = database.scope_here(), caller()
    if work.joins(around):
        async with unit_block_async(database.session, work.options, place) as session:
            return await function(session)
    attempts = Attempts(work.retry, around)
    if around is not None and work.to_release(around) is not None:
        await around.face.run_sync(release_connection)
    while True:
        scope = database.new_scope(work.label, place=place)
        with attempts.one():
            async with database.block_of(scope) as session:
                attempts.scope = scope
                async with unit_block_async(session, work.options.alone, place):
                    return await function(session)
        await asyncio.sleep(attempts.wait)
