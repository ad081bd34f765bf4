"""What is meant to differ where a connection is lost, or was discarded by ``invalidate()``."""

from __future__ import annotations

from tests.differential import model as m
from tests.differential.compare import Difference
from tests.differential.traces import Trace

__all__ = ["lost"]


def lost(difference: Difference) -> bool:
    """What becomes of a connection that was lost, or that invalidate() has discarded."""
    stock, ours = difference.traces
    end = min(len(stock.steps), len(ours.steps)) if difference.index is None else difference.index
    if isinstance(difference.step, m.Invalidate):
        end += 1
    if _begins_lost(difference) and difference.stock in (*_DISCONNECTED, _TO_BE_ROLLED_BACK):
        return difference.ours not in _DISCONNECTED
    if _meets_a_dead_one(difference) or _met_a_dead_one(difference) or _pings_a_dead_one(difference):
        return True
    for index in range(end - 1, 0, -1):
        step, held = stock.steps[index].step, stock.steps[index - 1].holding
        nothing_there = not ours.steps[index - 1].holding
        if held and nothing_there and isinstance(step, m.Invalidate):
            by_who_hears = index == difference.index and _hears_of_discards(difference.program)
            if by_who_hears or difference.what in ("heard", "next"):
                return True
        if held and isinstance(step, m.Invalidate) and difference.what == "next" and _refused(stock, ours, index):
            return isinstance(difference.stock, tuple) and isinstance(difference.ours, dict)
        if step == m.Other("kill") and (_is_named(difference) or _is_told_by_a_listener(difference)):
            return True
        if step == m.Other("kill") and _commits(difference) and difference.ours in _COMMITS_LOST:
            return difference.stock in (*_DISCONNECTED, _TO_BE_ROLLED_BACK)
        says_so = held and step == m.Other("kill") and _told(difference) in (*_DISCONNECTED, *_BARE, _TO_BE_ROLLED_BACK)
        if says_so and (nothing_there or _nothing_done(difference, index)):
            return difference.ours not in _DISCONNECTED
    return False


def _hears_of_discards(program: m.Program) -> bool:
    return any(each.target == "pool" and each.event in ("close", "invalidate") for each in program.heard_by)


def _told(difference: Difference) -> object:
    """What stock says where ours does not; also where that goes into a block instead."""
    if difference.what == "order" and difference.index is not None:
        return difference.traces[0].steps[difference.index].outcome
    return difference.stock


def _begins_lost(difference: Difference) -> bool:
    """Whether a session's own connection is lost before anything was done on it."""
    steps = difference.traces[0].steps
    killed = next((i for i, seen in enumerate(steps) if seen.step == m.Other("kill")), None)
    if difference.program.setup.face != "connection" or killed is None:
        return False
    return not any(seen.in_transaction for seen in steps[: killed + 1])


def _meets_a_dead_one(difference: Difference) -> bool:
    """Whether a pool of SQLAlchemy's that does not look hands out a connection that was lost at rest: stock had held it."""
    stock, ours = difference.traces
    if difference.program.setup.pool == "ours" or difference.index is None or difference.ours not in _DISCONNECTED:
        return False
    killed = [i for i, seen in enumerate(stock.steps[: difference.index]) if seen.step == m.Other("kill")]
    return bool(killed) and stock.steps[killed[-1]].holding and not ours.steps[killed[-1]].holding


def _pings_a_dead_one(difference: Difference) -> bool:
    """Whether who hears of errors hears of stock's ping of one that was lost at rest: ours sees that by its socket."""
    if difference.what != "heard" or m.Other("kill") not in m.flat(difference.program.steps):
        return False
    return [each for each in difference.stock if each != "handle_error"] == list(difference.ours)


def _met_a_dead_one(difference: Difference) -> bool:
    """Whether a read has met one on both sides: stock's transaction is then to be rolled back, and ours had not begun."""
    if difference.stock != _TO_BE_ROLLED_BACK:
        return False
    stock, ours = (trace.steps[: difference.index] for trace in difference.traces)
    for one, other in zip(reversed(stock), reversed(ours), strict=False):
        if other.in_transaction or isinstance(one.step, m.Commit | m.Rollback | m.Close):
            return False
        if one.outcome in _DISCONNECTED and other.outcome in _DISCONNECTED:
            return True
    return False


def _refused(stock: Trace, ours: Trace, index: int) -> bool:
    """Whether the step has failed on both sides: whoever heard of a closing has stopped it."""
    outcomes = [trace.steps[index].outcome for trace in (stock, ours)]
    return all(isinstance(outcome, tuple) and outcome[:1] == ("error",) for outcome in outcomes)


def _commits(difference: Difference) -> bool:
    """Whether a transaction was to be committed."""
    step, program = difference.step, difference.program
    if difference.what == "end":
        return program.end == "commit" or (program.setup.face == "scope" and program.end in ("close", "rollback"))
    return isinstance(step, m.Commit) or (isinstance(step, m.Block) and not step.fails)


_COMMITS_LOST = (("error", "respool.CommitNotSent"), ("error", "respool.CommitOutcomeUnknown"))


def _nothing_done(difference: Difference, end: int) -> bool:
    """Whether ours has taken its connection before this step, and done nothing on it."""
    ours = difference.traces[1].steps[:end]
    for seen in reversed(ours):
        if not seen.holding or seen.lives < ours[-1].lives:
            return True
        if not isinstance(seen.step, m.Begin | m.Connect | m.Listen | m.Other):
            return False
    return False


#: What stock's session says once it has said that.
_TO_BE_ROLLED_BACK = ("error", "PendingRollbackError")
#: As the drivers have it; asyncpg's "cannot switch to state" is the last.
_DISCONNECTED = tuple(("error", name) for name in ("OperationalError", "DBAPIError", "InterfaceError", "InternalError"))
#: The same to who listens, and uses the driver's own cursor.
_BARE = tuple(
    ("error", name)
    for name in (
        *("psycopg.AdminShutdown", "psycopg2.AdminShutdown", "psycopg2.OperationalError", "psycopg2.InterfaceError"),
        *("psycopg.OperationalError", "asyncpg.ConnectionDoesNotExistError", "asyncpg.InterfaceError"),
        *("pymysql.OperationalError", "pymysql.InterfaceError"),
    )
)


def _is_told_by_a_listener(difference: Difference) -> bool:
    """Whether who hears of the loss uses the connection, too, and fails in his turn: ours looks before it sends COMMIT."""
    hears = any(each.event == "handle_error" for each in difference.program.heard_by)
    return hears and _commits(difference) and {difference.stock, difference.ours} <= set(_DISCONNECTED)


def _is_named(difference: Difference) -> bool:
    """Whether asyncpg has read that its connection is lost, which ours tells; stock's says so otherwise, or had not read it yet."""
    if difference.stock not in _DISCONNECTED or difference.ours != ("error", "OperationalError"):
        return False
    index = difference.index
    return index is None or "asyncpg: cannot switch to state" in difference.traces[1].steps[index].message
