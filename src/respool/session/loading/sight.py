"""What can be told of planned reads to who looks on: the statements that are known, and what stands in the way of all.

It is asked by other threads while sessions read, and costs those nothing: it only reads what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from respool.engine.pools.leases import NONE, TRANSACTION
from respool.session.loading.eligibility import Eligibility
from respool.session.loading.plans.kept import PLANS, Plans, text_of
from respool.session.loading.plans.plan import Plan
from respool.session.loading.plans.refusal import NoPlan
from respool.session.loading.running import LOADS, loads_heard
from respool.session.reads.begin import BeginRule, events_heard, rule_of
from respool.whereabouts import handler_name

__all__ = ["Known", "Obstacle", "known", "obstacles"]

#: The events of an engine for whose sake SQLAlchemy executes a statement from its beginning.
_FROM_THE_BEGINNING = ("before_execute", "after_execute")

_SLOWLY = "nothing: it goes through SQLAlchemy's connection, which is right"


class Obstacle(NamedTuple):
    """Something that stands in the way of all reads of a database."""

    what: str
    advice: str  #: in one line
    stops: bool  #: no read goes by a plan; else they do, but through SQLAlchemy's connection, which takes longer


class Known(NamedTuple):
    """A statement that was executed once, and what is known of its plan."""

    kind: str  #: ``get``, ``lazy load``, ``select`` or ``part of a load``
    text: str  #: without its parameters
    planned: bool
    why: str | None  #: it is not; or it is, but goes through SQLAlchemy's connection
    advice: str | None


def known(engine: Engine) -> list[Known]:
    """The statements of an engine, those without a plan first.

    Args:
        engine: a sync one.
    """
    plans: Plans | None = engine.__dict__.get(PLANS)
    if plans is None:
        return []
    entries = [entry for table in (plans.gets, plans.lazies, plans.selects) for entry in list(table.values())]
    # what was executed in several ways, as by different numbers of parameters, is told of once
    return sorted(dict.fromkeys(map(_known, entries)), key=lambda each: each.planned)


def _known(entry: Plan | NoPlan) -> Known:
    if isinstance(entry, NoPlan):
        return Known(entry.kind, entry.text, False, str(entry), entry.advice)
    why, advice = _why_not(entry)
    if why is None:
        why, advice = _why_slow(entry)
        return Known(entry.kind, text_of(entry.compiled), True, why, advice)
    return Known(entry.kind, text_of(entry.compiled), False, why, advice)


def _why_not(plan: Plan) -> tuple[str | None, str | None]:
    rows, name = plan.rows, plan.rows.mapper.class_.__name__
    if not rows.holds:
        return f"the mapping of {name} has changed since", "nothing: it is learned anew when it is executed next"
    if any(loads_heard(rows.dispatch)):
        return f"somebody listens to {' or '.join(LOADS)} of {name}", "do it without that listener, or @reconstructor"
    return None, None


def _why_slow(plan: Plan) -> tuple[str | None, str | None]:
    if plan.call is None:
        return "SQLAlchemy has to make its text anew each time", _SLOWLY
    if getattr(plan.compiled, "respool_plain", None) is False:
        return "it is not known to be a plain read: it may write, or lock", _SLOWLY
    return None, None


def obstacles(
    engine: Engine, eligibility: Eligibility, cls: type[Any], options: Mapping[str, Any], begin: BeginRule
) -> list[Obstacle]:
    """What stands in the way of all reads of a database at this moment, the worst first.

    What only one session has, listeners or a method of its own, cannot be seen from here.

    Args:
        engine: of the database, a sync one.
        eligibility: which sessions may read by plans.
        cls: the class of its sync sessions.
        options: what they are made with.
        begin: when their transactions begin.
    """
    found = [*_of_sessions(eligibility, cls, options, begin), *_of_engine(engine), *_of_levels(engine, begin)]
    return sorted(found, key=lambda each: not each.stops)


def _of_sessions(
    eligibility: Eligibility, cls: type[Any], options: Mapping[str, Any], begin: BeginRule
) -> Iterator[Obstacle]:
    for name in eligibility.ways_of_its_own(cls):
        advice = f"take {name}() out of the class; where it is needed, SQLAlchemy's way is right"
        yield Obstacle(f"{cls.__name__} has a method {name}() of its own", advice, stops=True)
    for name in ("binds", "execution_options"):
        if options.get(name):
            advice = f"leave {name} out of session_options, and give a database to each engine"
            yield Obstacle(f"sessions are made with {name}", advice, stops=True)
    reads, transactions = events_heard(cls)
    for name in reads:
        advice = "do it without that listener; where it is needed, SQLAlchemy's way is right"
        yield Obstacle(f"somebody listens to {name} of {cls.__name__}", advice, stops=True)
    for name in transactions:
        advice = "listen by db.observe(SessionObserver) in place of it"
        yield Obstacle(f"somebody listens to {name} of {cls.__name__}", advice, stops=False)
    if not begin.may_lease:
        yield Obstacle('transactions begin with the first statement: begin="on_use"', "leave it out", stops=False)
    elif options.get("autobegin") is False:
        yield Obstacle("sessions begin by hand: autobegin=False", "leave it out", stops=False)


def _of_engine(engine: Any) -> Iterator[Obstacle]:
    heard = rule_of(engine).listeners()
    for listener, name in heard:
        stops = name in _FROM_THE_BEGINNING
        advice = (
            "listen to before_cursor_execute in place of it"
            if stops
            else "leave it out, unless it traces: that is worth its time"
        )
        yield Obstacle(f"{handler_name(listener)} listens to {name}", advice, stops)
    if not heard and (engine._has_events or getattr(Connection, "_has_events", False)):
        advice = "listen to nothing of the engine from the start: SQLAlchemy does not forget it"
        yield Obstacle("somebody has listened to the engine", advice, stops=False)
    if not getattr(engine.pool, "lends_bare", False):
        what = f"its pool, a {type(engine.pool).__name__}, lends no connection for one read"
        yield Obstacle(what, "let the database make its engine: Database(url)", stops=False)
    if not Plans(engine).direct:
        yield Obstacle(
            f"{engine.dialect.driver} is executed by SQLAlchemy, or in a way of its own", _SLOWLY, stops=False
        )
    for logger, level, name in (
        (engine.logger, logging.INFO, "echo"),
        (engine.pool.logger, logging.DEBUG, "echo_pool"),
    ):
        if logger.isEnabledFor(level):
            yield Obstacle(f"SQLAlchemy logs what is done: {name}", f"turn {name} off, and its logger", stops=False)


def _of_levels(engine: Engine, begin: BeginRule) -> Iterator[Obstacle]:
    rule = rule_of(engine)
    best = rule.best()
    if best is None or not begin.may_lease:
        return
    if not rule.committed and not begin.at_any_level:
        advice = 'set READ COMMITTED, or begin="on_write" where it does not matter that each read sees what is new'
        yield Obstacle("a transaction sees the database as it was when it began", advice, stops=False)
    if best is TRANSACTION:
        yield Obstacle("statements are prepared under names, as for PgBouncer", _SLOWLY, stops=False)
    elif best is NONE and getattr(engine.pool, "lends_bare", False):
        yield Obstacle("connections come in a state in which no read can be executed alone", _SLOWLY, stops=False)
