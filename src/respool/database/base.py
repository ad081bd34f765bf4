"""What the two kinds of database have in common: the name, the scope in force, the settings."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar

from sqlalchemy import Engine

from respool.config import PoolConfig, parse_switch
from respool.database.checks import (
    check_begin,
    check_keywords,
    check_name,
    check_options,
    check_plans,
    check_pool,
    check_variables,
)
from respool.database.job import HasJobs
from respool.database.override.exchange import HasEngine
from respool.ending.tally import check_twophase
from respool.engine import AsyncFairPool, FairPool, completed, mask
from respool.errors import ConfigError, PoolClosed, ScopeError, UncommittedChanges
from respool.scope.missing import no_scope
from respool.scope.nesting import Nesting
from respool.scope.policy import CommitPolicy, policy_of
from respool.scope.scope import OPEN, RELEASED, CurrentScope, LiveScopes, Scope, put_back
from respool.session.classes import SessionClass, asking
from respool.session.life import life_of
from respool.session.reads.begin import Begin, BeginRule
from respool.session.session import Session
from respool.session.signposts import Signposts
from respool.session.transaction.connection import watch
from respool.session.transaction.observers import Observers, SessionObserver
from respool.whereabouts import Place, caller, near_line, running

__all__ = ["DatabaseBase", "open_databases"]

S = TypeVar("S")


#: The databases that are open now. A name need not be theirs alone: each application has databases of its own.
_open: weakref.WeakValueDictionary[int, DatabaseBase[Any]] = weakref.WeakValueDictionary()


def open_databases() -> list[DatabaseBase[Any]]:
    """The databases of this process that are not closed."""
    return list(_open.values())


def _after_fork() -> None:
    """The scopes that were open at a fork are the parent's. The child opens its own."""
    for database in open_databases():
        database.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


