"""Units of work within a session: what joins what, who commits, and which failure dooms whom.

A unit is *outermost*: it commits the session's transaction at its end, or rolls it back. Or it *joins* the unit or
``session.begin()`` block around it, and leaves that to it. Or it is a *savepoint* in it. The rules are here, once; how a
unit is entered and left without blocking is in ``unit_blocks.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Engine, orm

from respool.errors import ReadOnly, RollbackOnly, UnitError
from respool.session.changes.log import UNSCOPED
from respool.session.life import life_of

if TYPE_CHECKING:
    from sqlalchemy.orm import SessionTransaction

    from respool.scope.scope import Scope

__all__ = ["Unit", "UnitOptions", "Units"]


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """What is asked of a unit. See :meth:`respool.Session.unit`."""

    savepoint: bool = False
    new: bool = False
    isolation: str | None = None
    read_only: bool | None = None

    def __post_init__(self) -> None:
        if self.savepoint and self.new:
            raise UnitError(
                "a unit can be a savepoint or new, not both",
                advice=["savepoint=True keeps the connection of the unit around it, new=True takes one of its own"],
            )
        if self.isolation is not None:
            object.__setattr__(self, "isolation", self.isolation.upper().replace("_", " "))

    @property
    def alone(self) -> UnitOptions:
        """The same in a scope of its own."""
        return UnitOptions(isolation=self.isolation, read_only=self.read_only)

    @property
    def mode(self) -> Mode | None:
        """How its transaction is to be, if anything was asked."""
        if self.isolation is None and self.read_only is None:
            return None
        return Mode(self.isolation, bool(self.read_only))


@dataclass(frozen=True, slots=True)
class Mode:
    """How a transaction is: its isolation level, ``None`` for the engine's, and whether it may write."""

    isolation: str | None
    read_only: bool

    def __str__(self) -> str:
        return f"{self.isolation or 'the default level'}{', read only' if self.read_only else ''}"

    def engine(self, engine: Engine) -> Engine:
        """The engine, with the options by which its connections become so."""
        options: dict[str, Any] = {}
        if self.isolation is not None:
            options["isolation_level"] = self.isolation
        if self.read_only and engine.dialect.name == "postgresql":
            options["postgresql_readonly"] = True
        return engine.execution_options(**options) if options else engine


@dataclass(slots=True, eq=False)
class Unit:
    """One unit that is open.

    Attributes:
        place: ``file:line`` of its block or function.
        outermost: it commits.
        savepoint: its savepoint, if it has one.
    """

    place: str
    outermost: bool
    savepoint: SessionTransaction | None = None

    @property
    def joined(self) -> bool:
        """Whether it leaves the end to the one around it."""
        return not self.outermost and self.savepoint is None


@dataclass(frozen=True, slots=True)
class Doom:
    """Why a transaction can only be rolled back: an exception that came through a unit which had joined it."""

    place: str
    error: BaseException


