"""The differences that are meant: each a sentence of the documents, and what exactly it allows.

What SQLAlchemy's side can be made to do too is done there (meant.py), and needs no function here.  After a difference
that changes what follows (``onwards``) the rest of the two runs is compared no more, but for what is left behind at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential import model as m
from tests.differential.compare import Difference
from tests.differential.lost import lost
from tests.differential.statements import CATALOGUE
from tests.differential.traces import Seen

__all__ = ["RULES", "Rule", "not_allowed"]

#: What is compared after such a difference all the same.
_LEFT_BEHIND = ("leftovers", "out")

_STRICTER = ("REPEATABLE READ", "SERIALIZABLE")


def _never(difference: Difference) -> bool:
    return False


@dataclass(frozen=True)
class Rule:
    """One line of the list.

    Args:
        name: what it is called.
        sentence: as the documents say it.
        here: whether it allows a difference, which leaves what follows as it is.
        onwards: whether it allows a difference that changes what follows.
    """

    name: str
    sentence: str
    here: Callable[[Difference], bool] = _never
    onwards: Callable[[Difference], bool] = _never


def _begun(difference: Difference) -> bool:
    """Ours has begun what stock refuses to, since it has begun already."""
    return isinstance(difference.step, m.Begin) and difference.ours is None and _refused_to_begin(difference)


def _begun_otherwise(difference: Difference) -> bool:
    """The same with a block, and what follows from when a transaction begins."""
    if isinstance(difference.step, m.Block) and _refused_to_begin(difference):
        return True
    return _acts_otherwise(difference) or _in_time(difference) or _sets_the_mode(difference)


def _refused_to_begin(difference: Difference) -> bool:
    """Whether stock's side cannot begin a transaction, since there has been a read, and ours has none."""
    refused = difference.traces[0].steps[difference.index or 0].outcome == ("error", "InvalidRequestError")
    before = difference.before(1)
    return refused and before is not None and not before.in_transaction


def _heard_otherwise(difference: Difference) -> bool:
    """Somebody has begun to listen after stock's transaction had begun and before ours, and has heard other than there."""
    return difference.what == "heard" and bool(_heard_late(difference) & _unlike(difference.stock, difference.ours))


def _acts_otherwise(difference: Difference) -> bool:
    """What such a one does by then, or has done."""
    end = None if difference.index is None else difference.index + 1
    steps = [trace.steps[:end] for trace in difference.traces]
    unlike = [_unlike(one.heard, other.heard) for one, other in zip(*steps, strict=False)]
    if difference.index is None:
        unlike.append(_unlike(*(trace.heard for trace in difference.traces)))
    late = _heard_late(difference, acts=True)
    return any(late & each for each in unlike)


def _heard_late(difference: Difference, acts: bool = False) -> set[str]:
    """What is listened to from some step on that comes after leased reads; by those who do something."""
    steps = difference.traces[0].steps[: difference.index]
    return {
        seen.step.listener.event
        for index, seen in enumerate(steps)
        if isinstance(seen.step, m.Listen) and not (acts and seen.step.listener.act.what in ("nothing", "look"))
        if seen.step.listener.event in _AROUND_TRANSACTIONS and _begun_before(difference, index)
    }


def _begun_before(difference: Difference, index: int) -> bool:
    """Whether stock's transaction has begun at a read after which ours had none: a leased one, or one that found no connection."""
    stock, ours = (trace.steps[: index + 1] for trace in difference.traces)
    for one, other in zip(reversed(stock), reversed(ours), strict=False):
        if not one.in_transaction:
            break
        if not other.in_transaction:
            return True
    return _leased(difference, index)


def _unlike(one: tuple[str, ...], other: tuple[str, ...]) -> set[str]:
    """The events that were heard more often on one side."""
    return {name for name in {*one, *other} if one.count(name) != other.count(name)}


#: A transaction's beginning, a checkout, and their end.
_AROUND_TRANSACTIONS = (
    *("after_begin", "after_transaction_create", "begin", "engine_connect", "set_connection_execution_options"),
    *("checkout", "connect", "first_connect", "do_connect"),
    *("checkin", "reset", "rollback", "commit", "after_transaction_end"),
)


