"""The differences that are meant: each a sentence of the documents, and what exactly it allows.

After a difference that changes what follows (``onwards``) the rest of the two runs is compared no more, but for what
is left behind at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential.compare import Difference
from tests.differential.listeners import SQL
from tests.differential.model import (
    Begin,
    Block,
    Close,
    Commit,
    Connect,
    Execute,
    Invalidate,
    Listen,
    Listener,
    Other,
    Program,
    Reset,
    Rest,
    Rollback,
    Step,
    flat,
)
from tests.differential.statements import CATALOGUE

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
    before = difference.before(1)
    return (
        isinstance(difference.step, Begin)
        and difference.what == "outcome"
        and difference.stock == ("error", "InvalidRequestError")
        and difference.ours is None
        and before is not None
        and not before.in_transaction
    )


def _begun_otherwise(difference: Difference) -> bool:
    """The same with a block; or somebody has begun to listen after stock's transaction had begun, and before ours."""
    stock, ours = (trace.steps for trace in difference.traces)
    if isinstance(difference.step, Block) and difference.what in ("order", "outcome"):
        before = difference.before(1)
        refused = stock[difference.index or 0].outcome == ("error", "InvalidRequestError")
        return refused and before is not None and not before.in_transaction
    end = min(len(stock), len(ours)) if difference.index is None else difference.index
    if any(_begins_to_listen(stock[index].step) and _leased(difference, index) for index in range(end)):
        return True
    if isinstance(difference.step, Connect):  # what it asks for is in time for a transaction that ours has begun
        pairs = zip(stock[:end], ours[:end], strict=True)
        return any(isinstance(one.step, Begin) and one.outcome != other.outcome for one, other in pairs)
    if not _sets_the_mode(difference):
        return False
    if any(_leased(difference, index) for index in range(end)):
        return True
    before = difference.before(1)  # who hears of the read itself, of its rows or of its error
    return difference.what == "outcome" and (before is None or not before.holding)


def _begins_to_listen(step: Step | None) -> bool:
    """Whether from here on somebody hears other than with stock of a transaction's beginning, a checkout, or their end."""
    return isinstance(step, Listen) and step.listener.event in _AROUND_TRANSACTIONS


_AROUND_TRANSACTIONS = (
    *("after_begin", "after_transaction_create", "begin", "engine_connect", "set_connection_execution_options"),
    *("checkout", "connect", "first_connect", "do_connect"),
    *("checkin", "reset", "rollback", "commit", "after_transaction_end"),
)


def _sets_the_mode(difference: Difference) -> bool:
    """Whether a listener tells the driver to commit by itself, which it refuses within a transaction."""
    return difference.what in ("outcome", "end") and any(
        each.act.what == "autocommit" for each in _listeners(difference.program)
    )


def _listeners(program: Program) -> list[Listener]:
    return [*program.listeners, *(step.listener for step in flat(program.steps) if isinstance(step, Listen))]


def _leased(difference: Difference, index: int) -> bool:
    """Whether something in what is one transaction of stock's until this step was read by lease."""
    stock, ours = (trace.steps[: index + 1] for trace in difference.traces)
    for one, other in zip(reversed(stock), reversed(ours), strict=True):
        if not one.holding:
            return False
        if not other.holding:
            return True
    return False


def _failed_read(difference: Difference) -> bool:
    """Stock's transaction is doomed by an error that a leased read had as well."""
    stock, ours = (trace.steps[: difference.index] for trace in difference.traces)
    if difference.index is None:
        doomed = difference.what == "end"
    else:
        doomed = difference.traces[0].steps[difference.index].sqlstate == "25P02"
        if _hears_of_errors(difference):  # what follows may be the listener's, and begin the session's transaction
            before, failed = difference.before(1), difference.traces[1].steps[difference.index]
            return failed.sqlstate is not None and (before is None or not before.in_transaction)
    for one, other in zip(reversed(stock), reversed(ours), strict=False):
        failed_alike = one.sqlstate not in (None, "25P02") and one.outcome == other.outcome
        if failed_alike and not other.in_transaction:
            return doomed
        if not one.in_transaction:
            return False
    return False


def _doomed_scope(difference: Difference) -> bool:
    """Ours says so at the end of a scope; stock's COMMIT is a rollback, and a success."""
    if difference.program.setup.face != "scope" or not any(seen.sqlstate for seen in difference.traces[1].steps):
        return False
    if difference.what != "end" or difference.ours[:1] != ("error",):
        return False
    stock, ours = ({state for states in trace.end_states for state in states} for trace in difference.traces)
    return difference.stock == "success" or ("25P02" in ours and "25P02" not in stock)  # or a listener's, after it


def _hears_of_errors(difference: Difference) -> bool:
    return difference.what == "outcome" and any(
        each.event == "handle_error" and each.act.what in SQL["postgresql"] for each in _listeners(difference.program)
    )


def _moment(difference: Difference) -> bool:
    step = difference.step
    return (
        difference.what == "outcome"
        and isinstance(step, Execute)
        and CATALOGUE[step.statement].moment
        and not difference.traces[1].steps[difference.index or 0].in_transaction
    )


def _shorter_hold(difference: Difference) -> bool:
    """The second client need not wait for a read that was leased in what is one transaction of stock's."""
    if not isinstance(difference.step, Other):
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
        if isinstance(seen.step, Rest):
            return False
        if getattr(seen.step, "how", None) == "some" and isinstance(seen.outcome, tuple):
            return not seen.in_transaction
    return False