class DatabaseBase(HasJobs, HasEngine, Signposts, ABC, Generic[S]):
    """One database: an engine, the scope in force, and the rule by which a scope ends. ``S`` is the session's type."""

    #: The other kind, for the message that sends users there.
    other_kind: ClassVar[str]

    def __init__(
        self,
        url: Any,
        name: str,
        pool: PoolConfig | None,
        commit: CommitPolicy,
        begin: Begin,
        twophase: bool,
        plans: bool,
        session_class: Any,
        session_options: Mapping[str, Any] | None,
        engine_options: Mapping[str, Any] | None,
        unknown: Mapping[str, Any],
    ) -> None:
        check_keywords(unknown)
        check_name(name)
        self.name = name
        self.commit_policy = policy_of(commit)
        check_begin(begin)
        check_pool(pool)
        check_options(engine_options)
        check_plans(plans)
        self.plans = plans
        self.begin_rule = BeginRule(begin)
        self.session_kind = self._class_of(session_class, session_options)
        self._current_session = asking(self.session_kind.given)
        self.made_with = pool, dict(engine_options or {})
        self.engine = self._engine_of(url, *self.made_with)
        self.given = self.engine is url  #: whether the engine is the user's own, who closes it as well
        self.twophase = twophase
        if twophase:
            check_twophase(self._sync_engine)
        self._current: CurrentScope = ContextVar(f"respool scope of {name}", default=None)
        self._live = LiveScopes()
        self._observers = Observers()
        self._making = threading.Lock()
        self.nesting = Nesting()
        self.installed = False  #: whether an application's requests have scopes of it
        self._closed: str | None = None  # by whom
        watch(self._sync_engine)
        _open[id(self)] = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {mask(self._sync_engine.url)}{' closed' if self._closed else ''}>"

    @classmethod
    def from_env(
        cls,
        prefix: str = "RESPOOL_",
        environ: Mapping[str, str] | None = None,
        *,
        session_class: type[S] | None = None,
        **keywords: Any,
    ) -> Self:
        """Build from environment variables.

        ``<prefix>URL`` is required, ``<prefix>COMMIT`` is ``manual`` or ``on_success``, ``<prefix>PLANS`` is ``on`` or
        ``off``, and every setting of :class:`~respool.PoolConfig` has a variable of its name: ``RESPOOL_MAX_SIZE=20``.
        A URL ``postgres://…`` or without a driver, as platforms give it, gets one that is installed.

        Args:
            prefix: what the variables' names begin with.
            environ: where to look; the process's environment by default.
            session_class, keywords: as for the constructor.

        Raises:
            ConfigError: the URL is missing, a variable is unknown or misspelt, or its value is not accepted.
        """
        environ = os.environ if environ is None else environ
        check_variables(prefix, environ)
        url = environ.get(prefix + "URL")
        if not url:
            raise ConfigError(
                f"{prefix}URL is not set",
                advice=[f"set it to the database's URL: {prefix}URL=postgresql+psycopg://user@host/shop"],
                setting=f"{prefix}URL",
            )
        if prefix + "COMMIT" in environ:
            keywords.setdefault("commit", environ[prefix + "COMMIT"])
        if prefix + "PLANS" in environ:
            keywords.setdefault("plans", parse_switch(prefix + "PLANS", environ[prefix + "PLANS"]))
        keywords.setdefault("pool", PoolConfig.from_env(environ, prefix=prefix))
        return cls(completed(url, asynchronous=cls.other_kind == "Database"), session_class=session_class, **keywords)

    # -- what the two kinds do differently ------------------------------------------------------------------------

    @abstractmethod
    def _engine_of(self, url: Any, pool: PoolConfig | None, options: dict[str, Any]) -> Any:
        """The engine: built for a URL, or as given."""

    @abstractmethod
    def _class_of(self, given: Any, options: Mapping[str, Any] | None) -> SessionClass:
        """The class of its sessions, and their options."""

    @property
    @abstractmethod
    def _sync_engine(self) -> Engine:
        """The engine that does the work."""

    @abstractmethod
    def block_of(self, scope: Scope) -> Any:
        """A block in which a scope is in force, and at whose end it ends."""

    @property
    def asynchronous(self) -> bool:
        """Whether its sessions are async ones."""
        return self._sync_engine.dialect.is_async

    # -- the session in force -------------------------------------------------------------------------------------

    @property
    def session(self) -> S:
        """The session of the request or ``db.scope()`` block in force; it is made at the first use.

        Raises:
            NoScope: no request and no block is open here.
            ScopeEnded: it is over.
            PoolClosed: the database was closed.
        """
        scope = self._current.get()
        if scope is None:
            raise no_scope(self)
        face: S | None = scope.face
        return face if face is not None else self.open_session(scope)

    @property
    def current_session(self) -> Callable[[], S]:
        """The same as :attr:`session`, to be called: ``Depends(db.current_session)``."""
        # A bound method as any other, but with the class in its annotations: containers of dependencies go by that.
        return MethodType(self._current_session, self)

    def observe(self, observer: SessionObserver) -> Callable[[], None]:
        """Tell an observer what becomes of every session: each step of its life, and the changes of each commit.

        Args:
            observer: a :class:`~respool.session.transaction.observers.SessionObserver`.

        Returns:
            a function that ends it.

        Raises:
            ConfigError: it is something else, or a method is a coroutine function where nobody could await it.
        """
        self._observers.add(observer, asynchronous=self._sync_engine.dialect.is_async)
        return lambda: self._observers.remove(observer)

    def require_own_name(self) -> None:
        """Refuse to have a scope in force beside one of another database of this name.

        Raises:
            ConfigError: there is one; errors and pages could not tell the two.
        """
        for other in open_databases() if len(_open) > 1 else ():
            if other is not self and other.name == self.name and (scope := other.scope_here()) is not None:
                raise ConfigError(
                    f"two databases of one name, {self.name!r}, with a scope each in force together",
                    now=[f"{other!r} has {scope.title}", f"{self!r} was asked for one at {caller()}"],
                    advice=['give each a name of its own: Database(url, name="reports")'],
                    setting="name",
                )

    @property
    def max_connections(self) -> int | None:
        """How many connections the pool may have; ``None`` for no limit, or none that we know of."""
        pool = self.pool
        if isinstance(pool, FairPool | AsyncFairPool):
            return pool.config.max_size
        overflow = getattr(pool, "_max_overflow", -1)
        return pool.size() + overflow if overflow >= 0 else None

    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that have a session now, the oldest first."""
        return tuple(self._live)

    @property
    def pool(self) -> Any:
        """The pool of connections, with ``stats()`` and ``snapshot()``. An engine of yours keeps the pool that it has."""
        return self.engine.pool

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed is not None

    def holds_connection(self) -> bool:
        """Whether the scope in force here, or one around it, has a connection of the pool now."""
        scope = self._current.get()
        while scope is not None:
            if scope.life is not None and scope.life.holds_connection:
                return True
            scope = scope.parent
        return False

    def new_scope(self, label: str, *, place: Place | str | None = None, commit: CommitPolicy | None = None) -> Scope:
        """A scope that is not in force yet: what a web framework's adapter begins a request with.

        Args:
            label: what people call it: ``"GET /orders/3"``.
            place: ``file:line`` for a block; a request has none, and no parent.
            commit: what happens to uncommitted changes at its end; the database's own rule by default.
        """
        around = self._current.get() if place is not None else None
        return Scope(
            self.name,
            label,
            self._current,
            self._live,
            owner=self,
            policy=self.commit_policy if commit is None else policy_of(commit),
            place=place,
            parent=around if around is not None and around.live else None,
        )

    @contextmanager
    def without_scope(self) -> Iterator[None]:
        """Have no scope in force for the length of a block, whatever the context was copied from."""
        token = self._current.set(None)
        try:
            yield
        finally:
            put_back(self._current, token)

    def forget(self) -> None:
        """This is a forked child: forget the scopes that are open, and those in force here; they are the parent's."""
        self._making = threading.Lock()
        self.nesting = Nesting()
        here = self._current.get()
        while here is not None:
            here.forget()
            here = here.parent
        for scope in self._live:
            scope.forget()

    def open_session(self, scope: Scope) -> S:
        """The session of a scope, which is made here unless it has one.

        Raises:
            ScopeEnded: the scope is over.
            PoolClosed: the database was closed.
        """
        if self._closed is not None:
            self._refuse_closed(self._closed)
        if scope.is_request:
            scope.asked = near_line()
        # with no lock held: a class of the user's has a constructor of his
        session, made = self.session_kind.make(self.engine, scope, self.begin_rule, self._observers, self.twophase)
        life = life_of(session)
        life.planned = self.plans
        with self._making:  # two threads of one request may come at once
            face: S = scope.face
            if face is None and scope.live:
                scope.attach(session, made, life)
                face = made
        if face is not made:
            life.drop(session)
            if face is None:
                scope.refuse_ended()
            return face
        if self._observers.all:
            life.tell("created", session)
        return face

    def _refuse_closed(self, by: str) -> NoReturn:
        raise PoolClosed(
            f"database {self.name!r} is closed: {by}",
            now=[f"a session was asked for at {caller()} in {running()}"],
            advice=[
                "close() comes last, when no request is served any more",
                "db.reopen() opens it again, with a new pool of the same settings",
                "so does the start of an application that has it: in tests, with TestClient(app) as client",
            ],
            pool=self.name,
            closed_by=by,
        )

    @property
    def scope_variable(self) -> CurrentScope:
        """What holds the scope in force, whether that is over or not."""
        return self._current

    def scope_here(self) -> Scope | None:
        """The scope in force here, if there is one and it is not over."""
        scope = self._current.get()
        return scope if scope is not None and scope.live else None

    def in_force(self) -> Scope:
        """The scope in force here.

        Raises:
            NoScope: there is none.
            ScopeEnded: it is over.
        """
        scope = self._current.get()
        if scope is None:
            raise no_scope(self)
        if not scope.live:
            scope.refuse_ended()
        return scope

    # -- giving the connection back -------------------------------------------------------------------------------

    def _releasing(self) -> tuple[Scope, Session | None]:
        """The scope in force, and its session if that has a connection to give back."""
        scope = self.in_force()
        session, life = scope.session, scope.life
        if session is None or life is None:
            return scope, None
        changes = life.changes(session)
        if lines := changes.lines():
            raise UncommittedChanges(
                f"released() would lose {len(lines)} uncommitted change{'s' if len(lines) > 1 else ''} of {scope.title}",
                now=lines,
                advice=["commit() or rollback() before giving the connection back"],
                scope=scope.label,
                changes=tuple(lines),
            )
        if locks := changes.locks:
            raise ScopeError(
                f"released() would let go of {len(locks)} lock{'s' if len(locks) > 1 else ''} of {scope.title}",
                now=locks,
                advice=[
                    "do what the lock is for, and commit() or rollback(), before giving the connection back",
                    "or take it afterwards: others may change meanwhile what was locked",
                ],
                scope=scope.label,
                locks=locks,
            )
        if life.in_begin_block(session):
            raise ScopeError(
                f"released() inside a session.begin() block or unit of {scope.title}",
                advice=["end the block first: its transaction cannot outlive the connection"],
                scope=scope.label,
            )
        scope.cannot_be_repeated("the connection was released for something else")
        if scope.state is OPEN:
            scope.state = RELEASED
        return scope, session

    @staticmethod
    def _resume(scope: Scope) -> None:
        if scope.state is RELEASED:
            scope.state = OPEN

    def reopen(self) -> None:
        """Open a closed database again, with a new pool of the same settings: an application may be started again."""
        if self._closed is not None:
            self._sync_engine.dispose(close=False)
            self._closed = None
            _open[id(self)] = self

    def _mark_closed(self, by: str | None) -> bool:
        """Close the front door; ``False`` if it was closed already."""
        if self._closed is not None:
            return False
        self._closed = by or f"close() was called at {caller()} in {running()}"
        _open.pop(id(self), None)
        return True

    def _refuse_engine(self, given: str, accepted: str) -> NoReturn:
        raise ConfigError(
            f"{type(self).__name__} got {given}",
            advice=[f"give it {accepted}", f"or use {self.other_kind}, which is made for it"],
            setting="url",
        )