def _in_time(difference: Difference) -> bool:
    """What is asked for of the connection is in time for a transaction that ours has begun, and late for stock's."""
    if not isinstance(difference.step, m.Connect) or difference.step.level is None:
        return False
    end = difference.index or 0
    for one, other in zip(*(reversed(trace.steps[:end]) for trace in difference.traces), strict=True):
        if other.holding or not one.holding:
            return False
        if isinstance(one.step, m.Begin):
            return one.outcome != other.outcome
    return False


def _sets_the_mode(difference: Difference) -> bool:
    """A listener tells the driver to commit by itself, which psycopg refuses within a transaction."""
    before = difference.before(1)  # who hears of a leased read itself does it before ours begins
    return (
        difference.what in ("outcome", "end")
        and difference.stock in (("error", "psycopg.ProgrammingError"), ("error", "psycopg2.ProgrammingError"))
        and difference.ours != difference.stock
        and any(each.act.what == "autocommit" for each in difference.program.heard_by)
        and (before is None or not before.holding)
    )


def _leased(difference: Difference, index: int) -> bool:
    """Whether something in what is one transaction of stock's until this step was read by lease."""
    stock, ours = (trace.steps[: index + 1] for trace in difference.traces)
    for one, other in zip(reversed(stock), reversed(ours), strict=False):
        if not one.holding:
            return False
        if not other.holding:
            return True
    return False


_DOOMED = "25P02"


def _states(difference: Difference, side: int) -> tuple[str, ...]:
    """The database's codes of the errors that differ."""
    trace = difference.traces[side]
    if difference.what == "end":
        return trace.end_states[-1]
    return () if difference.index is None else trace.steps[difference.index].states


def _failed_read(difference: Difference) -> bool:
    """Stock's transaction is doomed by an error that a leased read had as well."""
    if difference.what not in ("outcome", "order", "end") or _DOOMED not in _states(difference, 0):
        return False
    if difference.index is not None:  # who hears of the error itself may meet it
        before, failed = difference.before(1), difference.traces[1].steps[difference.index]
        if failed.sqlstate not in (None, _DOOMED) and (before is None or not before.in_transaction):
            return True
    stock, ours = (trace.steps[: difference.index] for trace in difference.traces)
    for one, other in zip(reversed(stock), reversed(ours), strict=False):
        failed_alike = one.sqlstate not in (None, _DOOMED) and one.outcome == other.outcome
        if failed_alike and not other.in_transaction:
            return True
        if not one.in_transaction:
            return False
    return False


def _doomed_scope(difference: Difference) -> bool:
    """Ours says so at the end of a scope that has changed something; stock's COMMIT is a rollback."""
    return (
        difference.what == "end"
        and difference.program.setup.face == "scope"
        and difference.program.end not in ("raise", "interrupt")
        and _DOOMED in _states(difference, 1)
        and _DOOMED not in _states(difference, 0)
        and (
            any(each.act.what in ("audit", "note") for each in difference.program.heard_by)
            or any(_may_change(seen.step) for seen in difference.traces[1].steps)
        )
    )


def _may_change(step: m.Step) -> bool:
    if isinstance(step, m.Execute):
        return CATALOGUE[step.statement].kind in ("core", "text") or step.statement.startswith(
            ("insert", "update", "delete")
        )
    return isinstance(step, m.Add | m.Modify | m.Merge | m.Delete)


def _of_the_statement_before(difference: Difference) -> bool:
    """After a read that was leased: stock's connection has seen nothing since, and ours has been given back."""
    asks = difference.driver == "mariadb" and getattr(difference.step, "statement", "") == "found_rows"
    before = difference.before(1)
    return asks and difference.what in ("outcome", "objects") and before is not None and not before.holding


def _moment(difference: Difference) -> bool:
    step = difference.step
    return (
        difference.what == "outcome"
        and isinstance(step, m.Execute)
        and CATALOGUE[step.statement].moment
        and not difference.traces[1].steps[difference.index or 0].in_transaction
    )


