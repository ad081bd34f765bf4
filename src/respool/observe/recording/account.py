"""What is noted of one scope: how long it waited, held a connection, and executed; and of each use that it made of one.

Written by whoever works in the scope, read by whoever looks on from another thread: each field is written in one step, and
what is read is true of some moment.  All is bounded: a scope that runs for a day takes no more room than one of a second.
And all is cheap: what can be found out afterwards is, by whoever wants to know it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from respool.pool.drivers.clock import Clock
from respool.whereabouts import Place, users_line

__all__ = ["NO_OUTCOMES", "SHORT", "Account", "Event", "Lease", "Repeated", "Use"]

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
#: ... and of one in which one COMMIT came to this.
_ONE: Mapping[str, Mapping[str, int]] = {each: MappingProxyType({**NO_OUTCOMES, each: 1}) for each in NO_OUTCOMES}

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
    """One use of a connection that is held, from taking it to giving it back.

    Args:
        account: the scope's.
        place: the user's line that took it.
    """

    # A slot is read in a tenth of the time that a value of the class takes.
    __slots__ = (
        "__weakref__", "account", "alone", "began", "executed", "is_executing", "place", "seconds_in_sql", "text", "until",
    )  # fmt: skip

    def __init__(self, account: Account, place: Place | None) -> None:
        self.account = account
        self.alone = self.is_executing = False  #: ``alone``: it is for one plain read
        self.executed = 0  #: statements
        self.place = place
        self.seconds_in_sql = 0.0
        self.text: str | None = None  #: the last statement, without its parameters
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

    def end(self) -> None:
        """The driver has answered."""
        began, account, text = self.until, self.account, self.text
        ended = self.until = now()
        self.is_executing = False
        self.seconds_in_sql += ended - began
        account.seconds_together += ended - began
        # a line is looked up for what repeats only: a statement's first time is told by its connection's
        place = self.place if self.executed == 1 else None
        if (account.reads or account.executed) and account.repeats(text):
            place = users_line()
        account.executed += 1
        if len(account.steps) < _SQL_EVENTS:  # as note(), written out
            account.steps.append(("sql", began, ended, text, place))
        else:
            account.dropped += 1

    def undone(self) -> None:
        """The statement did not begin: the connection was dead."""
        self.is_executing = False
        self.executed -= 1

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
            account.seconds_together += ended - began
            before = account.outcomes
            account.outcomes = _ONE[outcome] if before is NO_OUTCOMES else {**before, outcome: before[outcome] + 1}
            account.note("commit", began, ended)

    def leased(self) -> None:
        """It was for one plain read, which had a transaction of its own."""
        self.account.transaction_leases += 1

    def over(self, seconds: float) -> None:
        """It is given back, or lost."""
        account = self.account
        account.seconds_holding += seconds
        if len(account.steps) < _EVENTS:  # as note(), written out
            account.steps.append(("hold", self.began, self.began + seconds, None, self.place))
        else:
            account.dropped += 1
        if len(account.uses) > 1 or account.is_over:
            account.ends(self)
        else:
            account.uses = ()


class Lease(Use):
    """The same for one plain read: the connection is back as soon as that is read, so its time is the statement's.

    There is one for nearly every read, so it does the least that can be done: it does not look at the clock again.
    """

    __slots__ = ("line",)

    def __init__(self, account: Account, began: float) -> None:
        self.account = account
        self.alone, self.is_executing = True, False
        self.executed = 0
        self.seconds_in_sql = 0.0
        self.text = self.place = None
        self.line: Place | None = None  #: the user's, of a statement that repeats
        self.began = self.until = began

    def begin(self, statement: str) -> None:
        """The statement is sent to the driver; it ends with the use, unless some of its rows are left."""
        if self.is_executing:  # somebody who hears of the read reads as well
            self.end()
            self.until = now()
        if len(statement) > SHORT:
            statement = statement[:SHORT] + "…"
        self.text = statement
        self.is_executing = True
        self.executed += 1
        account = self.account
        if (account.reads or account.executed) and account.repeats(statement):
            self.line = users_line()

    def end(self) -> None:
        """The statement is over, and the use goes on."""
        self._end_at(now())

    def _end_at(self, ended: float) -> None:
        began, self.until = self.until, ended
        self.is_executing = False
        self.seconds_in_sql += ended - began
        account = self.account
        account.reads += 1
        account.seconds_together += ended - began
        account.note("sql", began, ended, self.text, self.line)
        self.line = None

    def over(self, seconds: float) -> None:
        """It is given back, or lost."""
        account, began = self.account, self.began
        if self.is_executing and self.executed == 1:  # as end(), for all of its time
            account.reads += 1
            account.seconds_reading += seconds
            if len(account.steps) < _SQL_EVENTS:
                account.steps.append(("read", began, began + seconds, self.text, self.line))
            else:
                account.dropped += 1
        else:
            if self.is_executing:
                self._end_at(max(self.until, began + seconds))  # never later than it is held
            account.seconds_holding += seconds
            account.note("hold", began, began + seconds)
        if len(account.uses) > 1 or account.is_over:
            account.ends(self)
        else:
            account.uses = ()


class Account:
    """See the head of the file.

    Args:
        scope: the scope; ``None`` for one use of a connection outside of any.
        title: what people call it: ``GET /orders/3``.
        finished: it is put there once the scope is over and no connection of it is in use.
    """

    # A slot is read in a tenth of the time that a value of the class takes.
    __slots__ = (
        "_finished", "_scope", "context", "dropped", "ended_at", "executed", "handler", "is_over", "is_request", "method",
        "nested", "outcomes", "reads", "route", "seconds_holding", "seconds_reading", "seconds_together", "seconds_waited",
        "started", "status", "steps", "texts", "title", "transaction_leases", "uses", "waiting_since",
    )  # fmt: skip

    def __init__(self, scope: Any, title: str, finished: deque[Account]) -> None:
        self.title = title
        self.steps: list[tuple[Any, ...]] = []  #: of the timeline; a ``read`` stands for two, its hold as well
        self._finished: deque[Account] | None = finished
        self._scope: Any = scope  #: until it is over
        self.context: Any = None  #: the trace that it belongs to, where somebody traces
        self.handler: Any = None  #: the function that answered, where its framework has told
        self.method: str | None = None
        self.route: str | None = None
        self.status: int | None = None
        self.ended_at: float | None = None
        self.waiting_since: float | None = None
        self.is_over = self.is_request = False
        self.nested: tuple[Place, ...] = ()  #: where a connection was asked for beside one that was held
        self.texts: tuple[
            str | None, ...
        ] = ()  #: the statements that were executed, each once, where there are several
        self.uses: tuple[Use, ...] = ()  #: those of this moment
        self.outcomes = NO_OUTCOMES  #: how many COMMITs of a session's came to what
        self.dropped = 0  #: steps beyond those that are kept
        self.executed = 0  #: statements on connections that are held
        self.reads = 0  #: statements that had a connection for themselves, in autocommit
        self.transaction_leases = 0  #: ... that had a connection for a transaction of their own
        self.seconds_holding = 0.0  #: a connection, otherwise than for a read alone
        self.seconds_reading = 0.0  #: ... for a read alone, and in the database
        self.seconds_together = 0.0  #: in the database otherwise
        self.seconds_waited = 0.0
        if scope is None:
            self.started, self.is_over = time.monotonic(), True
        else:
            self.started = scope.started
            if scope.status is not None:  # the first that it needs of a connection is its COMMIT
                self.status = scope.status

    @property
    def began(self) -> float:
        """When the scope was opened."""
        return now() - (time.monotonic() - self.started)

    @property
    def seconds(self) -> float:
        """From its beginning to its end, or to this moment."""
        return max(0.0, (now() if self.ended_at is None else self.ended_at) - self.began)

    @property
    def statements(self) -> int:
        """How many were executed."""
        return self.reads + self.executed

    @property
    def seconds_held(self) -> float:
        """How long it had connections."""
        return self.seconds_reading + self.seconds_holding

    @property
    def seconds_in_sql(self) -> float:
        """How long statements took."""
        return self.seconds_reading + self.seconds_together

    @property
    def events(self) -> list[Event]:
        """The timeline."""
        events = []
        for kind, began, ended, text, place in self.steps:
            events.append(Event("sql" if kind == "read" else kind, began, ended, text, place))
            if kind == "read":
                events.append(Event("hold", began, ended))
        return events

    def note(self, kind: str, began: float, ended: float, text: str | None = None, place: Place | None = None) -> None:
        """One step more on the timeline."""
        if len(self.steps) < (_SQL_EVENTS if kind == "sql" else _EVENTS):
            self.steps.append((kind, began, ended, text, place))
        else:
            self.dropped += 1

    def repeats(self, text: str | None) -> bool:
        """Whether a statement was executed before; it is remembered that it is now."""
        texts = self.texts or tuple([step[3] for step in self.steps if step[3] is not None])
        if text in texts:
            self.texts = texts
            return True
        if len(texts) < _STATEMENTS:
            self.texts = (*texts, text)
        return False

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
        if self.is_over and not self.uses:
            self._tell()

    def _tell(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            if self.ended_at is None:
                self.ended_at = now()
            finished.append(self)

    def identify(self) -> None:
        """Find out whose it is, as far as that is known by now."""
        scope = self._scope
        if scope is None:
            return
        if not self.is_request and ((method := scope.method) is not None or scope.is_request):
            self.is_request, self.method = True, method
        if (route := scope.route or self.route) is None and (client := scope.client) is not None:
            route = getattr(client, "route", _none)()
            if route is None and scope.handler is None:
                self.handler = getattr(client, "handler", _none)()
        if route is not None:
            self.route = route
        elif scope.handler is not None:  # nobody asks for it otherwise
            self.handler = scope.handler

    def over(self, scope: Any) -> None:
        """The scope is over. What is in use still ends it when that comes back."""
        if self.is_over:
            return
        self.is_over = True
        self.ended_at = now()
        self.method = scope.method
        self.is_request = self.method is not None or scope.is_request
        self.route = scope.route or self.route
        if self.route is None:
            self.identify()
        self._scope = None
        if not self.uses:
            finished, self._finished = self._finished, None  # as _tell(), written out
            if finished is not None:
                finished.append(self)


def _none() -> None:
    """Of a client that tells nothing."""
