"""What is noted of one scope: how long it waited, held a connection, and executed; and of each use that it made of one.

Written by whoever works in the scope, read by whoever looks on from another thread: each field is written in one step, and
what is read is true of some moment.  All is bounded: a scope that runs for a day takes no more room than one of a second.
And all is cheap: what can be found out afterwards is, by whoever wants to know it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from respool.pool.drivers.clock import Clock
from respool.whereabouts import Place, users_line

__all__ = ["NO_OUTCOMES", "SHORT", "Account", "Event", "Repeated", "Use"]

#: How many steps of one scope are kept for its timeline, and how many of them may be statements, so that there is room
#: for a COMMIT after any number of those.
_EVENTS = 60
_SQL_EVENTS = 48
#: How many different statements of one scope are told apart, for those that repeat.
_STATEMENTS = 100
#: A statement's text is kept up to so many characters.
SHORT = 600

#: Of a scope in which nothing was committed.
NO_OUTCOMES: Mapping[str, int] = MappingProxyType({"committed": 0, "failed": 0, "unknown": 0})

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
        place: the user's line that took it; ``None`` for a read, which gives it back at once.
    """

    executed = 0  #: statements
    is_executing = False
    seconds_in_sql = 0.0
    text: str | None = None  #: the last statement, without its parameters
    thread: threading.Thread | None = None  #: that took it, where it is held

    def __init__(self, account: Account, place: Place | None) -> None:
        self.account = account
        self.place = place
        if place is not None:
            self.thread = threading.current_thread()
        self.began = self.until = now()  #: ``until``: when the last statement ended, or the present one began

    @property
    def idle_since(self) -> float | None:
        """Since when it has been held with nothing being executed; ``None`` while something is."""
        return None if self.is_executing else self.until

    def begin(self, statement: str) -> None:
        """A statement is sent to the driver."""
        self.text = statement if len(statement) <= SHORT else statement[:SHORT] + "…"
        self.is_executing = True
        self.executed += 1
        self.until = now()

    def end(self, *, alone: bool) -> None:
        """The driver has answered."""
        began, account, text = self.until, self.account, self.text
        ended = self.until = now()
        self.is_executing = False
        self.seconds_in_sql += ended - began
        account.seconds_in_sql += ended - began
        account.statements += 1
        if alone:
            account.leases += 1
        # a line is looked up for what repeats only: a statement's first time is told by its connection's
        if text in account.texts:
            place = users_line()
        else:
            place = self.place if self.executed == 1 else None
            if len(account.texts) < _STATEMENTS:
                account.texts = (*account.texts, text)
        account.note("sql", began, ended, text, place)

    def commit(self, run: Callable[[], object], work: Any) -> None:
        """A COMMIT of a session's transaction, and what became of it."""
        began, account, outcome = now(), self.account, "committed"
        self.is_executing = True
        try:
            run()
        except BaseException:
            outcome = "unknown" if work.unknown else "failed"
            raise
        finally:
            ended = self.until = now()
            self.is_executing = False
            self.seconds_in_sql += ended - began
            account.seconds_in_sql += ended - began
            account.outcomes = {**account.outcomes, outcome: account.outcomes[outcome] + 1}
            account.note("commit", began, ended)

    def leased(self) -> None:
        """It was for one plain read, which had a transaction of its own."""
        self.account.transaction_leases += 1

    def over(self, seconds: float) -> None:
        """It is given back, or lost."""
        account = self.account
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

    # What begins with the same value for everybody stands here: each attribute less makes a request cheaper.
    context: Any = None  #: the trace that it belongs to, where somebody traces
    dropped = 0  #: steps beyond those that are kept
    ended_at: float | None = None
    handler: Any = None  #: the function that answered, where its framework has told
    is_request = False
    leases = 0  #: statements that had a connection for themselves, in autocommit
    method: str | None = None
    nested: tuple[Place, ...] = ()  #: where a connection was asked for beside one that was held
    outcomes = NO_OUTCOMES  #: how many COMMITs of a session's came to what
    route: str | None = None
    seconds_held = 0.0
    seconds_in_sql = 0.0
    seconds_waited = 0.0
    statements = 0
    status: int | None = None
    texts: tuple[str | None, ...] = ()  #: the statements that were executed, each once
    transaction_leases = 0  #: ... that had a connection for a transaction of their own
    uses: tuple[Use, ...] = ()  #: those of this moment
    waiting_since: float | None = None
    _over = False
    _scope: Any = None  #: until it is over
    _ended: Callable[[Account], object] | None

    def __init__(self, scope: Any, title: str, ended: Callable[[Account], object]) -> None:
        self.title = title
        self._steps: list[tuple[Any, ...]] = []
        self._ended = ended
        if scope is None:
            self._started, self._over = time.monotonic(), True
        else:
            self._scope, self._started = scope, scope.started

    @property
    def began(self) -> float:
        """When the scope was opened."""
        return now() - (time.monotonic() - self._started)

    @property
    def seconds(self) -> float:
        """From its beginning to its end, or to this moment."""
        return max(0.0, (now() if self.ended_at is None else self.ended_at) - self.began)

    @property
    def size(self) -> int:
        """About how many characters it takes."""
        return sum([100 + len(step[3] or "") for step in self._steps])

    @property
    def events(self) -> list[Event]:
        """The timeline."""
        return [Event(*step) for step in self._steps]

    def note(self, kind: str, began: float, ended: float, text: str | None = None, place: Place | None = None) -> None:
        """One step more on the timeline."""
        if len(self._steps) < (_SQL_EVENTS if kind == "sql" else _EVENTS):
            self._steps.append((kind, began, ended, text, place))
        else:
            self.dropped += 1

    def repeated(self, least: int) -> list[Repeated]:
        """The statements that were executed at least so often from one line, as far as they are on the timeline."""
        if self.statements < least:
            return []
        first = Counter(event.text for event in self.events if event.kind == "sql" and event.place is None)
        lines: dict[Any, list[Event]] = {}
        for event in self.events:
            if event.kind == "sql" and event.place is not None:
                lines.setdefault((event.text, event.place.key), []).append(event)
        found = []
        for (text, _), events in lines.items():
            times, place = len(events) + min(first[text], 1), events[-1].place
            if times >= least and text is not None and place is not None:
                found.append(Repeated(times, text, place))
        return found

    def ends(self, use: Use | None) -> None:
        """A use is over, or came to nothing."""
        self.uses = tuple(each for each in self.uses if each is not use) if len(self.uses) > 1 else ()
        if self._over and not self.uses:
            self._tell()

    def _tell(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self.ended_at = now() if self.ended_at is None else self.ended_at
            ended(self)

    def identify(self) -> None:
        """Find out whose it is, as far as that is known by now."""
        scope = self._scope
        if scope is None:
            return
        self.is_request, self.method, self.handler = scope.is_request, scope.method, scope.handler
        self.route = scope.route or self.route
        if (client := scope.client) is not None:
            self.handler = self.handler or getattr(client, "handler", _none)()
            self.route = self.route or getattr(client, "route", _none)()

    def over(self, scope: Any) -> None:
        """The scope is over. What is in use still ends it when that comes back."""
        if self._over:
            return
        self._over = True
        self.ended_at = now()
        self.identify()
        self._scope = None
        if not self.uses:
            self._tell()


def _none() -> None:
    """Of a client that tells nothing."""
