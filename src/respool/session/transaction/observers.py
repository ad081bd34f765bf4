"""How a session tells what becomes of it: a protocol whose methods do nothing by default."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from sqlalchemy import orm
from sqlalchemy.util import await_only

from respool.errors import ConfigError
from respool.pool.telling.callbacks import is_for_the_caller
from respool.session.changes.change import ChangeSet
from respool.session.changes.log import ChangeLog

if TYPE_CHECKING:
    from sqlalchemy.orm import SessionTransaction


__all__ = ["News", "Observers", "SessionObserver"]

logger = logging.getLogger("respool.session")


class SessionObserver:
    """Subclass it, override what you want to hear of, and give it to ``db.observe()``.

    There is a method for each step of a session's life. They are called in the thread or task in which it happened,
    with the :class:`~respool.Session` that it happened to (on an ``AsyncDatabase`` too: the one with the rules, inside
    SQLAlchemy's greenlet). There ``committing``, ``committed`` and ``rolled_back`` may be coroutine functions, which get
    the ``AsyncSession``.

    An exception from ``committing`` fails the commit. From any other method it is logged and goes no further.
    """

    def created(self, session: Any) -> Any:
        """A session was made for a request or scope."""

    def working(self, session: Any) -> Any:
        """A transaction has begun."""

    def committing(self, session: Any, changes: ChangeSet) -> Any:
        """Everything is flushed and COMMIT comes next. What is added to the session here is part of the transaction."""

    def committed(self, session: Any, changes: ChangeSet) -> Any:
        """The outermost transaction was committed, and its connection is back in the pool."""

    def rolled_back(self, session: Any, lost: ChangeSet) -> Any:
        """A transaction was rolled back, and these changes with it."""

    def closed(self, session: Any) -> Any:
        """The session was closed; it may be used again."""

    def removed(self, session: Any) -> Any:
        """The request or scope is over, and the session with it."""


#: How whoever awaits an observer is cancelled.
_OF_COROUTINES = (asyncio.CancelledError, GeneratorExit)

#: The steps that run inside of a greenlet when the session is an async one, so that a coroutine can be awaited there.
_AWAITABLE = ("committing", "committed", "rolled_back")


class Observers:
    """The observers of one database. ``all`` is a tuple: adding makes a new one, so that telling needs no lock."""

    __slots__ = ("all",)

    #: For sessions that nobody observes.
    NOBODY: ClassVar[Observers]

    def __init__(self) -> None:
        self.all: tuple[Any, ...] = ()

    def add(self, observer: Any, *, asynchronous: bool) -> None:
        """Tell this one too.

        Raises:
            ConfigError: it is no ``SessionObserver``, or has a coroutine function where nothing could await it.
        """
        if not isinstance(observer, SessionObserver):
            _refuse(
                f"observe() got an object of type {type(observer).__name__}", "give it a SessionObserver", "observer"
            )
        for step in _coroutines(observer):
            if not asynchronous or step not in _AWAITABLE:
                _refuse(
                    f"{type(observer).__name__}.{step}() is a coroutine function, which nobody could await here",
                    f"write a plain function; on an AsyncDatabase these may be coroutine functions: {', '.join(_AWAITABLE)}",
                    step,
                )
        self.all = (*self.all, observer)

    def remove(self, observer: Any) -> None:
        """Tell this one no more."""
        self.all = tuple(each for each in self.all if each is not observer)

    def ask(self, step: str, session: Any, *what: Any) -> None:
        """Tell all; the first exception goes on to the caller."""
        for observer in self.all:
            _call(observer, step, session, what)

    def tell(self, title: str, step: str, session: Any, *what: Any) -> None:
        """Tell all; exceptions are logged, with the session's title. What is meant for the caller goes on when all were told."""
        order: BaseException | None = None
        for observer in self.all:
            try:
                _call(observer, step, session, what)
            except BaseException as error:
                if is_for_the_caller(error) or isinstance(error, _OF_COROUTINES):
                    order = order or error
                else:
                    logger.exception("%s: %s.%s() failed", title, type(observer).__name__, step)
        if order is not None:
            raise order


Observers.NOBODY = Observers()


class Observed(Protocol):
    """What there is to know of a session, as far as it is told."""

    @property
    def log(self) -> ChangeLog:
        """Its changes that have reached the database."""

    @property
    def observers(self) -> Observers:
        """Who is told."""

    def change_set(self, session: orm.Session) -> ChangeSet:
        """What would be lost by a rollback now."""

    def tell(self, step: str, session: orm.Session, *what: Any) -> None:
        """Tell them of a step."""


class News:
    """What the observers of one session have still to be told of the transaction that is open.

    A commit is told when the connection is back in the pool, a rollback with what there was before it.
    """

    __slots__ = ("_asking", "_committed", "_lost")

    def __init__(self) -> None:
        self._asking = 0  #: commits that have begun: of savepoints, and of the outermost transaction
        self._committed: ChangeSet | None = None
        self._lost: ChangeSet | None = None

    def begin(self, life: Observed) -> None:
        self.__init__()  # type: ignore[misc]
        life.log.holding = True

    def before_commit(self, life: Observed, session: orm.Session) -> None:
        self._asking += 1
        if not session.in_nested_transaction():
            try:
                self._ask(life, session)
            except BaseException:
                self._asking = 0
                raise

    def after_commit(self, life: Observed, session: orm.Session) -> None:
        self._asking -= 1
        if not session.in_nested_transaction():
            self._committed = life.change_set(session)

    def ended(self, life: Observed, session: orm.Session, transaction: SessionTransaction) -> None:
        """A transaction has ended; if that was a savepoint within a commit of the whole, the time to ask is now."""
        if transaction.parent is None:
            committed, self._committed = self._committed, None
            if committed is not None:
                life.tell("committed", session, committed)
        elif transaction.nested and self._asking and not session.in_nested_transaction():
            self._ask(life, session)

    def rolling_back(self, life: Observed, session: orm.Session) -> None:
        self._asking = 0
        if not session.in_nested_transaction():
            self._lost = life.change_set(session)

    def rolled_back(self, life: Observed, session: orm.Session) -> None:
        life.tell("rolled_back", session, self.lost(life, session))

    def lost(self, life: Observed, session: orm.Session) -> ChangeSet:
        """What goes with the transaction: as it was before a failed flush rolled back, if one has."""
        lost, self._lost = self._lost, None
        return lost if lost is not None else life.change_set(session)

    def _ask(self, life: Observed, session: orm.Session) -> None:
        session.flush()
        life.observers.ask("committing", session, life.change_set(session))


def _coroutines(observer: Any) -> Iterator[str]:
    for step in vars(SessionObserver):
        if not step.startswith("_") and inspect.iscoroutinefunction(getattr(observer, step, None)):
            yield step


def _call(observer: Any, step: str, session: Any, what: tuple[Any, ...]) -> None:
    method = getattr(observer, step)
    if inspect.iscoroutinefunction(method):
        from sqlalchemy.ext.asyncio import async_session

        await_only(method(async_session(session), *what))
    else:
        method(session, *what)


def _refuse(headline: str, advice: str, setting: str) -> NoReturn:
    raise ConfigError(headline, advice=[advice], setting=setting)
