"""How the plan of a statement is found.

In the statement itself, if it was executed before; by a quick key, which knows the parts of the most usual statements by
their identity; else by the key that SQLAlchemy makes for its own cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ColumnClause
from sqlalchemy.sql.selectable import _OffsetLimitParam

from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.plan import Plan
from respool.session.loading.plans.refusal import NoPlan

__all__ = ["Sought", "find"]

#: Where a statement keeps its plan. SQLAlchemy leaves it out when it makes another statement of it.
_MEMO = "_respool_plan"
#: What a usual statement is made of, when it is new; if there is anything else it is none.
_PARTS = frozenset(
    {
        *("_raw_columns", "_where_criteria", "_propagate_attrs", "_order_by_clauses", "_limit_clause"),
        *("_label_style", "_fetch_clause", "_fetch_clause_options"),
    }
)
_COMPARISONS = frozenset({operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge})


class _Memo:
    """What a statement keeps of its plan; a copy of the statement, pickled or deep, keeps nothing.

    Args:
        plans: those it is one of, weakly.
        which: what was given with it, and how it was executed.
        sought: what was found.
    """

    __slots__ = ("plans", "sought", "which")

    def __init__(self, plans: Any, which: Any, sought: Sought) -> None:
        self.plans, self.which, self.sought = plans, which, sought

    def __reduce__(self) -> Any:
        return type(None), ()


class Sought:
    """What is known of a statement's plan: the plan, or why there is none, or what it would be noted under.

    Args:
        plan: ``None`` as long as nothing is known.
        extracted: the parameters that SQLAlchemy finds in the statement.
        key: under which a plan is noted; ``None`` if none can be.
    """

    __slots__ = ("extracted", "key", "plan")

    def __init__(self, plan: Plan | NoPlan | None, extracted: Sequence[Any], key: Any = None) -> None:
        self.plan, self.extracted, self.key = plan, extracted, key


def find(plans: Plans, statement: Any, params: Mapping[str, Any] | None, kind: Any) -> Sought | None:
    """The plan of a statement.

    Args:
        plans: of the engine.
        statement: a ``Select``.
        params: what is given with it.
        kind: of execution: whether its objects are made at once, whether it is a part of another load.

    Returns:
        ``None`` if the statement has no key.
    """
    parts = statement.__dict__
    memo: _Memo | None = parts.get(_MEMO)
    given = tuple(sorted(params)) if params else None
    which = (given, kind)
    if memo is not None and memo.plans is plans.itself and memo.which == which:
        sought = memo.sought
        if _holds(sought.plan):
            return sought
    usual = None if params else _usual(parts, kind)
    if usual is not None:
        entry = plans.quick.get(usual[0])
        if entry is not None and _holds(entry[0]):
            return Sought(entry[0], usual[1])
    key = statement._generate_cache_key()
    if key is None or (len(key) > 2 and key[2] is not None):  # since SQLAlchemy 2.1
        return None
    full = (key.key, which)
    plan = plans.selects.get(full)
    if plan is None or not _holds(plan):
        return Sought(None, key.bindparams, full)
    if (
        usual is not None
        and isinstance(plan, Plan)
        and [bind.key for bind in usual[1]] == [bind.key for bind in key.bindparams]
    ):
        plans.note_quick(usual[0], (plan, statement))  # which keeps alive what the key knows by identity
    sought = Sought(plan, key.bindparams)
    statement._set_memoized_attribute(_MEMO, _Memo(plans.itself, which, sought))
    return sought


def _holds(plan: Any) -> bool:
    return plan is not None and (type(plan) is NoPlan or plan.rows.holds)


def _usual(parts: Mapping[str, Any], kind: Any) -> tuple[Any, list[Any]] | None:
    """A key that stands for SQLAlchemy's, and the parameters in the same order; ``None`` of what is not so usual.

    ``select(Item).where(Item.id == x)``, with any number of comparisons, an order by columns, and a limit.
    """
    if not parts.keys() <= _PARTS:
        return None
    columns = parts["_raw_columns"]
    if len(columns) != 1 or parts.get("_fetch_clause") is not None:
        return None
    key: list[Any] = [id(columns[0]), parts.get("_label_style"), kind]
    binds: list[Any] = []
    for criterion in parts.get("_where_criteria", ()):
        if type(criterion) is not BinaryExpression or criterion.modifiers or criterion.operator not in _COMPARISONS:
            return None
        left, right = criterion.left, criterion.right
        if type(right) is not BindParameter or right.expanding or right.literal_execute or right.type is not left.type:
            return None
        if not _is_mapped(left) or right._annotations:
            return None
        key += (id(left), criterion.operator, None if right.unique else right.key)  # which several may have
        binds.append(right)
    limit = parts.get("_limit_clause")
    if limit is not None:
        if type(limit) is not _OffsetLimitParam:
            return None
        binds.append(limit)
        key.append("limit")
    for column in parts.get("_order_by_clauses", ()):
        if not _is_mapped(column):
            return None
        key.append(id(column))
    return tuple(key), binds


def _is_mapped(element: Any) -> bool:
    """Whether it is the column of a mapped class: each time the same object."""
    return isinstance(element, ColumnClause) and "parententity" in element._annotations
