"""The life of a session: where it is, what it holds, and how it is closed, settled and ended.

A user's class may have any name of its own, so nothing of ours stands on it but what is documented.  Whatever else our
rooms need of a session is in one object, which :func:`life_of` finds.  It does not know its session, which its methods are
handed: so the two do not keep each other, and both go when the scope is over.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from sqlalchemy import Connection, Engine, orm
from sqlalchemy.orm import InstanceState
from sqlalchemy.util import memoized_property

from respool.errors import ReadOnly
from respool.scope.guard import Guard
from respool.scope.session_phase import CLOSED, CREATED, REMOVED, WORKING
from respool.session import unloaded
from respool.session.changes.change import ChangeSet
from respool.session.changes.log import UNSCOPED, ChangeLog, Changes, Sealed
from respool.session.changes.losses import logger, report
from respool.session.changes.states import ObjectState, tracked
from respool.session.reads.begin import Begin, BeginRule
from respool.session.reads.watching import Watch
from respool.session.transaction.connection import discard, give_back
from respool.session.transaction.hooks import NO_HOOKS, Hook, Hooks, Outcome, savepoints
from respool.session.transaction.observers import News, Observers
from respool.session.transaction.work import Work
from respool.whereabouts import caller

if TYPE_CHECKING:
    from respool.scope.scope import Scope
    from respool.session.reads.rows import Rest

__all__ = ["Life", "Own", "begin_life", "life_of"]

F = TypeVar("F", bound=Callable[[], Any])

#: SQLAlchemy's own, also where somebody has put another class in its place later.
_Theirs = orm.Session
#: In a forked child: what must not be finalized there, which would be to speak on a socket of the parent's.
_parents: list[Any] = []

#: What the house knows of a (sync) session. Asked for everywhere, so no function of Python's.
life_of: Callable[[Any], Life] = attrgetter("_respool_life")


def begin_life(
    session: Any, scope: Scope | None, begin: Begin | BeginRule, observers: Observers, own: Own | None = None
) -> Life:
    """Lay into a session what it has to know, before any constructor has run: a user's may have other arguments than ours."""
    life: Life = Life(scope, begin, observers)
    if own is not None:
        life.own = own
    session._respool_life = life
    return life


class Own(NamedTuple):
    """What a user's class does by itself at an end: called with the session, in place of ours, and to call ours."""

    commit: Callable[[Any], None] | None
    close: Callable[[Any], None] | None


