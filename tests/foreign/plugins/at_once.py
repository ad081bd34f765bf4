"""Answers a statement from the plan that was made of it just now: a suite that reads everything once is read by plans, too.

A plan is learned when SQLAlchemy has executed the statement and nobody has fetched a row yet.  So the rows can be taken from
its cursor, and made into objects by the plan instead.  So it is with what a loader loads for objects of a plan: where its
statement makes a batch, the loader is left when it wants the first row, and the batch goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from foreign_results import made
from sqlalchemy.orm import loading

from respool.session.life import life_of
from respool.session.loading import batches, results
from respool.session.loading.batches import Batch
from respool.session.loading.plans.kept import Plans, Table
from respool.session.loading.plans.plan import Load, Part, Plan
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
    batches.invoke = _invoke


def _answer(plans: Plans, plan: Plan, result: Any) -> None:
    context, raw = result.context, result.raw
    top = context.top_level_context
    made["answers at once"] += 1

    part = Part(plan, plan.extracted)
    batch = _batch(plan, part, top)

    def chunks(size: int | None) -> Iterator[Sequence[Any]]:
        if not under_way:
            rows = list(raw.cursor_strategy.fetchall(raw, raw.cursor))
            if batch is not None:
                raise _Left(plans, batch, part, rows)
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


# -- batches ------------------------------------------------------------------------------------------------------------


class _Left(Exception):
    """A loader is left for a batch."""

    def __init__(self, plans: Plans, batch: Batch, part: Part, rows: Sequence[Any]) -> None:
        self.plans, self.batch, self.part, self.rows = plans, batch, part, rows


_loaders: list[tuple[Any, Any]] = []
_invoke_loader = batches.invoke


def _invoke(waiting: Any, context: Load, path: Any) -> tuple[list[Part], bool]:
    """What :func:`batches.invoke` does, by a batch where the loader's statement makes one."""
    (entry,), session = waiting.loaders.values(), context.session
    _loaders.append((context, entry))
    try:
        return _invoke_loader(waiting, context, path)
    except _Left as left:
        states, size = list(waiting.states.items()), left.batch.size
        left.batch.place(session, left.rows, states[:size], entry[0])
        made["batches at once"] += 1
        rest = left.batch.load(session, life_of(session), left.plans, states[size:], entry[0])
        if rest:
            waiting.states, waiting.loaders = dict(rest), {None: entry}
            _invoke_loader(waiting, context, path)
        return [left.part], False
    finally:
        _loaders.pop()


def _batch(plan: Plan, part: Part, top: Any) -> Batch | None:
    """The batch of the loader that has this statement executed."""
    if not _loaders or _loaders[-1][0] is not top or plan.after:
        return None
    return batches.batch_of(_loaders[-1][1], part, top) or None
