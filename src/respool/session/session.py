"""The session: SQLAlchemy's, bound to one scope, with a phase, one user at a time, and an eye on what it changed.

What our own rooms need of it is in its :class:`~respool.session.life.Life`: nothing but what is documented has a name here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, orm
from sqlalchemy.orm import InstanceState

from respool.errors import RollbackOnly, ScopeError
from respool.scope.scope import Scope
from respool.scope.session_phase import SessionPhase
from respool.session import listeners, unloaded
from respool.session.changes.log import Changes
from respool.session.changes.states import ObjectState
from respool.session.life import Life, life_of
from respool.session.loading import lazies
from respool.session.loading.eligibility import Eligibility
from respool.session.loading.gets import planned
from respool.session.loading.selects import planned_execute
from respool.session.operations import OPERATIONS, guarded, require_usable
from respool.session.reads.begin import Begin, BeginRule
from respool.session.routing import HasReads
from respool.session.signposts import block
from respool.session.transaction.hooks import Outcome
from respool.session.transaction.observers import Observers
from respool.session.units.block import unit_block
from respool.session.units.units import UnitOptions
from respool.whereabouts import caller

__all__ = ["Session", "eligibility", "is_reset_by_close", "scope_to_fork"]

F = TypeVar("F", bound=Callable[[], Any])
Rules = TypeVar("Rules", bound="Session")

#: What ``close()`` leaves behind with ``close_resets_only=False``.
_CLOSED = orm.session._SessionCloseState.CLOSED
_NEVER_BY_LEASE = BeginRule("on_use")


class Session(HasReads, orm.Session):
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

    _respool_life: Life = None  # type: ignore[assignment]  # until it is made

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
        if self._respool_life is None:  # else a database has begun it
            self._respool_life = Life(scope, begin, observers)
        if options:
            super().__init__(bind, expire_on_commit=expire_on_commit, twophase=twophase, **options)
        else:  # of one request: much quicker
            super().__init__(bind, expire_on_commit=expire_on_commit, twophase=twophase)

    # -- what it is about -----------------------------------------------------------------------------------------

    @property
    def scope(self) -> Scope | None:
        """The scope that the session belongs to; ``None`` for a session that is managed by hand."""
        return self._respool_life.scope

    @property
    def phase(self) -> SessionPhase:
        """Where the session is in its life."""
        return self._respool_life.phase

    @property
    def holds_connection(self) -> bool:
        """Whether the session has a connection of the pool now."""
        return self._respool_life.holds_connection

    def objects(self) -> Mapping[ObjectState, list[object]]:
        """The model objects that the session tracks, by state."""
        return self._respool_life.objects(self)

    def changes(self) -> Changes:
        """What a rollback would lose now: changes of objects, flushed or not, and statements, since the last commit."""
        return self._respool_life.changes(self)

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
        return _fork(self, label, caller())

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
        return unit_block(self, UnitOptions(savepoint, new, isolation, read_only), caller())

    @block
    def read_only(self) -> Iterator[None]:
        """A block whose statements only read, by your word: none of them holds a connection, ``text()`` and functions too.

        What is not proved to be a plain read has a transaction of its own, which is rolled back. For a single statement
        there is ``execution_options(respool_read=True)``; ``False`` says that it does more.

        Raises:
            ReadOnly: something was to be written.
        """
        life = self._respool_life
        outer, life.reading = life.reading, True
        try:
            yield
        finally:
            life.reading = outer

    def on_commit(self, fn: F) -> F:
        """Call ``fn()`` once, after the outermost transaction was committed. Not if it is rolled back, nor if the savepoint
        is in which this was asked for.

        It runs when the connection is back in the pool, in the order of the asking, and the session is fresh: what it
        does with it begins a transaction of its own. After ``commit()`` it runs before that returns; at the end of a
        request or scope when all of its databases are committed, before the answer leaves. What it raises is logged
        (``HookFailed``) and changes nothing: the commit has happened.

        Without a transaction it waits for the COMMIT of the next one.

        Args:
            fn: called without arguments; on an ``AsyncSession`` it may be a coroutine function.

        Returns:
            ``fn``, so that it can be used as a decorator.
        """
        return self._respool_life.on(self, fn, Outcome.COMMITTED)

    def on_rollback(self, fn: F) -> F:
        """Call ``fn()`` once, if the transaction or savepoint in which this was asked for is rolled back.

        It runs as :meth:`on_commit` says, so for a savepoint after the end of the outermost transaction.

        Args:
            fn: called without arguments; on an ``AsyncSession`` it may be a coroutine function.

        Returns:
            ``fn``.
        """
        return self._respool_life.on(self, fn, Outcome.ROLLED_BACK)

    # -- what is SQLAlchemy's -------------------------------------------------------------------------------------

    def get_bind(
        self, mapper: Any = None, *, clause: Any = None, bind: Any = None, **kwargs: Any
    ) -> Engine | Connection:
        """As SQLAlchemy's. Every statement, lazy load and flush comes through here before a connection is taken."""
        life = self._respool_life
        require_usable(life)
        if kwargs:
            found = super().get_bind(mapper, clause=clause, bind=bind, **kwargs)
        else:  # nearly always, and much quicker
            found = super().get_bind(mapper, clause=clause, bind=bind)
        return found if life.units is None else life.units.bound(found)

    def _autoflush(self) -> None:
        """As SQLAlchemy's, which takes the long way to find that there is nothing to flush; every read asks."""
        if not self._is_clean():
            super()._autoflush()

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """As SQLAlchemy's."""
        life = self._respool_life
        if life.reading and not self._is_clean():
            life.refuse_write("a flush of changed objects")
        work = life.work
        work.flushing = True
        try:
            super().flush(objects)
        finally:
            work.flushing = False

    def commit(self) -> None:
        """Flush, then COMMIT.

        Raises:
            RollbackOnly: the scope was doomed.
            UnitError: a unit is open: it commits at its end.
            CommitOutcomeUnknown: the connection broke during the COMMIT.
        """
        life = self._respool_life
        scope = life.scope
        if life.units:
            life.units.refuse("commit()")
        if scope is not None and scope.doomed is not None:
            raise RollbackOnly(
                f"{life.title} can only be rolled back any more: {scope.doomed}",
                advice=[
                    "leave it to its end, which rolls back: whoever called session.scope.doom() meant it so",
                    'what should be saved nevertheless belongs into a scope of its own: with db.scope("audit") as session',
                ],
                scope=scope.label,
                reason=scope.doomed,
                unit=None,
                error=None,
            )
        twophase = self.twophase
        self.twophase = twophase and scope is None  # a scope's end has prepared, if there are several databases
        try:
            super().commit()
        except Exception as error:
            if scope is not None:
                error.add_note(scope.describe("respool: this was the commit"))
            raise
        finally:
            self.twophase = twophase

    def rollback(self) -> None:
        """As SQLAlchemy's. Hooks that wait for a commit are dropped, those that wait for a rollback run.

        Raises:
            UnitError: a unit is open: it rolls back if an exception comes out of it.
        """
        life = self._respool_life
        if life.is_sealed(self):
            return
        if life.units:
            life.units.refuse("rollback()")
        if life.read_from and self._transaction is None:
            self._autobegin_t()  # there would have been one, and what was read in it would expire with it
        super().rollback()
        if life.units is not None:
            life.units.ended(None)
        life.give_up_hooks()

    def close(self) -> None:
        """Give the connection back and let go of all objects; they keep what they have loaded.

        The session can be used again within the same scope. Uncommitted changes are rolled back and reported.
        """
        life = self._respool_life
        if life.is_sealed(self):
            return
        life.close_and_report(self, super().close, life.leaving or "close()")
        if self._close_state is _CLOSED:  # which SQLAlchemy refuses where a transaction begins: so one has to, always
            life.begin = _NEVER_BY_LEASE

    def reset(self) -> None:
        """The same as :meth:`close`; with ``close_resets_only=False`` the session can be used again after this only."""
        life = self._respool_life
        if life.is_sealed(self):
            return
        life.close_and_report(self, super().reset, life.leaving or "reset()")

    def remove(self) -> None:
        """The same as :meth:`close`, as ``scoped_session`` has it: the next use in the same scope finds the session empty."""
        life = self._respool_life
        life.leaving = "remove()"
        try:
            self.close() if is_reset_by_close(self) else self.reset()
        finally:
            life.leaving = None

    def invalidate(self) -> None:
        """Close, and discard the connection instead of giving it back."""
        life = self._respool_life
        life.close(self, super().invalidate, "invalidate()")
        life.give_up_hooks()

    def expunge_all(self) -> None:
        """As SQLAlchemy's."""
        states = self.identity_map.all_states()
        super().expunge_all()
        life = self._respool_life
        life.let_go(states, life.leaving or "expunge_all()")

    def _expunge_states(self, states: Iterable[InstanceState[Any]], to_transient: bool = False) -> None:
        states = list(states)
        super()._expunge_states(states, to_transient)
        if not to_transient:
            self._respool_life.let_go(states, "expunge()")


