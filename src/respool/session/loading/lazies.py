"""The lazy load of a many-to-one, which is a ``get()`` of SQLAlchemy's own, by a plan.

SQLAlchemy looks into the identity map first, and then has its lazy loader emit a statement; there is no hook in between.  So
that one method learns to ask whose session it is: of any but ours it does what it did.
"""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy.orm import strategies
from sqlalchemy.orm.base import NO_AUTOFLUSH
from sqlalchemy.orm.context import QueryContext
from sqlalchemy.util import immutabledict

from respool.session.life import Life
from respool.session.loading.eligibility import Eligibility
from respool.session.loading.gets import GetPlan, is_of, one
from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.plan import Asked
from respool.session.loading.running import is_quiet, rows_of
from respool.session.reads.begin import hears_of_reads

__all__ = ["teach"]

#: SQLAlchemy 2.1 has put an underscore before it.
_LazyLoader: Any = getattr(strategies, "_LazyLoader", None) or getattr(strategies, "LazyLoader", None)
#: As a lazy load has them; that of which object it comes is left out, which a plan must not keep.
_LOAD_OPTIONS: Any = QueryContext.default_load_options + {"_invoke_all_eagers": False}


class LazyPlan(GetPlan):
    """The plan of a many-to-one's lazy load."""

    __slots__ = ()

    kind = "lazy load"

    def __init__(self, result: Any, given: Any, engine_options: Any) -> None:
        super().__init__(result, given, engine_options)
        self.execution_options = immutabledict(
            {**self.execution_options, "_sa_orm_load_options": _LOAD_OPTIONS},
        )


def teach(eligibility: Eligibility) -> None:
    """Have SQLAlchemy's lazy loader ask, once for the process.

    Args:
        eligibility: which sessions may go by plans.
    """
    plain = _LazyLoader._emit_lazyload

    @functools.wraps(plain)
    def emit(self: Any, session: Any, state: Any, identity: Any, passive: Any, *more: Any) -> Any:
        slow = functools.partial(plain, self, session, state, identity, passive, *more)
        life = getattr(session, "_respool_life", None)
        if life is None or not life.planned or not self.use_get or life.over or any(more):
            return slow()
        if state.load_options or not state.key or self._raise_on_sql or passive & NO_AUTOFLUSH:
            return slow()
        guard = life.guard
        entered = guard.enter(life, session)
        try:
            plans = eligibility.plans(session, life)
            return slow() if plans is None else _found(self, session, life, plans, state, identity, slow)
        finally:
            if entered:
                guard.leave(life, session)

    _LazyLoader._emit_lazyload = emit


def _found(loader: Any, session: Any, life: Life, plans: Plans, state: Any, identity: Any, slow: Any) -> Any:
    key = loader, state.mapper
    plan: Any = plans.lazies.get(key)
    if plan is None or (type(plan) is LazyPlan and not plan.rows.holds):
        return _learn(loader, session, life, plans, key, slow)
    if type(plan) is not LazyPlan or None in identity or not is_quiet(session, plan):
        return slow()
    given = dict(zip(plan.keys, identity, strict=True))
    rows = rows_of(session, life, plans, plan, Asked(given, plan.extracted, plan.statement))
    return slow() if rows is None else one(plan, rows, session, life)


def _learn(loader: Any, session: Any, life: Life, plans: Plans, key: Any, slow: Any) -> Any:
    target = loader.entity
    if not target.is_mapper or hears_of_reads(session):
        return slow()
    path = key[1]._path_registry[loader.parent_property]
    keys = [bind.key for bind in target._get_clause[1].values()]

    def look_at(result: Any) -> None:
        if key in plans.lazies or not is_of(result, target):
            return
        if result.raw.context.compiled.compile_state.current_path == path:
            plans.learn(LazyPlan, plans.lazies, key, result, keys)

    plans.lazies.pop(key, None)
    before, life.learner = life.learner, look_at
    try:
        return slow()
    finally:
        life.learner = before
