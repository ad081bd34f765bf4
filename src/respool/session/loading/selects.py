"""``execute()``, ``scalars()`` and ``scalar()`` of a select of one mapped class, by a plan."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Select
from sqlalchemy.util import EMPTY_DICT

from respool.session.life import Life, life_of
from respool.session.loading.eligibility import Eligibility
from respool.session.loading.plans.keys import Sought, find
from respool.session.loading.plans.plan import Plan
from respool.session.loading.results import result_of
from respool.session.loading.running import is_quiet, rows_of
from respool.session.reads.begin import hears_of_reads

__all__ = ["is_for_plans", "planned_execute", "wanted"]

#: The option by which an async session has the objects made at once.
_BUFFERED = {"prebuffer_rows": True}


def is_for_plans(life: Life, statement: Any, params: Any) -> bool:
    """Whether a statement may have a plan, as far as its form tells."""
    return (
        type(statement) is Select
        and life.planned
        and not (life.over or statement._execution_options)
        and (params is None or isinstance(params, Mapping))
        and statement._propagate_attrs.get("compile_state_plugin") == "orm"
    )


def planned_execute(slow: Callable[..., Any], eligibility: Eligibility) -> Callable[..., Any]:
    """What a session's ``execute()``, ``scalars()`` and ``scalar()`` do, by a plan where there is one.

    Args:
        slow: the way without.
        eligibility: which sessions may go by plans.
    """

    @functools.wraps(slow)
    def execute(
        session: Any,
        statement: Any,
        params: Any = None,
        *,
        execution_options: Any = EMPTY_DICT,
        bind_arguments: Any = None,
        _parent_execute_state: Any = None,
        _add_event: Any = None,
        _scalar_result: bool = False,
    ) -> Any:
        life = life_of(session)
        more = bind_arguments or _parent_execute_state or _add_event
        if not (more or (execution_options and execution_options != _BUFFERED)) and is_for_plans(
            life, statement, params
        ):
            guard = life.guard
            entered = guard.enter(life, session)
            try:
                result = _result(session, life, eligibility, statement, params or None, execution_options, slow)
                return result.scalar() if _scalar_result else result
            finally:
                if entered:
                    guard.leave(life, session)
        return slow(
            session,
            statement,
            params,
            execution_options=execution_options,
            bind_arguments=bind_arguments,
            _parent_execute_state=_parent_execute_state,
            _add_event=_add_event,
            _scalar_result=_scalar_result,
        )

    return execute


def _result(
    session: Any,
    life: Life,
    eligibility: Eligibility,
    statement: Any,
    params: Any,
    options: Any,
    slow: Callable[..., Any],
) -> Any:
    plans = eligibility.plans(session, life)
    if plans is None:
        return slow(session, statement, params, execution_options=options)
    buffered = bool(options)
    sought = find(plans, statement, params, buffered)
    plan = wanted(session, sought)
    if plan is not None and sought is not None:
        rows = rows_of(session, life, plans, plan, params, sought.extracted)
        if rows is not None:
            return result_of(plan, rows, session, life, buffered=buffered)
    learns = sought is not None and sought.key is not None and not hears_of_reads(session)
    result = slow(session, statement, params, execution_options=options)
    if learns and sought is not None:
        plans.learn(Plan, plans.selects, sought.key, result, params or ())
    return result


def wanted(session: Any, sought: Sought | None) -> Plan | None:
    """The plan, if there is one, and nobody hears of what it loads."""
    plan = sought.plan if sought is not None else None
    return plan if isinstance(plan, Plan) and is_quiet(session, plan) else None
