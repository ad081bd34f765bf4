"""Answers a statement from the plan that was made of it just now: a suite that reads everything once is read by plans, too.

A plan is learned when SQLAlchemy has executed the statement and nobody has fetched a row yet.  So the rows can be taken from
its cursor, and made into objects by the plan instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from foreign_results import made
from sqlalchemy.orm import loading

from respool.session.life import life_of
from respool.session.loading import results
from respool.session.loading.plans.kept import Plans, Table
from respool.session.loading.plans.plan import Plan
from respool.session.loading.running import is_quiet

__all__ = ["answer_at_once"]


def answer_at_once() -> None:
    """From now on, in this process."""
    learn = Plans.learn

    def learn_and_answer(
        self: Plans, kind: type[Plan], table: Table, key: Any, result: Any, given: Collection[str]
    ) -> None:
        learn(self, kind, table, key, result, given)
        plan = table.get(key)
        if not isinstance(plan, Plan) or "prebuffer_rows" in plan.execution_options:
            return
        if is_quiet(result.context.session, plan):  # as a planned read asks
            _answer(self, plan, result)

    Plans.learn = learn_and_answer  # type: ignore[method-assign]
    instances = loading.instances

    def with_context(cursor: Any, context: Any) -> Any:
        result: Any = instances(cursor, context)
        result.context = context  # SQLAlchemy 2.1 keeps it by itself
        return result

    loading.instances = with_context


def _answer(plans: Plans, plan: Plan, result: Any) -> None:
    context, raw = result.context, result.raw
    top = context.top_level_context
    made["answers at once"] += 1

    def chunks(size: int | None) -> Iterator[Sequence[Any]]:
        if not under_way:
            rows = list(raw.cursor_strategy.fetchall(raw, raw.cursor))
            own = None
            if plan.after is not None:
                own = plan.query_context(context.session, context.query, context.params, top)
            under_way.append(results._Loading(plan, rows, context.session, life_of(context.session), own, plans, top))
        return under_way[0].chunks(size)

    under_way: list[results._Loading] = []
    result.chunks = chunks
    result.iterator = itertools.chain.from_iterable(_late(chunks))


def _late(chunks: Any) -> Iterator[Sequence[Any]]:
    yield from chunks(None)