def _shorter_hold(difference: Difference) -> bool:
    """The second client need not wait for a read that was leased in what is one transaction of stock's."""
    if not isinstance(difference.step, m.Other):
        return False
    if (difference.what, difference.stock, difference.ours) != ("outcome", "refused", None):
        return False
    index = difference.index or 0
    return index > 0 and (_leased(difference, index - 1) or _unread_cursor(difference, index))


def _unread_cursor(difference: Difference, end: int) -> bool:
    """Whether a cursor is open whose rows were fetched by a lease: SQLite's holds the table beyond stock's transaction."""
    if not difference.driver.endswith("sqlite"):
        return False
    ours = difference.traces[1].steps[:end]
    for seen in reversed(ours):
        if isinstance(seen.step, m.Rest):
            return False
        if getattr(seen.step, "how", None) == "some" and isinstance(seen.outcome, tuple):
            return not seen.in_transaction
    return False


def _left_open(difference: Difference) -> bool:
    """What SQLAlchemy's pool hands on of a transaction whose COMMIT somebody has stopped who hears of it."""
    stock, ours = difference.stock, difference.ours
    stops = any(each.event == "commit" and each.act.what in ("fail", "raise") for each in difference.program.listeners)
    if not (stops and difference.driver.endswith("sqlite") and difference.what == "next"):
        return False
    is_left = isinstance(stock, dict) and isinstance(ours, dict) and stock["in transaction"]
    return is_left and {**stock, "in transaction": False} == ours


def _kept_by_a_listener(difference: Difference) -> bool:
    """A connection that SQLAlchemy's session has got once more, for who hears of its last moments."""
    hears = any(
        each.event.endswith(("_to_detached", "_to_transient"))
        and each.act.what not in ("nothing", "look", "info", "raise")
        for each in difference.program.heard_by
    )
    stock, ours = difference.traces
    return hears and difference.what == "next" and stock.out > ours.out


#: A flush says by what it has found out: that nothing was changed, or that there is nothing to be read.
_GONE = {("error", "StaleDataError"), ("error", "ObjectDeletedError")}


def _asked_for(difference: Difference) -> bool:
    """After somebody else, or another connection of the program's, has changed what leased reads had seen."""
    if _puts_back(difference):
        return True
    setup = difference.program.setup
    _, level = setup.isolation or ("server", "REPEATABLE READ" if difference.driver == "mariadb" else "")
    if difference.driver.endswith("sqlite") or setup.begin != "on_write" or level not in _STRICTER:
        return False
    if difference.what == "end" and {difference.stock, difference.ours} == _GONE:  # a row, at the last flush
        return any(_is_elsewhere(step) for step in m.flat(difference.program.steps))
    if difference.what not in ("outcome", "objects") or difference.index is None:
        return False
    if getattr(difference.step, "statement", "") == "isolation":  # that of the lease
        return difference.ours in ("read committed", (("read committed",),))  # scalar(), and rows
    stock = difference.traces[0].steps[: difference.index + 1]
    refused = (
        difference.what == "outcome" and isinstance(difference.stock, tuple) and difference.stock[:1] == ("error",)
    )
    if refused and not _is_too_late(stock[-1]):
        return False
    others = (index for index, seen in enumerate(stock) if _is_elsewhere(seen.step))
    return any(_leased(difference, index) for index in others)


def _puts_back(difference: Difference) -> bool:
    """Whether the default is no more what somebody has set it to for the session, beneath a level of the driver's own."""
    if difference.driver != "psycopg2" or difference.what != "next" or difference.program.setup.isolation is None:
        return False
    stock, ours = (dict(side) for side in (difference.stock, difference.ours))
    forgotten = set(stock.pop("settings")) - set(ours.pop("settings"))
    return stock == ours and {name for name, _ in forgotten} == {"default_transaction_isolation"}


def _is_too_late(seen: Seen) -> bool:
    """Whether a row, or its table, has changed after stock's snapshot of it: the former a write, in MariaDB's words, too."""
    return seen.sqlstate == "40001" or any(code in seen.message for code in ("(1020,", "(1412,"))


