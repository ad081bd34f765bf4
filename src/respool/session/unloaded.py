"""Reading what is not loaded any more: SQLAlchemy's two errors of it, told with where the object came from.

``DetachedInstanceError`` is raised from within a read of the user's, where no code of ours is on the way. So the class
itself learns to look: when one is made, for an object that one of our sessions has let go of, it becomes a
:class:`DetachedRead`. Nothing is wrapped, and a read that succeeds costs what it did. All that a session does for it is
to leave a note with the objects that it lets go of.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import inspect
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import InstanceState, InstrumentedAttribute
from sqlalchemy.orm.exc import DetachedInstanceError

from respool import errors
from respool.session.changes.states import describe
from respool.whereabouts import caller, running

if TYPE_CHECKING:
    from respool.scope.scope import Scope

__all__ = ["END", "DetachedRead", "UnawaitedLoad", "not_awaited", "note", "taken_away", "teach"]

#: What everybody searches for who has met this error before.
_SAID = str(MissingGreenlet("greenlet_spawn has not been called; can't call await_only() here"))

#: How objects leave a session when nobody has asked for it.
END = "at its end"

#: The frames of a read or write of an attribute: their locals are the attribute and the object.
_ACCESS = frozenset(
    method.__code__
    for method in (InstrumentedAttribute.__get__, InstrumentedAttribute.__set__, InstrumentedAttribute.__delete__)
)


class DetachedRead(errors.DetachedRead, DetachedInstanceError):  # type: ignore[misc]  # both have a code: ours wins
    """Also SQLAlchemy's ``DetachedInstanceError``."""


class UnawaitedLoad(errors.UnawaitedLoad, MissingGreenlet):  # type: ignore[misc]  # both have a code: ours wins
    """Also SQLAlchemy's ``MissingGreenlet``."""


class _Note(NamedTuple):
    """What an object that was let go of knows of its session. It must not keep the session."""

    scope: Scope | None
    how: str  #: ``"by session.close() at shop.py:12"``
    when: float
    asynchronous: bool


class _Access(NamedTuple):
    """An attribute of an object, being read or written."""

    name: str
    state: InstanceState[Any]

    @property
    def attribute(self) -> str:
        return f"{self.state.class_.__name__}.{self.name}"

    @property
    def object(self) -> str:
        return describe(self.state, self.state.key)

    @property
    def variable(self) -> str:
        return self.state.class_.__name__.lower()

    @property
    def relationship(self) -> Any:
        return self.state.mapper.relationships.get(self.name)

    @property
    def missing(self) -> str:
        """Why there is something to load."""
        if self.relationship is not None:
            return "the relationship was not loaded"
        return "its value had expired" if self.name in self.state.expired_attributes else "the column was deferred"

    def advice(self, *, asynchronous: bool) -> list[str]:
        """How to have it loaded, the best first."""
        relationship, model = self.relationship, self.state.class_.__name__
        if relationship is not None:
            option = "selectinload" if relationship.uselist else "joinedload"
            first = f"load it together with the object: select({model}).options({option}({self.attribute}))"
        elif self.name in self.state.expired_attributes:
            first = (
                "values expire at rollback(), expire(), where the database makes them,"
                " and at commit() only with expire_on_commit=True: read what you need before"
            )
        else:
            first = f"load it together with the object: select({model}).options(undefer({self.attribute}))"
        call = f'{"await " if asynchronous else ""}session.refresh({self.variable}, ["{self.name}"])'
        return [first, f"or in time, while the object is in its session: {call}"]


def note(states: Iterable[InstanceState[Any]], scope: Scope | None, how: str, *, asynchronous: bool) -> None:
    """A session lets go of objects: remember with each of them which one, when and how.

    Args:
        states: SQLAlchemy's records of the objects.
        scope: whose session it is.
        how: what was done, in words.
        asynchronous: whether it is an async one.
    """
    remembered = _Note(scope, how, time.monotonic(), asynchronous)
    for state in states:
        state.respool_note = remembered  # type: ignore[attr-defined]


def not_awaited(title: str) -> UnawaitedLoad:
    """The error to raise where an async session would have to wait, and nobody awaits it."""
    access, place = _access(), caller()
    if access is not None:
        return UnawaitedLoad(
            f"{access.attribute} of {access.object} was read in code that does not await: {access.missing}",
            now=[
                f"read at {place} in {running()}",
                f"the object is in the session of {title}",
                f"SQLAlchemy: {_SAID}",
            ],
            advice=[
                *access.advice(asynchronous=True),
                f"or await it there: await session.run_sync(lambda _: {access.variable}.{access.name})",
            ],
            attribute=access.attribute,
            object=access.object,
            scope=title,
            place=place,
        )
    return UnawaitedLoad(
        f"the session of {title} had to wait for its database in code that does not await",
        now=[f"used at {place} in {running()}", f"SQLAlchemy: {_SAID}"],
        advice=[
            "use the AsyncSession itself: await session.execute(…), not session.sync_session.execute(…)",
            "or pass the function that needs a sync session: await session.run_sync(function)",
        ],
        attribute=None,
        object=None,
        scope=title,
        place=place,
    )


def teach() -> None:
    """Have every ``DetachedInstanceError`` look whether it is about an object of ours."""
    plain = DetachedInstanceError.__init__

    def look(self: DetachedInstanceError, *args: Any, **keywords: Any) -> None:
        plain(self, *args, **keywords)
        access = _access() if type(self) is DetachedInstanceError else None
        remembered = getattr(access.state, "respool_note", None) if access is not None else None
        if access is not None and remembered is not None:
            said = str(self)
            self.__class__ = DetachedRead
            _explain(self, access, remembered, said)

    DetachedInstanceError.__init__ = look  # type: ignore[method-assign,assignment]


def _explain(error: Any, access: _Access, remembered: _Note, said: str) -> None:
    scope, how, when, asynchronous = remembered
    title = scope.title if scope is not None else "a session without a scope"
    age, place = time.monotonic() - when, caller()
    block = f'{"async with" if asynchronous else "with"} db.scope("…") as session'
    errors.RespoolError.__init__(
        error,
        f"{access.attribute} of {access.object} was read after its session had let go of it: {access.missing}",
        now=[
            f"read at {place} in {running()}",
            f"the object came from the session of {title}, which let go of it {age:.1f} s ago {how}",
            f"SQLAlchemy: {said}",
        ],
        advice=[
            *access.advice(asynchronous=asynchronous),
            f"or take the object into a session of its own, by its key: {block}",
        ],
        attribute=access.attribute,
        object=access.object,
        scope=scope.label if scope is not None else None,
        database=scope.database if scope is not None else None,
        place=place,
        detached=how,
        age=age,
    )


def _access() -> _Access | None:
    """The attribute that is being read or written here, if any."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in _ACCESS:
            found = frame.f_locals
            return _Access(found["self"].key, inspect(found["instance"]))
        frame = frame.f_back  # type: ignore[assignment]
    return None


def taken_away(scope: Scope) -> errors.RollbackOnly:
    """What is told at the end of a request whose changes were rolled back after its answer had been made."""
    reason = "what was to be saved with its answer was rolled back after that had been made"
    return errors.RollbackOnly(
        f"{scope.title} can only be rolled back any more: {reason}",
        now=[f"rolled back at {caller()} in {running()}", *(scope.sealed.lines if scope.sealed is not None else ())],
        advice=[
            "leave rollback() and close() to the end of the request, which does both",
            "what cleans up and writes has a scope of its own: with db.scope(…) (async with on AsyncDatabase)",
            "or commit in the handler",
        ],
        scope=scope.title,
        reason=reason,
    )