class Life:
    """See the head of the file.

    Args:
        scope: the scope that the session belongs to; ``None`` for a session that is managed by hand.
        begin: when a transaction begins.
        observers: who is told of it.
    """

    # What begins with the same value in every session stands here: each attribute less makes a session cheaper.
    asynchronous = False  #: it is the inner side of an ``AsyncSession``
    at_hand = False  #: the transaction's connection is asked for, and there: nobody has to wait for it
    connections: tuple[Connection, ...] = ()  #: those of its transaction
    borrowed: frozenset[Connection] = frozenset()  #: of these, the user's own: never ours to close
    holds = False  #: what begins now is held: a write may read first, and ``connection()`` is the user's
    ending = False  #: a step of the scope's end is at work on it
    hooks: Hooks = NO_HOOKS  #: most sessions never have any
    learner: Callable[[Any], None] | None = None  #: is shown what SQLAlchemy makes of a statement, to make a plan of it
    leaving: str | None = None  #: how objects are let go of, while the session is being closed
    loop: asyncio.AbstractEventLoop | None = None  #: of an async session, once it was used
    over = False  #: its last word is said: who is told of that is refused
    outcome = Outcome.ROLLED_BACK  #: of the transaction that is open, unless something else becomes known
    own: Own | None = None  #: what its class does at an end
    phase = CREATED
    planned = False  #: its plain reads may go by plans
    read_from: tuple[Engine, ...] = ()  #: what was read from without a transaction, since there was one
    readers: dict[Engine, Any] | None = None  #: what it reads by, before there is a transaction
    reading = False  #: inside a ``read_only()`` block
    units: Any = None  #: its ``Units``; most sessions never have any
    wait_for: Callable[[Awaitable[Any]], Any] | None = None  #: how hooks are awaited, where they can be
    watch: Watch | None = None  #: a transaction that is to end with its one read
    _news: News | None = None
    rest: weakref.ref[Rest] | None = None  #: a result that has the connection of its lease still

    def __init__(self, scope: Scope | None, begin: Begin | BeginRule, observers: Observers) -> None:
        self.scope = scope
        self.begin = begin if isinstance(begin, BeginRule) else BeginRule(begin)
        self.observers = observers
        self.guard = Guard()

    # -- what it is about -----------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The scope that the session belongs to, in words."""
        return self.scope.title if self.scope is not None else UNSCOPED

    @property
    def holds_connection(self) -> bool:
        """Whether the session has a connection of the pool now."""
        return bool(self.connections) or (self.rest is not None and self.rest() is not None)

    @property
    def owned(self) -> list[Connection]:
        """The connections of its transaction that come from a pool."""
        return [connection for connection in self.connections if connection not in self.borrowed]

    @memoized_property
    def work(self) -> Work:
        """What it does in its transactions; made by whoever asks for it first."""
        return Work(self.scope)

    @property
    def log(self) -> ChangeLog:
        """Its changes that have reached the database."""
        return self.work.log

    @property
    def news(self) -> News:
        """What its observers have still to be told."""
        if self._news is None:
            self._news = News()
        return self._news

    def objects(self, session: orm.Session) -> Mapping[ObjectState, list[object]]:
        """The model objects that the session tracks, by state."""
        return tracked(session, self.work.log.deleted_states() if "work" in self.__dict__ else ())

    def changes(self, session: orm.Session) -> Changes:
        """What a rollback would lose now."""
        return self.log.changes(session)

    def losses(self, session: orm.Session) -> list[str]:
        """What would be lost if nobody commits, one line each: changes, and hooks that wait for a commit."""
        return [*self.changes(session).lines(), *self.hooks.unheard()]

    def change_set(self, session: orm.Session) -> ChangeSet:
        """The same for observers."""
        return ChangeSet.of(self.changes(session), self.scope)

    def tell(self, step: str, session: orm.Session, *what: Any) -> None:
        """Tell the observers of a step."""
        self.observers.tell(self.title, step, session, *what)

    def at_work(self, session: orm.Session) -> None:
        """A statement is executed, or a transaction begins."""
        if self.phase is not WORKING:
            self.phase = WORKING
            if self.observers.all:
                self.tell("working", session)

    def in_begin_block(self, session: orm.Session) -> bool:
        """Whether a transaction was begun explicitly, or a savepoint or unit is open."""
        transaction = session.get_transaction()
        begun = transaction is not None and transaction.origin is orm.SessionTransactionOrigin.BEGIN
        return begun or session.in_nested_transaction() or bool(self.units)

    def refuse_write(self, what: str) -> NoReturn:
        """Raise the error of a write inside a ``read_only()`` block."""
        raise ReadOnly(
            f"{what} {'inside a read_only() block of' if self.reading else 'as a read in'} {self.title}",
            advice=["write before or after the block", "or leave read_only() out: plain reads are leased without it"]
            if self.reading
            else ["leave respool_read=True out: plain reads are leased without it"],
            scope=self.title,
        )

    # -- what was read without a transaction ----------------------------------------------------------------------

    def has_read(self, engine: Engine) -> None:
        """Something is read that is to look as if a transaction had begun with it."""
        if engine not in self.read_from:
            self.read_from += (engine,)

    def has_rest(self, rest: Rest) -> None:
        """A result has rows that are not fetched yet, and the connection of its lease."""
        self.rest = weakref.ref(rest)

    def settle_rest(self) -> None:
        """Have such a result fetch the rest of its rows, and give its connection back."""
        if self.rest is not None:
            rest, self.rest = self.rest(), None
            if rest is not None:
                rest.keep()

    def _close_results(self, *, at_end: bool) -> None:
        """The session is closed; at its scope's end the rows are refused in any case, and are not fetched."""
        if at_end:
            if "work" in self.__dict__ and self.work.fetch is not None:
                self.work.fetch.close_streams()
            if self.rest is not None:
                rest, self.rest = self.rest(), None
                if rest is not None:
                    rest.let_go()
        self.settle_rest()

    def transactional_connection(self, session: orm.Session, engine: Engine, *, by_word: bool = False) -> Connection:
        """The connection of the session's transaction, which begins here if it has not yet.

        Args:
            session: the session.
            engine: whose.
            by_word: for a statement that only reads, as somebody said: what begins here may end with it.
        """
        begins = session._transaction is None
        connection = _Theirs._connection_for_bind(session, engine)
        if begins and by_word:
            self.watch = Watch(self, connection)
        return connection

    def has_passed(self, session: orm.Session) -> None:
        """Who was inside goes out: end a transaction that was there for one read only."""
        watch, self.watch = self.watch, None
        transaction = session._transaction
        if watch is None or not watch.end() or transaction is None:
            return
        if transaction._parent is not None or len(self.connections) != 1 or not session._is_clean():
            return
        engines = tuple(connection.engine for connection in self.connections)
        self.end_of_read(session)
        for engine in engines:
            self.has_read(engine)

    def end_of_read(self, session: orm.Session) -> None:
        """End a transaction that has only read, and give its connection back; the objects stay as they are."""
        transaction = session.get_transaction()
        if transaction is not None:
            self.outcome = Outcome.OPEN
            transaction.close()

    # -- what follows a transaction -------------------------------------------------------------------------------

    def on(self, session: orm.Session, fn: F, outcome: Outcome) -> F:
        """Call a function of the user's when the outermost transaction has ended so."""
        self.add_hook(session, Hook(fn, outcome, getattr(fn, "__qualname__", repr(fn)), caller()))
        return fn

    def add_hook(self, session: orm.Session, hook: Hook) -> None:
        """Let a hook wait for the end of the outermost transaction."""
        if self.hooks is NO_HOOKS:
            self.hooks = Hooks(self.scope, self.wait_for)
            for savepoint in savepoints(session):
                self.hooks.savepoint(savepoint)
        self.hooks.add(hook)

    def run_hooks(self) -> None:
        """Run the hooks that are due, unless the scope's end does that later."""
        if not self.ending:
            self.hooks.run()

    def to_be_sealed(self, session: orm.Session) -> Sealed | None:
        """What it has to be committed with an answer that is made."""
        if "work" not in self.__dict__ and session._is_clean():  # nearly always, and much quicker
            return None
        changes = self.changes(session)
        return Sealed(changes) if changes else None

    def is_sealed(self, session: orm.Session) -> bool:
        """Whether the session has nothing but what is to be committed with an answer that is made: a clean-up spares it."""
        sealed = self.scope.sealed if self.scope is not None else None
        if sealed is None or self.ending or not session.is_active:  # or a flush has failed since
            return False
        return bool(sealed.is_all(self.changes(session)))

    def transaction_over(self) -> Outcome:
        """The outermost transaction ended. Tells how, which decides what becomes of the hooks that wait for it."""
        outcome, self.outcome = self.outcome, Outcome.ROLLED_BACK
        if self.scope is not None and self.scope.sealed is not None and not self.ending:
            if outcome is Outcome.ROLLED_BACK:
                self.scope.taken = unloaded.taken_away(self.scope)
            self.scope.sealed = None
        if self.hooks is not NO_HOOKS:
            self.hooks.ended(outcome)
        return outcome

    def give_up_hooks(self) -> None:
        """There is no transaction any more, or was none, that hooks could wait for."""
        self.hooks.ended(Outcome.ROLLED_BACK)
        self.run_hooks()

    # -- letting go -----------------------------------------------------------------------------------------------

    def let_go(self, states: Sequence[InstanceState[Any]], how: str) -> None:
        """The session lets go of objects; they remember it."""
        if states:
            how = how if how is unloaded.END else f"by session.{how} at {caller()}"
            unloaded.note(states, self.scope, how, asynchronous=self.asynchronous)

    def forget_deleted(self, session: orm.Session) -> None:
        """The rows are gone for good. By itself SQLAlchemy lets go of them only together with expiring all others."""
        if states := self.work.log.deleted_states():
            if not session.expire_on_commit:
                _Theirs._expunge_states(session, states)
            unloaded.note(states, self.scope, "by the commit that deleted its row", asynchronous=self.asynchronous)

    def close_and_report(self, session: orm.Session, close: Callable[[], None], how: str) -> None:
        """Close as SQLAlchemy does, and tell what was lost by it; at its end the scope has told that already."""
        if how is unloaded.END:
            self.close(session, close, how)
            return
        if self.units:
            self.units.refuse(how)
        lost = self.losses(session)
        self.close(session, close, how)
        self.give_up_hooks()
        if lost:
            report(self.scope, lost, how=how)

    def close(self, session: orm.Session, close: Callable[[], None], how: str) -> None:
        """Close, whatever it takes: afterwards the session has no connection.

        One that a listener's error keeps from closing goes on with what it has, as SQLAlchemy's; not at a scope's end.
        """
        self.leaving = how
        connections = self.owned
        lost = self.news.lost(self, session) if self.observers.all else None
        self._close_results(at_end=how is unloaded.END)
        goes_on = False
        try:
            close()
        except BaseException as error:
            goes_on = session._transaction is not None and how is not unloaded.END
            if not goes_on:
                give_back(connections, error)
            raise
        finally:
            self.leaving = None
            if not goes_on:
                self._closed(session, lost)

    def _closed(self, session: orm.Session, lost: Any) -> None:
        self.read_from = ()
        self.connections = ()
        if "work" in self.__dict__:
            self.work.clear()
        self.phase = CLOSED
        if self.observers.all:
            if lost:
                self.tell("rolled_back", session, lost)
            self.tell("closed", session)

    # -- the end --------------------------------------------------------------------------------------------------

    def end(self, session: orm.Session) -> None:
        """The scope is over: close for good. Never raises what is only about the connection."""
        if self.phase is REMOVED:
            return
        try:
            closed = self.own is not None and self._close_as_its_class_does(session, self.own)
            if session._transaction is not None:
                self._close_for_good(session)
                return
            if "work" in self.__dict__ or self.rest is not None:
                self._close_results(at_end=True)
            if session.identity_map._dict or session._new:
                states = session.identity_map.all_states()
                _Theirs.expunge_all(session)
                self.let_go(states, unloaded.END)
                if session._transaction is not None:  # a listener that was told of it has begun one
                    self._close_for_good(session)
                    return
            self.over = True
            if self.observers.all and not closed:
                self.tell("closed", session)
        except Exception:
            logger.warning("closing the session of %s failed; its connection was discarded", self.title, exc_info=True)
        finally:
            self.over, self.phase = True, REMOVED
            if self.observers.all:
                self.tell("removed", session)

    def _close_for_good(self, session: orm.Session) -> None:
        def close() -> None:
            session.expunge_all()  # who is told of that can still read
            self.over = True
            _Theirs.close(session)

        self.close(session, close, unloaded.END)

    def _close_as_its_class_does(self, session: orm.Session, own: Own) -> bool:
        """Whether it has a way of its own, which led to ours."""
        if own.close is None:
            return False
        self.leaving, self.phase = unloaded.END, WORKING
        try:
            own.close(session)
        except Exception:
            logger.exception("close() of the session of %s failed", self.title)
        finally:
            self.leaving = None
        return self.phase is CLOSED

    def abandon(self, session: orm.Session) -> None:
        """The scope is over and this is no place to talk to the database: discard the connection."""
        if self.phase is not REMOVED and not self.ending:
            discard(self.owned)
            self.connections = ()
            self.over, self.phase = True, REMOVED
            self.tell("removed", session)

    def drop(self, session: orm.Session) -> None:
        """It was never anybody's: its constructor failed, or another session was made for the scope at the same time."""
        self.observers = Observers.NOBODY  # they were not told of it
        self.abandon(session)

    def forget(self, session: orm.Session) -> None:
        """This is a forked child: what the session holds is the parent's, and is neither used nor closed here."""
        self.phase = REMOVED
        self.guard = Guard()  # whoever was inside is not in this process
        _parents.append((session, session.get_transaction()))

    def last_one_out(self, session: orm.Session) -> None:
        """The scope ended while somebody was inside; whoever leaves last gives the connection back."""
        if self.phase is not REMOVED and self.guard.seize():
            try:
                self.guard.adopt()
                self.end(session)
            finally:
                self.guard.release()