def _is_elsewhere(step: m.Step) -> bool:
    return isinstance(step, m.Other) or getattr(step, "on", None) == "second"


RULES = (
    Rule(
        "when it begins",
        "After reads that were leased no transaction is open: in_transaction() is False, begin() is allowed, and who begins"
        " to listen then hears the next transaction begin, and of the reads no end; the driver's mode can be set.",
        here=lambda difference: _begun(difference) or _heard_otherwise(difference),
        onwards=_begun_otherwise,
    ),
    Rule(
        "failed read",
        "On PostgreSQL a leased read that fails does not doom the session: what follows is executed; and a scope that ends"
        " in a doomed transaction with changes fails, where COMMIT would be a silent rollback.",
        onwards=lambda difference: _failed_read(difference) or _doomed_scope(difference),
    ),
    Rule(
        "moment",
        "now() outside of a transaction is the statement's; what MySQL tells of the statement before (FOUND_ROWS()) is the"
        " connection's, which may be another one after a leased read.",
        here=lambda difference: _moment(difference) or _of_the_statement_before(difference),
    ),
    Rule(
        "shorter hold",
        "What waits for the end of a transaction that has only read (ALTER TABLE) need not wait for a leased read.",
        onwards=_shorter_hold,
    ),
    Rule(
        "lost connection",
        "A connection that is lost between two leased reads, or before anything was done on it, is the pool's, which"
        " replaces it, and invalidate() has none to discard; the rollback of one that is lost is no error, and a COMMIT on"
        ' it is CommitNotSent or CommitOutcomeUnknown; asyncpg\'s "cannot switch to state" is told as one that is lost.'
        " Neither that nor an error while it is given back or closed costs the connection's place in the pool. A connection"
        " to a server that only reads counts as lost. SQLAlchemy's own pools replace one where pool_pre_ping has them look.",
        onwards=lost,
    ),
    Rule(
        "asked for",
        'begin="on_write" said explicitly leases also where the engine\'s isolation level is stricter: that of'
        " create_engine(isolation_level=…), or the server's own. Asked for its level, a lease tells its own. Beside the"
        " engine's level, which is the one that counts, psycopg2 forgets a default_transaction_isolation of the session's.",
        onwards=_asked_for,
    ),
    Rule(
        "deleted",
        "commit() detaches deleted objects also with expire_on_commit=False, and at a scope's end who hears of its last"
        " moments and uses the session is refused.",  # the former so for stock's side
        here=_kept_by_a_listener,
    ),
    Rule(
        "savepoint",
        "On SQLite the transaction begins before the first savepoint, whose release would commit by itself, and is over"
        " when its COMMIT was refused, or stopped by who hears of it.",  # the former so for stock's side
        here=_left_open,
    ),
)


def _locks_that_stay(difference: Difference) -> bool:
    """What one side has executed and the other has not was the lock of a connection, which no transaction ends."""
    if difference.what != "leftovers":
        return False
    one, other = set(difference.stock), set(difference.ours)
    return all(lock.startswith("lock advisory ") for lock in one ^ other)


def _listens_alone(difference: Difference) -> bool:
    """Whether somebody has begun to listen within a block that only ours may begin: what that one leaves is not stock's."""
    if difference.what != "leftovers":
        return False
    stock, ours = (sum(isinstance(seen.step, m.Listen) for seen in trace.steps) for trace in difference.traces)
    return ours > stock


def not_allowed(found: list[Difference]) -> list[Difference]:
    """The differences that no rule allows."""
    remaining: list[Difference] = []
    onwards = False
    for difference in found:
        if onwards and (
            difference.what not in _LEFT_BEHIND or _locks_that_stay(difference) or _listens_alone(difference)
        ):
            continue
        if difference.what == "hung":
            remaining.append(difference)
        elif any(rule.onwards(difference) for rule in RULES):
            onwards = True
        elif not any(rule.here(difference) for rule in RULES):
            remaining.append(difference)
    return remaining
