"""What is noted of one scope: how long it waited, held a connection, and executed; and of each use that it made of one.

Written by whoever works in the scope, read by whoever looks on from another thread: each field is written in one step, and
what is read is true of some moment.  All is bounded: a scope that runs for a day takes no more room than one of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from respool.pool.drivers.clock import Clock
from respool.whereabouts import Place, users_line

__all__ = ["SHORT", "Account", "Event", "Repeated", "Use"]

#: How many steps of one scope are kept for its timeline, and how many of them may be statements, so that there is room
#: for a COMMIT after any number of those; and how many different statements for what repeats.
_EVENTS = 60
_SQL_EVENTS = 48
_STATEMENTS = 100
#: A statement's text is kept up to so many characters.
SHORT = 600

now = Clock.now


class Event(NamedTuple):
    """One step on a scope's timeline. Times are seconds of the pool's clock."""

    kind: str  #: ``wait``, ``hold``, ``sql`` or ``commit``
    began: float
    ended: float
    text: str | None = None  #: the statement, without its parameters
    place: Place | None = None


class Repeated(NamedTuple):
    """A statement that was executed more than once from one line."""

    times: int
    text: str
    place: Place


class Use:
    """One use of a connection, from taking it to giving it back.

    Args:
        account: the scope's.
        place: the user's line that took it.
    """

    __slots__ = (
        "__weakref__", "_account", "_executing", "began", "executed", "place", "seconds_in_sql", "text", "until",
    )  # fmt: skip

    def __init__(self, account: Account, place: Place | None) -> None:
        self._account = account
        self._executing = False
        self.place = place
        self.began = self.until = now()  #: ``until``: when the last statement ended, or the present one began
        self.executed = 0
        self.seconds_in_sql = 0.0
        self.text: str | None = None

    @property
    def account(self) -> Account:
        """The scope's."""
        return self._account

    @property
    def is_executing(self) -> bool:
        """Whether a statement or a COMMIT is being executed now."""
        return self._executing

    @property
    def idle_since(self) -> float | None:
        """Since when it has been held with nothing being executed; ``None`` while something is."""
        return None if self._executing else self.until

    def begin(self, statement: str) -> None:
        """A statement is sent to the driver. The first comes from the line that took the connection."""
        place = users_line() if self.executed else self.place
        self.text = statement if len(statement) <= SHORT else statement[:SHORT] + "…"
        self._executing = True
        self.executed += 1
        self.until = now()
        self._account.executes(self.text, place)

    def end(self, *, alone: bool) -> None:
        """The driver has answered."""
        began, self.until = self.until, now()
        self._executing = False
        self.seconds_in_sql += self.until - began
        account = self._account
        account.seconds_in_sql += self.until - began
        account.leases += alone
        account.note("sql", began, self.until, self.text)

    def commit(self, run: Callable[[], object], work: Any) -> None:
        """A COMMIT of a session's transaction, and what became of it."""
        began, account = now(), self._account
        self._executing = True
        try:
            run()
        except BaseException:
            account.outcomes["unknown" if work.unknown else "failed"] += 1
            raise
        else:
            account.outcomes["committed"] += 1
        finally:
            self._executing, self.until = False, now()
            self.seconds_in_sql += self.until - began
            account.seconds_in_sql += self.until - began
            account.note("commit", began, self.until, None)

    def leased(self) -> None:
        """It was for one plain read, which had a transaction of its own."""
        self._account.transaction_leases += 1

    def over(self, seconds: float) -> None:
        """It is given back, or lost."""
        account = self._account
        account.seconds_held += seconds
        account.note("hold", self.began, self.began + seconds, None, self.place)
        account.ends(self)


class Account:
    """See the head of the file.

    Args:
        scope: the scope; ``None`` for one use of a connection outside of any.
        title: what people call it: ``GET /orders/3``.
        ended: is handed it once the scope is over and no connection of it is in use.
    """

    __slots__ = (
        "_ended",
        "_over",
        "began",
        "context",
        "dropped",
        "ended_at",
        "events",
        "handler",
        "is_request",
        "leases",
        "method",
        "nested",
        "outcomes",
        "route",
        "seconds_held",
        "seconds_in_sql",
        "seconds_waited",
        "statements",
        "status",
        "times",
        "title",
        "transaction_leases",
        "uses",
        "waiting_since",
    )

    def __init__(self, scope: Any, title: str, ended: Callable[[Account], object]) -> None:
        self.title = title
        self.is_request = scope is not None and scope.is_request
        self.method: str | None = None if scope is None else scope.method
        self.began = now() if scope is None else now() - scope.age
        self.ended_at: float | None = None
        self.route: str | None = None if scope is None else _route(scope)  #: as far as its framework has come by then
        self.handler: Any = None  #: the function that answered, where its framework has told
        self.status: int | None = None
        self.context: Any = None  #: the trace that it belongs to, where somebody traces
        self.events: list[Event] = []
        self.dropped = 0  #: steps beyond those that are kept
        self.times: dict[tuple[str, Any], list[Any]] = {}  #: how often each statement was executed from each line
        self.uses: list[Use] = []  #: those of this moment
        self.nested: list[Place] = []  #: where a connection was asked for beside one that was held
        self.waiting_since: float | None = None
        self.seconds_waited = 0.0
        self.seconds_held = 0.0
        self.seconds_in_sql = 0.0
        self.statements = 0
        self.leases = 0  #: statements that had a connection for themselves, in autocommit
        self.transaction_leases = 0  #: ... and those that had it for a transaction of their own
        self.outcomes = {"committed": 0, "failed": 0, "unknown": 0}
        self._over = scope is None
        self._ended: Callable[[Account], object] | None = ended

    def note(self, kind: str, began: float, ended: float, text: str | None, place: Place | None = None) -> None:
        """One step more on the timeline."""
        if len(self.events) < (_SQL_EVENTS if kind == "sql" else _EVENTS):
            self.events.append(Event(kind, began, ended, text, place))
        else:
            self.dropped += 1

    def executes(self, text: str, place: Place | None) -> None:
        """A statement is executed from this line."""
        self.statements += 1
        key = (text, place.key if place is not None else None)
        seen = self.times.get(key)
        if seen is not None:
            seen[0] += 1
        elif len(self.times) < _STATEMENTS:
            self.times[key] = [1, place]

    def repeated(self, least: int) -> list[Repeated]:
        """The statements that were executed at least so often from one line."""
        return [
            Repeated(count, text, place)
            for (text, _), (count, place) in list(self.times.items())
            if count >= least and place is not None
        ]

    def ends(self, use: Use | None) -> None:
        """A use is over, or came to nothing."""
        if use in self.uses:
            self.uses.remove(use)
        if self._over and not self.uses:
            self._tell()

    def _tell(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)

    def over(self, scope: Any) -> None:
        """The scope is over. What is in use still ends it when that comes back."""
        if self._over:
            return
        self._over = True
        self.ended_at = now()
        self.method = scope.method
        self.handler = scope.handler or getattr(scope.client, "handler", _none)()
        self.route = _route(scope) or self.route
        if not self.uses:
            self._tell()


def _route(scope: Any) -> str | None:
    route: str | None = scope.route or getattr(scope.client, "route", _none)()
    return route


def _none() -> None:
    """Of a client that tells nothing."""
