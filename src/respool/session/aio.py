"""The async face of the session. The only module that needs greenlet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar, cast

from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.util import await_only

from respool.session.changes import Changes
from respool.session.events import Observers
from respool.session.parallel import fork_block_async
from respool.session.phase import SessionPhase
from respool.session.places import caller
from respool.session.rule import Begin, BeginRule
from respool.session.scope import Scope
from respool.session.session import Session
from respool.session.tracking import ObjectState
from respool.session.unit_blocks import unit_block_async
from respool.session.units import UnitOptions

__all__ = ["AsyncSession"]

Fn = TypeVar("Fn", bound=Callable[[], Any])


class AsyncSession(sa_asyncio.AsyncSession):
    """SQLAlchemy's ``AsyncSession`` that belongs to one request or ``db.scope()`` block.

    All rules are those of :class:`~respool.Session`, which it holds as ``sync_session``.

    Args:
        bind: the async engine.
        scope: the scope that it belongs to; ``None`` for a session that is managed by hand.
        begin: as for :class:`~respool.Session`.
        observers: who is told of its life; those of the database.
        options: as for SQLAlchemy's ``AsyncSession``.
    """

    sync_session_class = Session

    def __init__(
        self,
        bind: sa_asyncio.AsyncEngine | sa_asyncio.AsyncConnection | None = None,
        *,
        scope: Scope | None = None,
        begin: Begin | BeginRule = "on_use",
        observers: Observers = Observers.NOBODY,
        **options: Any,
    ) -> None:
        super().__init__(bind, scope=scope, begin=begin, observers=observers, **options)
        self.rules.wait_for = _wait
        self.rules.asynchronous = True

    @property
    def rules(self) -> Session:
        """The session that has the rules."""
        return cast(Session, self.sync_session)

    @property
    def scope(self) -> Scope | None:
        """The scope that the session belongs to."""
        return self.rules.scope

    @property
    def phase(self) -> SessionPhase:
        """Where the session is in its life."""
        return self.rules.phase

    @property
    def holds_connection(self) -> bool:
        """Whether the session has a connection of the pool now."""
        return self.rules.holds_connection

    def read_only(self) -> AbstractContextManager[None]:
        """As :meth:`respool.Session.read_only`; a plain ``with``, since nothing is awaited."""
        return self.rules.read_only()

    def objects(self) -> Mapping[ObjectState, list[object]]:
        """The model objects that the session tracks, by state."""
        return self.rules.objects()

    def changes(self) -> Changes:
        """What a rollback would lose now: changes of objects, flushed or not, and statements, since the last commit."""
        return self.rules.changes()

    def unit(
        self,
        *,
        savepoint: bool = False,
        new: bool = False,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> AbstractAsyncContextManager[AsyncSession]:
        """A unit of work, as an ``async with`` block: as :meth:`respool.Session.unit`."""
        return unit_block_async(self, UnitOptions(savepoint, new, isolation, read_only), caller())

    def fork(self, label: str = "fork") -> AbstractAsyncContextManager[AsyncSession]:
        """A child session for a task beside this one, as an ``async with`` block: as :meth:`respool.Session.fork`."""
        return fork_block_async(self, label, caller())

    def on_commit(self, fn: Fn) -> Fn:
        """Call ``fn()`` once, after the outermost commit: as :meth:`respool.Session.on_commit`. What it returns is awaited."""
        return self.rules.on_commit(fn)

    def on_rollback(self, fn: Fn) -> Fn:
        """Call ``fn()`` once, after a rollback: as :meth:`respool.Session.on_rollback`. What it returns is awaited."""
        return self.rules.on_rollback(fn)


def _wait(awaitable: Awaitable[Any]) -> Any:
    # SQLAlchemy's greenlet hands it to the task that runs the session: an await like any other of that task.
    return await_only(awaitable)