def _lost(difference: Difference) -> bool:
    """Either stock alone held the connection that was lost, or both did: then it is about what ends the transaction."""
    if difference.what in (*_LEFT_BEHIND, "heard"):  # by who hears of an end that stock has not come to
        ends = zip(*(trace.end for trace in difference.traces), strict=False)
        hears = any(each.event == "after_transaction_end" for each in _listeners(difference.program))
        if any(one in _DISCONNECTED and other not in _DISCONNECTED for one, other in ends):
            return hears or difference.what == "heard"
        if difference.what != "heard":
            return False
    stock, ours = (trace.steps for trace in difference.traces)
    looked = isinstance(difference.stock, tuple) and isinstance(difference.ours, dict)
    if difference.what == "next" and looked and Other("kill") in flat(difference.program.steps):
        return True  # a pool looks at each
    end = min(len(stock), len(ours)) if difference.index is None else difference.index
    if isinstance(difference.step, Invalidate):
        end += 1
    for index in range(end - 1, 0, -1):
        step = stock[index].step
        if not isinstance(step, Invalidate) and step != Other("kill"):
            continue
        if stock[index - 1].holding and not ours[index - 1].holding:
            return True
        if _nothing_done(difference, index) and difference.stock in _DISCONNECTED:
            return difference.ours not in _DISCONNECTED
        is_end = difference.what == "end" or isinstance(difference.step, Commit | Rollback | Close | Reset | Block)
        if isinstance(step, Invalidate) or not stock[index - 1].holding:
            if difference.what == "end" or not (isinstance(step, Invalidate) and stock[index - 1].holding):
                continue  # of an earlier session; or nobody's was
            return False
        return is_end and difference.stock in _DISCONNECTED and difference.ours not in _DISCONNECTED
    return False


def _nothing_done(difference: Difference, end: int) -> bool:
    """Whether ours has taken its connection before this step, and done nothing on it."""
    ours = difference.traces[1].steps[:end]
    for seen in reversed(ours):
        if not seen.holding or seen.lives < ours[-1].lives:
            return True
        if not isinstance(seen.step, Begin | Connect | Listen | Other):
            return False
    return False


#: As the drivers have it; asyncpg's "cannot switch to state" is the last.
_DISCONNECTED = tuple(("error", name) for name in ("OperationalError", "DBAPIError", "InterfaceError", "InternalError"))


def _asked_for(difference: Difference) -> bool:
    """After somebody else, or another connection of the program's, has changed what leased reads had seen."""
    setup = difference.program.setup
    _, level = setup.isolation or ("server", "REPEATABLE READ" if difference.driver == "mariadb" else "")
    if difference.driver.endswith("sqlite") or setup.begin != "on_write" or level not in _STRICTER:
        return False
    if difference.what not in ("outcome", "objects", "rows", "next"):
        return False
    stock = difference.traces[0].steps[: difference.index]
    others = (index for index, seen in enumerate(stock) if _is_elsewhere(seen.step))
    return any(_leased(difference, index) for index in others)


def _is_elsewhere(step: Step) -> bool:
    return isinstance(step, Other) or getattr(step, "on", None) == "second"


RULES = (
    Rule(
        "when it begins",
        "After reads that were leased no transaction is open: in_transaction() is False, begin() is allowed, and who begins"
        " to listen then hears the next transaction begin, and of the reads no end; the driver's mode can be set.",
        here=_begun,
        onwards=_begun_otherwise,
    ),
    Rule(
        "failed read",
        "On PostgreSQL a leased read that fails does not doom the session: what follows is executed; and a scope that ends"
        " in a doomed transaction with changes fails, where COMMIT would be a silent rollback.",
        onwards=lambda difference: _failed_read(difference) or _doomed_scope(difference),
    ),
    Rule("moment", "now() outside of a transaction is the statement's.", here=_moment),
    Rule(
        "shorter hold",
        "What waits for the end of a transaction that has only read (ALTER TABLE) need not wait for a leased read.",
        onwards=_shorter_hold,
    ),
    Rule(
        "lost connection",
        "A connection that is lost between two leased reads, or before anything was done on it, is the pool's, which"
        " replaces it, and invalidate() has none to discard; the rollback of one that is lost is no error, and a COMMIT on"
        " it is CommitOutcomeUnknown. Neither that nor an error while it is given back costs the connection's place in the"
        " pool. A connection to a server that only reads counts as lost.",
        onwards=_lost,
    ),
    Rule(
        "asked for",
        'begin="on_write" said explicitly leases also where the engine\'s isolation level is stricter: that of'
        " create_engine(isolation_level=…), or the server's own.",
        onwards=_asked_for,
    ),
    Rule(
        "deleted",
        "commit() detaches deleted objects also with expire_on_commit=False, and at a scope's end who hears of its last"
        " moments and uses the session is refused.",  # as is whom stock's side tells: see meant.py
    ),
    Rule(
        "savepoint",
        "On SQLite the transaction begins before the first savepoint, whose release would commit by itself, and is over"
        " when its COMMIT was refused.",  # so does stock's side
    ),
)


def _locks_that_stay(difference: Difference) -> bool:
    """What one side has executed and the other has not was the lock of a connection, which no transaction ends."""
    if difference.what != "leftovers":
        return False
    one, other = set(difference.stock), set(difference.ours)
    return all(lock.startswith("lock advisory ") for lock in one ^ other)


def _as_one_is_left(difference: Difference) -> bool:
    """What is left behind is left so because of the difference before."""
    return _locks_that_stay(difference)


def not_allowed(found: list[Difference]) -> list[Difference]:
    """The differences that no rule allows."""
    remaining: list[Difference] = []
    onwards = False
    for difference in found:
        if onwards and (difference.what not in _LEFT_BEHIND or _as_one_is_left(difference)):
            continue
        if difference.what == "hung":
            remaining.append(difference)
        elif any(rule.onwards(difference) for rule in RULES):
            onwards = True
        elif not any(rule.here(difference) for rule in RULES):
            remaining.append(difference)
    return remaining