class Units:
    """The units of one session.

    Args:
        scope: whose session it is.
    """

    __slots__ = ("_bound", "_dooms", "_open", "_reading_before", "_scope", "mode")

    def __init__(self, scope: Scope | None) -> None:
        self._scope = scope
        self.mode: Mode | None = None  #: of the transaction of the units that are open, if one was asked for
        self._open: list[Unit] = []
        self._dooms: dict[SessionTransaction | None, Doom] = {}  # by savepoint; None: the outermost transaction
        self._bound: dict[Engine, Engine] = {}
        self._reading_before = False

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def title(self) -> str:
        """Whose session it is, in words."""
        return self._scope.title if self._scope is not None else UNSCOPED

    # -- in and out -----------------------------------------------------------------------------------------------

    def enter(self, session: orm.Session, options: UnitOptions, place: str) -> Unit:
        """Begin a unit that is not new.

        Raises:
            UnitError: what is asked is at odds with the transaction that it would join.
        """
        life = life_of(session)
        unit = Unit(place, outermost=not life.in_begin_block(session))
        mode = options.mode
        if mode is not None:
            self._agree(session, options, mode)
        if options.savepoint and not unit.outermost:
            unit.savepoint = session.begin_nested()
        elif mode is not None and not self._open:
            self.mode = mode
            self._reading_before, life.reading = life.reading, life.reading or mode.read_only
            session._autobegin_t()  # so that reads do not lease: they are to see one state of the database
        self._open.append(unit)
        return unit

    def leave(self, session: orm.Session, unit: Unit, error: BaseException | None) -> None:
        """End a unit: commit, release its savepoint, or roll back.

        Args:
            session: the units' session.
            unit: one that is open.
            error: the exception that comes out of it, if any.

        Raises:
            RollbackOnly: an exception had come through a unit that joined this one.
            ReadOnly: the unit was to read only, and something was changed.
            UnitError: a unit inside of it is still open.
        """
        if unit not in self._open:
            if error is None:
                self._refuse_ended(unit)
            return
        inner = self._pop(unit)
        if error is None and inner:
            error = UnitError(
                f"a unit of {self.title} ended while one inside of it was open",
                now=[f"ended: the unit at {unit.place}", f"open: the unit at {inner[-1].place}"],
                advice=["end units in the order in which they began: await what has one before leaving the outer one"],
                scope=self.title,
            )
        try:
            if error is None:
                self._complete(session, unit)
            elif unit.joined:
                self._dooms.setdefault(session.get_nested_transaction(), Doom(unit.place, error))
            else:
                _undo(session, unit)
        finally:
            if not self._open:
                self._release_mode(session)
        if inner and isinstance(error, UnitError):
            raise error

    def _refuse_ended(self, unit: Unit) -> NoReturn:
        raise UnitError(
            f"a unit of {self.title} was left that had ended already, with the one around it",
            now=[f"the unit at {unit.place}"],
            advice=["end units in the order in which they began: await what has one before leaving the outer one"],
            scope=self.title,
        )

    def _pop(self, unit: Unit) -> list[Unit]:
        """Take a unit off, and those that are inside of it, which are returned."""
        at = self._open.index(unit)
        inner = self._open[at + 1 :]
        del self._open[at:]
        return inner

    def _complete(self, session: orm.Session, unit: Unit) -> None:
        if unit.joined:
            return
        try:
            if unit.savepoint is not None:
                unit.savepoint.commit()
            else:
                self._refuse_changes(session)
                session.commit()
        except BaseException:
            _undo(session, unit)
            raise

    def _refuse_changes(self, session: orm.Session) -> None:
        if self.mode is not None and self.mode.read_only and (lines := life_of(session).changes(session).lines()):
            raise ReadOnly(
                f"{len(lines)} change{'s' if len(lines) > 1 else ''} inside a read-only unit of {self.title}",
                now=lines,
                advice=["leave read_only out, or do the writing in another unit"],
                scope=self.title,
            )

    def _release_mode(self, session: orm.Session) -> None:
        if self.mode is not None:
            self.mode = None
            self._bound.clear()
            life_of(session).reading = self._reading_before

    # -- the transaction ------------------------------------------------------------------------------------------

    def bound(self, engine: Any) -> Any:
        """What connections come from while a :attr:`mode` is in force."""
        if self.mode is None or not isinstance(engine, Engine):
            return engine
        if engine not in self._bound:
            ours = self._bound[engine] = self.mode.engine(engine)
            self._bound[ours] = ours  # a get_bind() of the user's and ours may both come here
        return self._bound[engine]

    def before_commit(self, session: orm.Session) -> None:
        """Refuse the COMMIT, or the release of a savepoint, that would save half of something.

        Raises:
            RollbackOnly: an exception came through a unit that had joined.
        """
        doom = self._dooms.get(session.get_nested_transaction())
        if doom is None:
            return
        what = f"{type(doom.error).__name__} came through the unit at {doom.place}, which had joined"
        raise RollbackOnly(
            f"{self.title} can only be rolled back any more: {what}",
            now=[f"{type(doom.error).__name__}: {doom.error}"],
            advice=[
                "let the exception go on: the unit around would have rolled back, and this error would not be",
                "where it is meant to be caught, give the inner unit savepoint=True: only that is rolled back then",
            ],
            scope=self.title,
            reason=what,
            unit=doom.place,
            error=doom.error,
        ) from doom.error

    def ended(self, transaction: SessionTransaction | None) -> None:
        """A transaction, ``None`` for the outermost one, was committed or rolled back."""
        self._dooms.pop(transaction, None)

    def refuse(self, what: str) -> None:
        """Refuse to end the transaction under the units that are open.

        Args:
            what: was called.

        Raises:
            UnitError: there are any.
        """
        if self._open:
            raise UnitError(
                f"{what} inside a unit of {self.title}",
                now=[f"open: the unit at {unit.place}" for unit in self._open],
                advice=[
                    "leave the unit: it commits at its end, and rolls back if an exception comes out of it",
                    "what is to be taken back alone belongs into a unit of its own: session.unit(savepoint=True)",
                    "what is to be saved at once, whatever comes, into session.unit(new=True)",
                ],
                scope=self.title,
            )

    # -- agreement ------------------------------------------------------------------------------------------------

    def _agree(self, session: orm.Session, options: UnitOptions, asked: Mode) -> None:
        if not self._open:
            if life_of(session).holds_connection:
                self._refuse_mode(asked, "the transaction of the session has begun already")
            return
        outer = self.mode or Mode(None, read_only=False)
        isolation = outer.isolation or _default_level(session)
        if options.isolation is not None and options.isolation != isolation:
            self._refuse_mode(asked, f"the unit around it has {outer}")
        if options.read_only is not None and options.read_only != outer.read_only:
            self._refuse_mode(asked, f"the unit around it {'only reads' if outer.read_only else 'may write'}")

    def _refuse_mode(self, asked: Mode, reason: str) -> NoReturn:
        raise UnitError(
            f"a unit of {self.title} asked for {asked}, and {reason}",
            now=[f"open: the unit at {unit.place}" for unit in self._open],
            advice=[
                "ask for it where the outermost unit begins, before its first statement",
                "or take a transaction of its own: new=True",
            ],
            scope=self.title,
        )


def _undo(session: orm.Session, unit: Unit) -> None:
    if unit.savepoint is None:
        session.rollback()
    elif unit.savepoint._rollback_can_be_called():
        unit.savepoint.rollback()


def _default_level(session: orm.Session) -> str | None:
    """The isolation level of transactions that asked for none, as far as it is known."""
    bind: Any = session.get_bind()
    level = bind.get_execution_options().get("isolation_level") or bind.dialect._on_connect_isolation_level
    found: str | None = level or getattr(bind.dialect, "default_isolation_level", None)
    return found
