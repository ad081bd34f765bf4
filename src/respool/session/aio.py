"""The async face of the session. The only module that needs greenlet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import greenlet_spawn

from respool.errors import ConfigError
from respool.scope.scope import Scope
from respool.scope.session_phase import SessionPhase
from respool.session.changes.log import Changes
from respool.session.changes.states import ObjectState
from respool.session.classes import (
    SessionClass,
    check_class,
    check_constructor,
    check_names,
    check_options,
    has_own_constructor,
    mixed,
    own_of,
)
from respool.session.life import Life, Own, begin_life, life_of
from respool.session.loading.awaited import planned_execute, planned_get
from respool.session.loading.templates import template_of
from respool.session.reads.begin import Begin, BeginRule
from respool.session.session import Session, eligibility, is_reset_by_close, scope_to_fork
from respool.session.signposts import async_block
from respool.session.transaction.observers import Observers
from respool.session.units.block import unit_block_async
from respool.session.units.units import UnitOptions
from respool.whereabouts import caller

__all__ = ["AsyncSession", "AsyncSessionClass"]

F = TypeVar("F", bound="AsyncSession")
Fn = TypeVar("Fn", bound=Callable[[], Any])


class AsyncSession(sa_asyncio.AsyncSession):
    """SQLAlchemy's ``AsyncSession`` that belongs to one request or ``db.scope()`` block.

    All rules are those of :class:`~respool.Session`, which it holds as ``sync_session``.

    Args:
        bind: the async engine.
        scope: the scope that it belongs to; ``None`` for a session that is managed by hand.
        begin: as for :class:`~respool.Session`.
        observers: who is told of its life; those of the database.
        sync_session_class: the class of the sync session inside; ours is mixed into it.
        options: as for SQLAlchemy's ``AsyncSession``.
    """

    if not TYPE_CHECKING:  # its type stays SQLAlchemy's: the class is another one in a subclass that is SQLModel's too
        sync_session_class = Session

    def __init__(
        self,
        bind: sa_asyncio.AsyncEngine | sa_asyncio.AsyncConnection | None = None,
        *,
        scope: Scope | None = None,
        begin: Begin | BeginRule = "on_use",
        observers: Observers = Observers.NOBODY,
        sync_session_class: type[orm.Session] | None = None,
        **options: Any,
    ) -> None:
        inner: Any = vars(self).get("sync_session_class")  # a database has prepared it
        if inner is None:
            inner = _Inner(mixed(self.sync_session_class, Session), scope, begin, observers)
        if sync_session_class is not None:
            check_class(sync_session_class, Session, "sync_session_class")
            inner.made = mixed(sync_session_class, Session)
        self.sync_session_class = inner
        super().__init__(bind, **options)
        self.sync_session_class = inner.made

    @property
    def scope(self) -> Scope | None:
        """The scope that the session belongs to."""
        return life_of(self.sync_session).scope

    @property
    def phase(self) -> SessionPhase:
        """Where the session is in its life."""
        return life_of(self.sync_session).phase

    @property
    def holds_connection(self) -> bool:
        """Whether the session has a connection of the pool now."""
        return life_of(self.sync_session).holds_connection

    def read_only(self) -> AbstractContextManager[None]:
        """As :meth:`respool.Session.read_only`; a plain ``with``, since nothing is awaited."""
        return Session.read_only(_rules_of(self))

    def objects(self) -> Mapping[ObjectState, list[object]]:
        """The model objects that the session tracks, by state."""
        return life_of(self.sync_session).objects(self.sync_session)

    def changes(self) -> Changes:
        """What a rollback would lose now: changes of objects, flushed or not, and statements, since the last commit."""
        return life_of(self.sync_session).changes(self.sync_session)

    def unit(
        self,
        *,
        savepoint: bool = False,
        new: bool = False,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> AbstractAsyncContextManager[Self]:
        """A unit of work, as an ``async with`` block: as :meth:`respool.Session.unit`."""
        return unit_block_async(self, UnitOptions(savepoint, new, isolation, read_only), caller())

    def fork(self, label: str = "fork") -> AbstractAsyncContextManager[Self]:
        """A child session for a task beside this one, as an ``async with`` block: as :meth:`respool.Session.fork`."""
        return _fork(self, label, caller())

    async def remove(self) -> None:
        """The same as ``close()``: as :meth:`respool.Session.remove`."""
        if type(self).close is sa_asyncio.AsyncSession.close:
            await greenlet_spawn(Session.remove, _rules_of(self))
        else:  # it has one of its own
            await (self.close() if is_reset_by_close(self.sync_session) else self.reset())

    def on_commit(self, fn: Fn) -> Fn:
        """Call ``fn()`` once, after the outermost commit: as :meth:`respool.Session.on_commit`. What it returns is awaited."""
        return Session.on_commit(_rules_of(self), fn)

    def on_rollback(self, fn: Fn) -> Fn:
        """Call ``fn()`` once, after a rollback: as :meth:`respool.Session.on_rollback`. What it returns is awaited."""
        return Session.on_rollback(_rules_of(self), fn)


AsyncSession.get = planned_get(AsyncSession.get, eligibility, Session.get)  # type: ignore[method-assign]
for _name in ("execute", "scalar"):
    _slow = getattr(AsyncSession, _name)
    setattr(AsyncSession, _name, planned_execute(_slow, eligibility, scalar=_name == "scalar"))


@async_block
async def _fork(face: F, label: str, place: str) -> AsyncIterator[F]:
    scope = scope_to_fork(face.sync_session)
    async with scope.owner.block_of(scope.fork(label, place)) as child:
        yield child


def _rules_of(face: sa_asyncio.AsyncSession) -> Session:
    return cast(Session, face.sync_session)


class _Inner:
    """Makes the sync session inside of an async one, as a class would: prepared before its own constructor runs."""

    __slots__ = ("begin", "made", "observers", "own", "scope", "session")

    def __init__(
        self,
        made: Any,
        scope: Scope | None,
        begin: Begin | BeginRule,
        observers: Observers,
        own: Own | None = None,
    ) -> None:
        self.made = made
        self.own = own
        self.scope = scope
        self.begin = begin
        self.observers = observers
        self.session: Any = None  #: what it has made

    def __call__(self, **options: Any) -> Any:
        session = self.session = self.made.__new__(self.made)
        life = begin_life(session, self.scope, self.begin, self.observers, self.own)
        life.asynchronous = True
        life.wait_for = _wait
        session.__init__(**options)
        return session


class AsyncSessionClass(SessionClass):
    """The same for async sessions, whose rules are in a sync one inside.

    Args:
        given: the class that was asked for; ``None`` for ours.
        options: the options that were asked for, ``sync_session_class`` among them.

    Raises:
        ConfigError: the class is none, or the options are not its.
    """

    __slots__ = ("_rules_template", "inner")

    ours: ClassVar[type[Any]] = AsyncSession

    def __init__(self, given: Any, options: Mapping[str, Any] | None) -> None:
        self.given = AsyncSession if given is None else given
        check_class(self.given, AsyncSession, "session_class")
        self.made = mixed(self.given, AsyncSession)
        self.options = check_options(options)
        inner = self.options.pop("sync_session_class", None) or self.given.sync_session_class
        check_class(inner, Session, "sync_session_class")
        self.inner: Any = mixed(inner, Session)  #: the class of the sync session
        check_names(self.options, self.made, self.inner)
        check_constructor(self.made, self.options)
        if not has_own_constructor(self.made):  # else it decides what the sync one gets
            check_constructor(self.inner, {"binds": None, **self.options})
        self._settle()

    @property
    def rules(self) -> Any:
        """The class of the sync session inside."""
        return self.inner

    def _settle(self) -> None:
        super()._settle()
        self.runs = self.runs or has_own_constructor(self.inner)
        self._rules_template: Any = None  #: that of the sync session inside
        commits = self.made.commit is not sa_asyncio.AsyncSession.commit
        closes = self.made.close is not sa_asyncio.AsyncSession.close
        inner = own_of(self.inner)
        if commits or closes:
            self.own = Own(_commit if commits else None, _close if closes else inner and inner.close)
        else:
            self.own = inner

    def make(
        self, bind: Any, scope: Scope, begin: BeginRule, observers: Observers, twophase: bool
    ) -> tuple[Session, Any]:
        if self._template and self._template.bind is bind:  # nearly always, and quicker
            life = Life(scope, begin, observers)
            if self.own is not None:
                life.own = self.own
            life.asynchronous, life.wait_for = True, _wait
            session = self._rules_template.make(life)
            return session, self._template.around(session)
        return super().make(bind, scope, begin, observers, twophase)

    def _make(
        self, bind: Any, scope: Scope, begin: BeginRule, observers: Observers, twophase: bool
    ) -> tuple[Session, Any]:
        face = self._blank(bind)
        inner = face.sync_session_class = _Inner(self.inner, scope, begin, observers, self.own)
        try:
            face.__init__(bind=bind, **self.options)
        except BaseException:
            if inner.session is not None:
                life_of(inner.session).drop(inner.session)
            raise
        rules = face.sync_session
        if not isinstance(rules, Session):
            raise ConfigError(
                f"the constructor of {self.given.__qualname__} made a sync session of its own kind",
                now=[f"a {type(rules).__qualname__}, which knows no scope"],
                advice=["hand its class on: super().__init__(bind, sync_session_class=…, **options)"],
                setting="session_class",
            )
        face.sync_session_class = type(rules)
        rules.twophase = rules.twophase or twophase
        if rules.bind is None:  # his constructor did not hand it on
            face.bind, rules.bind = bind, bind.sync_engine
        if self._template is None:
            self._template = self._rules_template = False
            if not self.runs and self._plainly_made and _is_plainly_made(type(rules)):
                self._rules_template = template_of(rules, rules.bind) or False
                self._template = (self._rules_template and template_of(face, bind)) or False
        return rules, face


def _is_plainly_made(cls: Any) -> bool:
    return cls.__new__ is object.__new__ and cls.__setattr__ is object.__setattr__


def _commit(rules: Session) -> None:
    face: Any = sa_asyncio.async_session(rules)
    await_only(face.commit())


def _close(rules: Session) -> None:
    face: Any = sa_asyncio.async_session(rules)
    await_only(face.close())


def _wait(awaitable: Awaitable[Any]) -> Any:
    # SQLAlchemy's greenlet hands it to the task that runs the session: an await like any other of that task.
    return await_only(awaitable)
