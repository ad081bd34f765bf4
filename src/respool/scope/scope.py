"""The scope: one request, or one ``db.scope()`` block, as one database sees it.

A scope is put into a ``ContextVar`` when it opens and never afterwards; whatever is made later goes *into* the scope.
So threads and tasks that run with a copy of the context share it, and a session that was made in one is seen by all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from copy import copy
from enum import Enum
from typing import Any, NoReturn
from weakref import ref

from respool.errors import RespoolError, ScopeEnded, WrongScope
from respool.scope.contracts import Account, MakesWay, Owner, Tenant
from respool.scope.policy import CommitPolicy
from respool.whereabouts import Client, Place, caller, client, handler_name, label, running

__all__ = [
    "ENDED",
    "FINISHING",
    "OPEN",
    "RELEASED",
    "CurrentScope",
    "LiveScopes",
    "Scope",
    "ScopeState",
    "put_back",
]


class ScopeState(Enum):
    """Where a scope is in its life: NEW → OPEN ⇄ RELEASED → FINISHING → ENDED."""

    NEW = "new"  #: nobody has asked for a session yet
    OPEN = "open"  #: it has a session
    RELEASED = "released"  #: inside ``db.released()``: the connection is back in the pool meanwhile
    FINISHING = "finishing"  #: the end is under way
    ENDED = "ended"  #: over; its session refuses


#: The states by their names: Python takes three times as long to find a member in its class.
NEW, OPEN, RELEASED, FINISHING, ENDED = ScopeState


class Scope:
    """One request or ``db.scope()`` block, as one database sees it.

    Args:
        database: the database's name.
        label: what people call it: ``"GET /orders/3"``, ``"nightly"``.
        current: the database's variable that holds the scope in force.
        live: the database's scopes that have a session.
        owner: the database itself.
        policy: what happens to uncommitted changes at the end.
        place: ``file:line`` of the ``db.scope()`` block; ``None`` for a request.
        parent: the live scope around a ``db.scope()`` block; requests have none.
    """

    # What begins with the same value in every scope stands here: each attribute less makes a scope cheaper.
    state = NEW
    session: Any = None  #: the session with all the rules
    life: Any = None  #: what there is to know of it: a ``Tenant``
    face: Any = None  #: what users hold: the same session, or the async one around it
    forked_from: int | None = None  #: the process that it belongs to, where that is not this one
    doomed: str | None = None  #: why this scope can only be rolled back any more
    due: MakesWay | None = None  #: what has to be done before a scope is opened within this one
    failure: BaseException | None = None  #: what has failed in it, so that nothing of it is committed any more
    method: str | None = None  #: of a request
    sealed: Any = None  #: what is to be committed, when the answer is made
    taken: RespoolError | None = None  #: somebody has rolled it back nevertheless
    irreversible: str | None = None  #: why what is done in it cannot be done once more from the start
    children: set[Scope] | None = None  #: forks that are not over
    handler: Any = None  #: the function that answers a request, where its framework has told
    client: Client | None = None  #: for whom a request is answered, where the server tells of its departure
    waits: Callable[[], None] | None = None  #: refused already; its end waits for the answer's first part, or this call
    maker: int | None = None  #: the thread in which its session is being made
    status: int | None = None  #: of a request's answer, as far as it is known
    route: str | None = None  #: the template that a request's path fits, where its framework has told
    asked: Place | None = None  #: where the session of a request was first asked for, if that was near
    _previous: Scope | None = None
    _around: Tenant | None = None  #: inside of which it is in force

    def __init__(
        self,
        database: str,
        label: str,
        current: CurrentScope,
        live: LiveScopes,
        *,
        owner: Owner = None,  # type: ignore[assignment]  # tests have scopes of no database
        policy: CommitPolicy = "manual",
        place: Place | str | None = None,
        parent: Scope | None = None,
    ) -> None:
        self.database = database
        self.label = label
        self.policy = policy
        self.owner = owner
        self._place = place
        self.is_request = place is None  #: else it is a block
        self.parent = parent
        self.started = time.monotonic()
        self.variable = current  #: the database's, which holds the scope in force
        self._live = live
        self.account: Account | None = None  #: what is noted of it, where somebody takes notes

    def __repr__(self) -> str:
        return f"<Scope {self.title}: {self.state.value}, database {self.database!r}>"

    @property
    def place(self) -> str | None:
        """``file:line`` of the ``db.scope()`` block; ``None`` for a request."""
        return None if self._place is None else str(self._place)

    @property
    def title(self) -> str:
        """``request POST /orders``, or ``scope 'nightly' (jobs.py:12)``."""
        return f"request {self.label}" if self._place is None else f"scope {self.label!r} ({self.place})"

    def describe(self, what: str) -> str:
        """``what`` happened, with all that is known of the request and its handler."""
        handler = getattr(self.client, "handler", lambda: None)() if self.handler is None else self.handler
        asked = self.asked
        return (
            f"{what} of {self.title}"
            + (f", handler {handler_name(handler)}" if handler is not None else "")
            + (f", whose session was first asked for at {asked} in {asked.function}()" if asked else "")
        )

    @property
    def age(self) -> float:
        """Seconds since the scope was opened."""
        return time.monotonic() - self.started

    @property
    def phase(self) -> str:
        """The session's phase as a word."""
        if self.life is not None:
            return str(self.life.phase.value)
        return "removed" if self.state is ENDED else "created"

    @property
    def objects(self) -> Mapping[Any, int]:
        """How many objects the session tracks in each state; safe to be asked from another thread."""
        session, life = self.session, self.life
        if session is None or life is None:
            return {}
        for _ in range(3):
            try:
                return {state: len(objects) for state, objects in life.objects(session).items()}
            except RuntimeError:  # the session's own thread changed something while we were counting
                continue
        return {}

    @property
    def live(self) -> bool:
        """Whether the scope's session may still be used."""
        state = self.state
        return state is not ENDED and state is not FINISHING and self.waits is None

    @property
    def siblings(self) -> LiveScopes:
        """The database's scopes that have a session."""
        return self._live

    def adopt(self, child: Scope) -> None:
        """Have a scope end with this one at the latest.

        Raises:
            ScopeEnded: this one is over.
            WrongScope: the scope in force here is a stranger to this one. Where none is, a thread begins its work.
        """
        if self.variable.get() is not None:
            self.require_usable()
        with _adopting:  # two threads may fork at once
            self.children = self.children if self.children is not None else set()
            self.children.add(child)
        if not self.live:  # looked at last: its end, under way in another thread, may not have seen the child
            self.children.discard(child)
            self.refuse_ended()

    def fork(self, label: str, place: str) -> Scope:
        """A child, for work beside that of this one; it ends by the same rule, and with this one at the latest.

        Raises:
            ScopeEnded, WrongScope: as :meth:`adopt`.
        """
        child = Scope(
            self.database,
            f"{self.label} > {label}",
            self.variable,
            self._live,
            owner=self.owner,
            policy=self.policy,
            place=place,
            parent=self,
        )
        self.adopt(child)
        return child

    def family(self) -> list[Scope]:
        """This scope and what has to end before it, in that order."""
        if not self.children:
            return [self]
        return [*(scope for child in self.children.copy() for scope in child.family()), self]

    def doom(self, reason: str) -> None:
        """From now on the scope can only be rolled back; ``commit()`` raises ``RollbackOnly`` with this reason."""
        self.doomed = self.doomed or reason

    def cannot_be_repeated(self, reason: str) -> None:
        """From now on a failure in it, or in a scope around it, is no reason to do all of it once more."""
        scope: Scope | None = self
        while scope is not None:
            scope.irreversible = scope.irreversible or reason
            scope = scope.parent

    def attach(self, session: Any, face: Any, life: Tenant) -> None:
        """The scope has a session from here on."""
        self.session = session
        self.life = life
        self.face = face
        self.state = OPEN
        self._live.add(ref(self, self._live.discard))

    def end(self) -> None:
        """The scope is over, and the session no longer its own."""
        self.state = ENDED
        self._live.discard(ref(self))
        if self.parent is not None and self.parent.children:
            self.parent.children.discard(self)
        self.session = None
        self.face = None
        self.life = None
        if self.account is not None:
            self.account.over(self)

    def answers(self, status: int) -> None:
        """The status of the answer is known, for whoever takes notes, now or from now on."""
        self.status = status
        if self.account is not None:
            self.account.status = status

    def seal(self, status: int) -> None:
        """The answer is made: no clean-up takes away what is to be committed, or it is no success any more.

        Args:
            status: the answer's.
        """
        self.status = status  # as answers(), written out
        if self.account is not None:
            self.account.status = status
        saves = self.live and status < 400 and self.policy != "manual" and self.failure is None
        if saves and self.session is not None and self.life is not None:
            self.sealed = self.life.to_be_sealed(self.session)

    def go_on(self, failure: BaseException | None, *, anew: bool) -> None:
        """After what might have been the end, the scope can be used again.

        Args:
            failure: why nothing that is done in it is committed any more, if so.
            anew: with another session, since the one that it had is lost.
        """
        self.failure = self.failure or failure
        if anew and self.life is not None:
            self.life.scope = copy(self)
            self.life.scope.account = None  # it goes on with this one
            self.life.scope.end()
            self._live.discard(ref(self))
            self.session = self.face = self.life = None
        self.state = OPEN if self.session is not None else NEW

    def forget(self) -> None:
        """This is a forked child: the scope, its session and the connection belong to the parent, and stay as they are."""
        self.state = ENDED
        self.forked_from = os.getppid()
        self._live.discard(ref(self))
        if self.session is not None and self.life is not None:
            self.life.forget(self.session)
            self.session = self.face = self.life = None

    # -- the scope in force ---------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Put this scope in force here, whatever was in force before.

        Raises:
            SelfDeadlock: the session around it holds a connection, and the pool could run dry of such.
        """
        if self.parent is not None and self.parent.life is not None:
            self._enter_nested(self.parent.life)
        self._previous = self.variable.get()
        if self._previous is not None and self._previous.waits is not None and self._place is not None:
            self._previous.waits()
        self.variable.set(self)
        label.set(self.label)
        if self.client is not client.get():
            client.set(self.client)

    @property
    def outer(self) -> Scope | None:
        """The scope that was in force where this one was entered, if there was one and it is not over."""
        return self._previous if self._previous is not None and self._previous.live else None

    def leave(self) -> None:
        """Put back in force what was before, with all that was opened within and is in force still.

        Not by token: the end may run in a copy of the context. It may also run where this scope is not in force at all, when
        a generator with a block in it is closed, or collected, in the midst of somebody else's work: that goes on in its own.
        """
        here = self.variable.get()
        while here is not None and here is not self:
            here = here._previous
        if here is self:
            previous, self._previous = self._previous, None
            self.variable.set(previous)
            label.set(previous.label if previous is not None else None)
            outer = previous.client if previous is not None else None
            if outer is not client.get():
                client.set(outer)
        if self._around is not None:
            around, self._around = self._around, None
            self.owner.nesting.leave(around)

    def _enter_nested(self, around: Tenant) -> None:
        try:
            self.owner.nesting.enter(around, self.owner.max_connections, str(self._place))
        except BaseException:
            self.end()
            raise
        self._around = around

    # -- refusals -------------------------------------------------------------------------------------------------

    def require_usable(self) -> None:
        """Refuse unless this scope is alive and in force here, by itself or around the one in force.

        Raises:
            ScopeEnded: the request or scope is over.
            WrongScope: another one is in force here, or none.
        """
        if self.state is ENDED or self.waits is not None:
            self.refuse_ended()
        here = self.variable.get()
        while here is not self:
            if here is None:
                self._refuse_stranger()
            here = here.parent

    def refuse_ended(self) -> NoReturn:
        """Raise the error of a scope that is over, or was never in this process."""
        if self.forked_from is not None:
            self.refuse_elsewhere(
                "in a forked child of its process",
                f"this is process {os.getpid()}, a child of process {self.forked_from}",
                "a child of a fork has its parent's memory, and not its connections: open a scope of its own there",
            )
        raise ScopeEnded(
            f"the session of {self.title} was used after its end",
            now=[f"used at {caller()} in {running()}", f"database {self.database!r}"],
            advice=[
                "read what the answer needs before it starts: streaming bodies and background tasks run after the end",
                'open a scope of its own there: with db.scope("export") as session (async with on AsyncDatabase)',
            ],
            scope=self.label,
            database=self.database,
        )

    def _refuse_stranger(self) -> NoReturn:
        here = self.variable.get()
        more = (_YIELDED,) if not self.is_request and (here is None or here.is_request) else ()
        self.refuse_elsewhere(
            f"from {here.title}" if here is not None else "outside any request or scope",
            f"database {self.database!r}",
            "do not keep a session in a global, a cache or another object that outlives the request: ask db.session",
            *more,
        )

    def refuse_elsewhere(self, elsewhere: str, now: str, *advice: str) -> NoReturn:
        """Raise the error of a session that does not belong where it was used."""
        raise WrongScope(
            f"the session of {self.title} was used {elsewhere}",
            now=[f"used at {caller()} in {running()}", now],
            advice=[*advice, 'in a thread, task or process of its own, open a scope: with db.scope("job") as session'],
            scope=self.label,
            database=self.database,
            used_from=elsewhere.removeprefix("from "),
        )


#: What a framework has called in a thread, with a copy of the context that is gone when it has yielded.
_YIELDED = (
    "a dependency that yields the session of its own block is entered in another context than the handler's: let it be that"
    " of the request, Depends(session_of(db)) after install(app, db) of respool.web.fastapi; or make it async def"
)

#: Held while a scope gets its first child.
_adopting = threading.Lock()

#: The type of each database's variable.
CurrentScope = ContextVar[Scope | None]


def put_back(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Set a variable to what it was, where it was set: what is closed, or collected, elsewhere leaves that as it is."""
    try:
        variable.reset(token)
    except ValueError:
        """Another context: somebody else's work goes on there."""


class LiveScopes:
    """The scopes of one database that have a session now. Weak: a scope that everybody dropped is not kept alive."""

    __slots__ = ("_scopes", "add", "discard")

    def __init__(self) -> None:
        self._scopes: set[ref[Scope]] = set()
        self.add, self.discard = self._scopes.add, self._scopes.discard  #: called for every session: with a reference

    def __iter__(self) -> Iterator[Scope]:
        # copied in one step, so that other threads may add and discard meanwhile
        scopes = (reference() for reference in self._scopes.copy())
        return iter(sorted((s for s in scopes if s is not None), key=lambda s: s.started))
