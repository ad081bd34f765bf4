"""Every exception of respool: a code, the facts as attributes, and the advice.

The first line of a message is enough in a log: what happened, and to which pool, scope or setting. The lines below it
give the numbers at that moment, the likely causes in order, and what to do. Whatever a message says in words is also an
attribute (and an item of ``facts``), so that code never has to parse text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "CallerGone",
    "CommitNotSent",
    "CommitOutcomeUnknown",
    "ConcurrentUse",
    "ConfigError",
    "ConnectFailed",
    "DetachedRead",
    "HookFailed",
    "MissingExtra",
    "NoScope",
    "PartialCommit",
    "PoolClosed",
    "PoolError",
    "PoolQueueFull",
    "PoolTimeout",
    "ReadOnly",
    "RespoolError",
    "RollbackOnly",
    "ScopeEnded",
    "ScopeError",
    "SelfDeadlock",
    "SharedConnectionLost",
    "UnawaitedLoad",
    "UncommittedChanges",
    "UnitError",
    "WrongScope",
]


class RespoolError(Exception):
    """Base of all that respool raises.

    Args:
        headline: what happened, in one line.
        now: the state at that moment, a line each.
        advice: likely causes and what to do about them, the likeliest first.
        facts: everything above as values; each becomes an attribute.
    """

    code: str = "R000"
    _advice_label: ClassVar[str] = "likely"
    #: Who is told of each error that is made, whoever catches it: what shows the state of things counts them.
    told: ClassVar[list[Callable[[RespoolError], object]]] = []

    def __init__(self, headline: str, *, now: Sequence[str] = (), advice: Sequence[str] = (), **facts: Any) -> None:
        Exception.__init__(self, headline)  # not super(): a subclass may also be one of SQLAlchemy's errors
        self.headline = headline
        self.now = tuple(now)
        self.advice = tuple(advice)
        self.facts: Mapping[str, Any] = facts
        for name, value in facts.items():
            setattr(self, name, value)
        for tell in self.told:
            tell(self)

    def __str__(self) -> str:
        lines = [f"[{self.code}] {self.headline}"]
        lines += [f"  now: {line}" for line in self.now]
        label = f"  {self._advice_label}: "
        lines += [f"{label if n == 1 else ' ' * len(label)}{n}. {line}" for n, line in enumerate(self.advice, 1)]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.headline, self.now, self.advice, dict(self.facts))


def _rebuild(
    kind: type[RespoolError], headline: str, now: Sequence[str], advice: Sequence[str], facts: dict[str, Any]
) -> RespoolError:
    return kind(headline, now=now, advice=advice, **facts)


class ConfigError(RespoolError, ValueError):
    """A setting is unknown, out of range, or at odds with another one. Raised at construction, before anything opens."""

    code = "C001"
    _advice_label = "do"


class MissingExtra(ConfigError, ModuleNotFoundError):
    """A package that this part of respool works with is not installed.

    Also a ``ModuleNotFoundError``.
    """

    code = "C002"
    name: str  #: the module that was not found
    extra: str | None  #: the extra of respool that brings it, if one does


class PoolError(RespoolError):
    """Base of what a pool raises."""

    code = "P000"
    pool: str  #: the pool's name


class PoolTimeout(PoolError):
    """No connection within the time that the caller was ready to wait.

    ``__cause__`` is the last error of a connect, when connecting is what failed.
    """

    code = "P001"
    timeout: float  #: seconds that the caller was ready to wait
    connect_error: str | None  #: the driver's words for why it could not connect, without passwords


class PoolClosed(PoolError):
    """The pool is closed, or was closed while the caller waited."""

    code = "P002"
    closed_by: str  #: who closed it


class PoolQueueFull(PoolError):
    """``max_waiting`` callers wait already; one more is refused at once."""

    code = "P003"
    max_waiting: int


class ConnectFailed(PoolError):
    """A connection could not be opened, and trying again would not help. ``__cause__`` is the driver's error."""

    code = "P004"
    connect_error: str  #: the driver's words, without passwords


class CallerGone(PoolError):
    """The client hung up while its request waited for a connection, so the request left the line.

    Nobody is there to read an answer: middleware ends the request in silence.
    """

    code = "P005"


class SharedConnectionLost(PoolError):
    """The connection that a test shares with its application is gone, or its transaction is: the test is void."""

    code = "P006"


class ScopeError(RespoolError):
    """Base of what is raised when a session is used where it does not belong."""

    code = "S000"


class NoScope(ScopeError):
    """A session was asked for where no request and no ``db.scope()`` is open."""

    code = "S001"


class ScopeEnded(ScopeError):
    """The request or scope that the session is bound to is over."""

    code = "S002"
    scope: str  #: label of the scope that is over


class WrongScope(ScopeError):
    """A session was used from another request or scope than the one that it is bound to."""

    code = "S003"
    scope: str  #: label of the scope that the session is bound to


class ConcurrentUse(ScopeError):
    """A second task or thread entered a session while the first was still inside."""

    code = "S004"
    owner: str  #: the task or thread inside
    intruder: str  #: the one that was refused


class RollbackOnly(ScopeError):
    """A commit was asked for in a scope that can only be rolled back any more."""

    code = "S005"


class ReadOnly(ScopeError):
    """Something was to be written where only reads are expected."""

    code = "S008"
    scope: str


class UncommittedChanges(RespoolError, UserWarning):
    """A scope ended with changes that nobody committed: they were rolled back. A warning, unless filters raise it."""

    code = "S006"
    scope: str
    changes: Sequence[str]  #: one line for each object or statement


class CommitOutcomeUnknown(RespoolError):
    """The connection broke while COMMIT was under way: the changes are saved, or they are not. Never retried by itself."""

    code = "S007"


class CommitNotSent(RespoolError):
    """The server had closed the connection before COMMIT was sent: nothing is saved. ``retry`` repeats it."""

    code = "S015"
    scope: str  #: label of the scope whose changes are not saved


class UnitError(ScopeError):
    """A unit of work is at odds with the one around it, or with what was done inside of it."""

    code = "S011"


class SelfDeadlock(ScopeError):
    """A second connection was asked for while those that wait like this hold all that the pool may have."""

    code = "S012"
    max_size: int  #: connections that the pool may have


class HookFailed(RespoolError):
    """A hook raised after its transaction was over. Logged, never raised: the outcome stays what it is."""

    code = "S013"
    hook: str  #: what was called


class PartialCommit(RespoolError):
    """Some of several databases were committed, and one after them failed. ``__cause__`` is the failure."""

    code = "S014"
    committed: Sequence[str]  #: names of the databases whose changes are saved
    failed: str  #: name of the database whose COMMIT failed
    rolled_back: Sequence[str]  #: names of those that were rolled back because of it


class DetachedRead(RespoolError):
    """What was not loaded was read from an object whose session had let go of it.

    Also SQLAlchemy's ``DetachedInstanceError``.
    """

    code = "O001"
    attribute: str  #: such as "Order.lines"
    object: str  #: class and primary key
    scope: str | None  #: label of the request or scope that the object came from
    place: str  #: file and line of the read


class UnawaitedLoad(RespoolError):
    """An async session would have had to wait for its database where nothing is awaited: at the read of an attribute.

    Also SQLAlchemy's ``MissingGreenlet``.
    """

    code = "O002"
    attribute: str | None  #: such as "Order.lines"; None if it was no read of an attribute
    object: str | None  #: class and primary key
    scope: str  #: the request or scope, in words
    place: str  #: file and line of the read
