"""Which reads of a database go by plans, which do not, and why: as plain values."""

from __future__ import annotations

from typing import Any

from respool.database.base import DatabaseBase
from respool.observe.format import Obstacle, Plans, Statement
from respool.session.loading.sight import Known, known, obstacles
from respool.session.session import eligibility

__all__ = ["SWITCH", "planning"]

SWITCH = "leave out plans=False, or RESPOOL_PLANS=off where from_env() reads it"


def planning(database: DatabaseBase[Any]) -> Plans:
    """What is known of a database's plans at this moment.

    Args:
        database: of either kind. Nothing is opened for it, and nothing waited for.
    """
    if not database.plans:
        return {"on": False, "advice": SWITCH, "known": 0, "planned": 0, "obstacles": [], "statements": []}
    engine: Any = getattr(database.engine, "sync_engine", database.engine)
    kind = database.session_kind
    found = obstacles(engine, eligibility, kind.rules, kind.options, database.begin_rule)
    in_the_way: list[Obstacle] = [{"what": each.what, "stops": each.stops, "advice": each.advice} for each in found]
    worst = next((each for each in in_the_way if each["stops"]), None)
    statements = [_statement(each, worst) for each in known(engine)]
    return {
        "on": True,
        "advice": None,
        "known": len(statements),
        "planned": sum(each["planned"] for each in statements),
        "obstacles": in_the_way,
        "statements": statements,
    }


def _statement(found: Known, worst: Obstacle | None) -> Statement:
    why, advice = found.why, found.advice
    if found.planned and worst is not None:
        why, advice = worst["what"], worst["advice"]
    planned = found.planned and worst is None
    return {"kind": found.kind, "text": found.text, "planned": planned, "why": why, "advice": advice}
