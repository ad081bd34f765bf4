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
from respool.session.loading.plans.plan import Asked, Load, Part, Plan, SubPlan
from respool.session.loading.results import result_of
from respool.session.loading.running import is_quiet, rows_of
from respool.session.reads.begin import hears_of_reads

__all__ = ["is_for_plans", "planned_execute", "wanted"]

#: The option by which an async session has the objects made at once.
_BUFFERED = {"prebuffer_rows": True}
#: The option by which a loader tells of which load its statement is a part.
_TOP = "sa_top_level_orm_context"
#: What a load without options of its own has of such all the same.
_OF_A_LOAD = {"_result_disable_adapt_to_context", "prebuffer_rows"}


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
        usual = not execution_options or execution_options == _BUFFERED or _is_part(execution_options)
        if usual and not more and is_for_plans(life, statement, params):
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
    top = options.get(_TOP)
    buffered = bool(options) and top is None
    sought = find(plans, statement, params, "part" if top is not None else buffered)
    plan = wanted(session, sought)
    if plan is not None and sought is not None:
        rows = rows_of(session, life, plans, plan, Asked(params, sought.extracted, statement, top))
        if rows is not None:
            context = None if plan.after is None else plan.query_context(session, statement, params, top)
            if isinstance(top, Load) and top.parts is not None:
                top.parts.append(Part(plan, sought.extracted))
            return result_of(plan, rows, session, life, context, plans=plans, top=top, buffered=buffered)
    learns = sought is not None and sought.key is not None and not hears_of_reads(session)
    result = slow(session, statement, params, execution_options=options)
    if learns and sought is not None:
        plans.learn(Plan if top is None else SubPlan, plans.selects, sought.key, result, params or ())
    return result


def _is_part(options: Any) -> bool:
    """Whether a statement is that of a loader, for a load without options of its own."""
    top = options.get(_TOP) if len(options) == 1 else None
    if top is None or top.query._execution_options:
        return False
    return not top.execution_options.keys() - _OF_A_LOAD and not top.populate_existing


def wanted(session: Any, sought: Sought | None) -> Plan | None:
    """The plan, if there is one, and nobody hears of what it loads."""
    plan = sought.plan if sought is not None else None
    return plan if isinstance(plan, Plan) and is_quiet(session, plan) else None
