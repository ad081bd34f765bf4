"""The session: SQLAlchemy's, bound to one scope, with a phase, one user at a time, and an eye on what it changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Self

from sqlalchemy import Connection, Engine, orm
from sqlalchemy.orm import InstanceState
from sqlalchemy.util.concurrency import in_greenlet

from respool.errors import RollbackOnly
from respool.session import guards, lessons, watch
from respool.session.changes import ChangeLog, Changes
from respool.session.events import News, Observers
from respool.session.hooks import HasHooks, Outcome
from respool.session.losses import logger, report
from respool.session.phase import CLOSED, CREATED, REMOVED, WORKING, SessionPhase
from respool.session.places import caller
from respool.session.reader import Reader
from respool.session.reads import HasReads
from respool.session.rule import Begin, BeginRule
from respool.session.scope import ENDED, Scope
from respool.session.tracking import ObjectState, tracked
from respool.session.unit_blocks import HasUnits

__all__ = ["Session"]

#: What ``close()`` leaves behind with ``close_resets_only=False``.
_CLOSED = orm.session._SessionCloseState.CLOSED
_NEVER_BY_LEASE = BeginRule("on_use")
#: In a forked child: what must not be finalized there, which would be to speak on a socket of the parent's.
_parents: list[Any] = []


class Session(HasUnits, HasHooks, HasReads, orm.Session):
    """SQLAlchemy's ``Session`` that belongs to one request or ``db.scope()`` block.

    It is made by :class:`~respool.Database`; every method of SQLAlchemy's is there. What differs:

    * it refuses to work after its scope's end (``ScopeEnded``), from another scope (``WrongScope``), and for a second
      task or thread while a first is inside (``ConcurrentUse``), each time before a connection is touched;
    * objects keep their loaded values after ``commit()`` (``expire_on_commit=False``);
    * :attr:`phase`, :meth:`objects` and :meth:`changes` tell what it is about.

    Args:
        bind: the engine.
        scope: the scope that it belongs to; ``None`` for a session that is managed by hand.
        begin: when a transaction begins: ``"on_use"``, ``"on_write"``, or ``None`` for what suits the database.
        observers: who is told of its life; those of the database.
        expire_on_commit: whether a commit has objects forget what they have loaded.
        twophase: whether several databases are committed in two phases.
        options: as for SQLAlchemy's ``Session``.
    """

    asynchronous = False  #: it is the inner side of an ``AsyncSession``
    # What begins with the same value in every session stands here: each attribute less makes a session cheaper.
    ending = False  #: a step of the scope's end is at work on it
    reading = False  #: inside a ``read_only()`` block
    scope: Scope | None = None
    _guard: guards.Guard = None  # type: ignore[assignment]  # until it is prepared
    _phase = CREATED
    _leaving: str | None = None  #: how objects are let go of, while the session is being closed
    _loop: asyncio.AbstractEventLoop | None = None  #: of an async session, once it was used
    _news_to_tell: News | None = None  #: most sessions are not observed

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        scope: Scope | None = None,
        begin: Begin | BeginRule = "on_use",
        observers: Observers = Observers.NOBODY,
        expire_on_commit: bool = False,
        twophase: bool = False,
        **options: Any,
    ) -> None:
        if self._guard is None:  # else a database has prepared it
            self._prepare(scope, begin, observers)
        if options:
            super().__init__(bind, expire_on_commit=expire_on_commit, twophase=twophase, **options)
        else:  # of one request: much quicker
            super().__init__(bind, expire_on_commit=expire_on_commit, twophase=twophase)

    def _prepare(self, scope: Scope | None, begin: Begin | BeginRule, observers: Observers) -> None:
        """Lay into it what it has to know, before any constructor has run: a user's may have other arguments than ours."""
        self.scope = scope
        self.observers = observers
        self._begin = begin if isinstance(begin, BeginRule) else BeginRule(begin)
        self._readers: dict[Engine, Reader] = {}
        self._guard = guards.Guard()
        self._log = ChangeLog(scope)
        self._connections: list[Connection] = []

    # -- what it is about -----------------------------------------------------------------------------------------

    @property
    def phase(self) -> SessionPhase:
        """Where the session is in its life."""
        return self._phase

    @property
    def title(self) -> str:
        """The scope that the session belongs to, in words."""
        return self._log.title

    @property
    def holds_connection(self) -> bool:
        """Whether the session has a connection of the pool now."""
        return bool(self._connections) or (self._rest is not None and self._rest() is not None)

    def at_work(self) -> None:
        """A statement is executed, or a transaction begins."""
        if self._phase is not WORKING:
            self._phase = WORKING
            if self.observers.all:
                self.observers.tell("working", self)

    @property
    def _news(self) -> News:
        if self._news_to_tell is None:
            self._news_to_tell = News()
        return self._news_to_tell

    def objects(self) -> Mapping[ObjectState, list[object]]:
        """The model objects that the session tracks, by state."""
        return tracked(self)

    def changes(self) -> Changes:
        """What a rollback would lose now: changes of objects, flushed or not, and statements, since the last commit."""
        return self._log.changes(self)

    def fork(self, label: str = "fork") -> AbstractContextManager[Self]:
        """A child session for work beside this one, in another thread; as a block.

        It has a connection of its own, sees what is committed, and knows none of this session's objects. At its end
        the rule of this session's scope decides, as at the end of a ``db.scope()`` block. If this session's scope ends
        before it, the child is rolled back, what it had not committed is reported, and it refuses from then on.

        It may be called in a thread that no scope is open in: inside of the block the child's is.

        Args:
            label: what errors and pages call it, behind the parent's label.

        Yields:
            the child.

        Raises:
            SelfDeadlock: this session holds a connection, and the pool cannot give a second one.
            ScopeEnded: this session's scope is over.
            WrongScope: the scope that is open here is another request's.
        """
        from respool.session.parallel import fork_block  # which needs this module

        return fork_block(self, label, caller())

    # -- the rules ------------------------------------------------------------------------------------------------

    def get_bind(
        self, mapper: Any = None, *, clause: Any = None, bind: Any = None, **kwargs: Any
    ) -> Engine | Connection:
        """As SQLAlchemy's. Every statement, lazy load and flush comes through here before a connection is taken."""
        self._require_usable()
        if kwargs:
            found = super().get_bind(mapper, clause=clause, bind=bind, **kwargs)
        else:  # nearly always, and much quicker
            found = super().get_bind(mapper, clause=clause, bind=bind)
        return found if self._units is None else self._units.bound(found)

    def _require_usable(self) -> None:
        scope = self.scope
        if scope is not None:
            if scope.state is ENDED:
                scope.refuse_ended()
            if not self._guard.taken():  # else whoever is inside was let in
                scope.require_usable()
        if self.asynchronous and self._guard.inside is not None and not self._at_hand:
            self._require_loop()

    def _require_loop(self) -> None:
        """An async session belongs to the loop of its first use, and is used where something awaits it."""
        if not in_greenlet():
            raise lessons.not_awaited(self)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop and self.scope is not None:
            self.scope.refuse_elsewhere(
                "in another event loop than before",
                "the loop of its first use is "
                + ("closed" if self._loop.is_closed() else "another one, and not closed"),
                "what was connected in one loop does not work in another: one asyncio.run() for the application",
            )

    def _autoflush(self) -> None:
        """As SQLAlchemy's, which takes the long way to find that there is nothing to flush; every read asks."""
        if not self._is_clean():
            super()._autoflush()

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """As SQLAlchemy's."""
        if self.reading and not self._is_clean():
            self.refuse_write("a flush of changed objects")
        self._log.flushing = True
        try:
            super().flush(objects)
        finally:
            self._log.flushing = False

    def commit(self) -> None:
        """Flush, then COMMIT.

        Raises:
            RollbackOnly: the scope was doomed.
            UnitError: a unit is open: it commits at its end.
            CommitOutcomeUnknown: the connection broke during the COMMIT.
        """
        if self._units:
            self._units.refuse("commit()")
        if self.scope is not None and self.scope.doomed is not None:
            raise RollbackOnly(
                f"{self.title} can only be rolled back any more: {self.scope.doomed}",
                advice=[
                    "leave it to its end, which rolls back: whoever called session.scope.doom() meant it so",
                    'what should be saved nevertheless belongs into a scope of its own: with db.scope("audit") as session',
                ],
                scope=self.scope.label,
                reason=self.scope.doomed,
                unit=None,
                error=None,
            )
        self._commit()

    def _commit(self) -> None:
        if not self.twophase or self.scope is None:
            super().commit()
            return
        self.twophase = False  # a scope's end has prepared, if there are several databases
        try:
            super().commit()
        finally:
            self.twophase = True

    def rollback(self) -> None:
        """As SQLAlchemy's. Hooks that wait for a commit are dropped, those that wait for a rollback run.

        Raises:
            UnitError: a unit is open: it rolls back if an exception comes out of it.
        """
        if self._units:
            self._units.refuse("rollback()")
        if self._read_from and self._transaction is None:
            self._autobegin_t()  # there would have been one, and what was read in it would expire with it
        super().rollback()
        if self._units is not None:
            self._units.ended(None)
        self._give_up_hooks()

    def close(self) -> None:
        """Give the connection back and let go of all objects; they keep what they have loaded.

        The session can be used again within the same scope. Uncommitted changes are rolled back and reported.
        """
        self._close_and_report(super().close, self._leaving or "close()")
        if self._close_state is _CLOSED:  # which SQLAlchemy refuses where a transaction begins: so one has to, always
            self._begin = _NEVER_BY_LEASE

    def losses(self) -> list[str]:
        """What would be lost if nobody commits, one line each: changes, and hooks that wait for a commit."""
        return [*self.changes().lines(), *(self._hooks.unheard() if self._hooks is not None else ())]

    def reset(self) -> None:
        """The same as :meth:`close`; with ``close_resets_only=False`` the session can be used again after this only."""
        self._close_and_report(super().reset, self._leaving or "reset()")

    def remove(self) -> None:
        """The same as :meth:`close`, as ``scoped_session`` has it: the next use in the same scope finds the session empty."""
        self._leaving = "remove()"
        try:
            self.close() if self.can_be_reopened else self.reset()
        finally:
            self._leaving = None

    @property
    def can_be_reopened(self) -> bool:
        """Whether it works again after ``close()``: else, with ``close_resets_only=False``, after ``reset()`` only."""
        return self._close_state is orm.session._SessionCloseState.CLOSE_IS_RESET

    def invalidate(self) -> None:
        """Close, and discard the connection instead of giving it back."""
        self._close(super().invalidate, "invalidate()")
        self._give_up_hooks()

    def _close_and_report(self, close: Callable[[], None], how: str) -> None:
        if self._units:
            self._units.refuse(how)
        lost = self.losses()
        self._close(close, how)
        self._give_up_hooks()
        if lost:
            report(self.scope, lost, how=how)

    def expunge_all(self) -> None:
        """As SQLAlchemy's."""
        states = self.identity_map.all_states()
        super().expunge_all()
        self._let_go(states, self._leaving or "expunge_all()")

    def _expunge_states(self, states: Iterable[InstanceState[Any]], to_transient: bool = False) -> None:
        states = list(states)
        super()._expunge_states(states, to_transient)
        if not to_transient:
            self._let_go(states, "expunge()")

    def forget_deleted(self) -> None:
        """The rows are gone for good. By itself SQLAlchemy lets go of them only together with expiring all others."""
        if states := self._log.deleted_states():
            super()._expunge_states(states)
            lessons.note(states, self, "by the commit that deleted its row")

    def _let_go(self, states: Sequence[InstanceState[Any]], how: str) -> None:
        if states:
            lessons.note(states, self, how if how is lessons.END else f"by session.{how} at {caller()}")

    def _close(self, close: Callable[[], None], how: str) -> None:
        self._leaving = how
        connections = list(self._connections)
        lost = self._news.lost(self) if self.observers.all else None
        if self._log.fetch is not None:
            self._log.fetch.close_streams()
        self.close_rest(at_end=self._leaving == lessons.END)
        try:
            close()
        except BaseException:
            _discard(connections)
            raise
        finally:
            self._leaving = None
            self._read_from = ()
            self._connections.clear()
            self._log.clear()
            self._phase = CLOSED
            if self.observers.all:
                if lost:
                    self.observers.tell("rolled_back", self, lost)
                self.observers.tell("closed", self)

    # -- the end --------------------------------------------------------------------------------------------------

    def in_begin_block(self) -> bool:
        """Whether a transaction was begun explicitly, or a savepoint or unit is open."""
        transaction = self.get_transaction()
        begun = transaction is not None and transaction.origin is orm.SessionTransactionOrigin.BEGIN
        return begun or self.in_nested_transaction() or bool(self._units)

    def settle(self) -> None:
        """The scope's end is decided: give the connection back, and close for good unless hooks are to be run first."""
        if self._hooks is not None and self._hooks.present:
            try:
                orm.Session.rollback(self)
            except Exception:
                logger.warning("rolling %s back failed; its connection was discarded", self.title, exc_info=True)
                _discard(list(self._connections))
            self._hooks.ended(Outcome.ROLLED_BACK)
        if not self.hooks_due:
            self.end()

    def run_last_hooks(self) -> list[str]:
        """Run the hooks of the scope's end, then close for good. Returns what the hooks left uncommitted, in lines."""
        self.hooks.run()
        lost = self.losses()
        self.settle()
        self.hooks.run()
        self.end()
        return lost

    def end(self) -> None:
        """The scope is over: close for good. Never raises what is only about the connection."""
        if self._phase is REMOVED:
            return
        try:
            if self._transaction is None:
                self.close_rest(at_end=True)
                states = self.identity_map.all_states()
                if states or self._new:
                    orm.Session.expunge_all(self)
                    self._let_go(states, lessons.END)
                if self.observers.all:
                    self.observers.tell("closed", self)
            else:
                self._close(super().close, lessons.END)
        except Exception:
            logger.warning("closing the session of %s failed; its connection was discarded", self.title, exc_info=True)
        finally:
            self._phase = REMOVED
            if self.observers.all:
                self.observers.tell("removed", self)

    def abandon(self) -> None:
        """The scope is over and this is no place to talk to the database: discard the connection."""
        if self._phase is not REMOVED and not self.ending:
            _discard(list(self._connections))
            self._connections.clear()
            self._phase = REMOVED
            self.observers.tell("removed", self)

    def drop(self) -> None:
        """It was never anybody's: its constructor failed, or another session was made for the scope at the same time."""
        self.observers = Observers.NOBODY  # they were not told of it
        self.abandon()

    def forget(self) -> None:
        """This is a forked child: what the session holds is the parent's, and is neither used nor closed here."""
        self._phase = REMOVED
        self._guard = guards.Guard()  # whoever was inside is not in this process
        _parents.append((self, self.get_transaction()))

    def last_one_out(self) -> None:
        """The scope ended while somebody was inside; whoever leaves last gives the connection back."""
        if self._phase is not REMOVED and self._guard.seize():
            try:
                self._guard.adopt()
                self.end()
            finally:
                self._guard.release()


for _name in guards.OPERATIONS:
    if hasattr(orm.Session, _name):
        setattr(Session, _name, guards.guarded(getattr(Session, _name)))
for _name in ("flush", "commit", "release_connection", "on_commit", "on_rollback", "enter_unit", "leave_unit"):
    setattr(Session, _name, guards.guarded(getattr(Session, _name)))
for _name in ("rollback", "close", "reset", "remove", "invalidate"):
    setattr(Session, _name, guards.guarded(getattr(Session, _name), ignore_ended=True))
watch.sessions(Session)
lessons.teach()


def _discard(connections: Sequence[Connection]) -> None:
    """Whatever ails a connection, it does not stay with a session."""
    for connection in connections:
        with suppress(Exception):
            connection.invalidate()
        with suppress(Exception):
            connection.close()