@block
def _fork(session: Rules, label: str, place: str) -> Iterator[Rules]:
    scope = scope_to_fork(session)
    with scope.owner.block_of(scope.fork(label, place)) as child:
        yield child


def scope_to_fork(session: orm.Session) -> Scope:
    """The scope that a session's children belong to.

    Raises:
        ScopeError: it has none.
    """
    scope = life_of(session).scope
    if scope is None:
        raise ScopeError(
            "fork() of a session without a scope",
            advice=["a child belongs to a request or db.scope() block: fork a session of one of these"],
        )
    return scope


def is_reset_by_close(session: orm.Session) -> bool:
    """Whether it works again after ``close()``; with ``close_resets_only=False`` it does after ``reset()`` only."""
    return session._close_state is orm.session._SessionCloseState.CLOSE_IS_RESET


for _name in OPERATIONS:
    if hasattr(orm.Session, _name):
        setattr(Session, _name, guarded(getattr(Session, _name)))
for _name in ("flush", "commit", "on_commit", "on_rollback"):
    setattr(Session, _name, guarded(getattr(Session, _name)))
eligibility = Eligibility()
Session.get = planned(Session.get, eligibility)  # type: ignore[method-assign]
Session._execute_internal = planned_execute(HasReads._execute_internal, eligibility)  # type: ignore[method-assign]
eligibility.settle(Session)
for _name in ("rollback", "close", "reset", "remove", "invalidate"):
    setattr(Session, _name, guarded(getattr(Session, _name), ignore_ended=True))
listeners.sessions(Session)
unloaded.teach()
lazies.teach(eligibility)
