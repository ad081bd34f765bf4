"""``Session.get()`` by a plan."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import exc, inspect
from sqlalchemy.util import EMPTY_DICT

from respool.scope.scope import ENDED
from respool.session.life import Life, life_of
from respool.session.loading.eligibility import Eligibility
from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.plan import Asked, Plan
from respool.session.loading.plans.refusal import NoPlan
from respool.session.loading.plans.rows import new_run
from respool.session.loading.running import is_quiet, rows_of
from respool.session.reads.begin import hears_of_reads

__all__ = ["ELSEWHERE", "GetPlan", "asks_for_more", "is_of", "look", "one", "planned"]

#: What a key may be by itself. Anything else SQLAlchemy may take apart: a mapping, a composite, a sequence.
_SCALARS = frozenset({int, str, uuid.UUID, bytes, Decimal, datetime.date, datetime.datetime})
#: It has to be looked for SQLAlchemy's way.
ELSEWHERE: Any = object()


class GetPlan(Plan):
    """The plan of ``get()`` for one mapped class."""

    __slots__ = ("identity", "keys")

    kind = "get"

    def __init__(self, result: Any, given: Any, engine_options: Any) -> None:
        super().__init__(result, given, engine_options)
        if self.after is not None:
            raise NoPlan(
                "more is loaded with its object",
                "leave the loader out of the mapping, and give it to the statements that need it",
            )
        mapper = self.rows.mapper
        parameters = mapper._get_clause[1]
        self.identity = mapper._identity_class
        self.keys = tuple(parameters[column].key for column in mapper.primary_key)


def planned(slow: Callable[..., Any], eligibility: Eligibility) -> Callable[..., Any]:
    """``get()`` by a plan where there is one.

    Args:
        slow: the way without, which is SQLAlchemy's, guarded.
        eligibility: which sessions may go by plans.
    """

    @functools.wraps(slow)
    def get(session: Any, entity: Any, ident: Any, **options: Any) -> Any:
        life = life_of(session)
        if not life.planned or life.over or (options and asks_for_more(options)):
            return slow(session, entity, ident, **options)
        guard = life.guard
        entered = guard.enter(life, session)
        try:
            plans = eligibility.plans(session, life)
            if plans is not None:
                found = _find(session, life, plans, entity, ident)
                if found is not ELSEWHERE:
                    return found
                if _is_new(plans, entity):
                    return _learn(session, life, plans, entity, lambda: slow(session, entity, ident))
            return slow(session, entity, ident)
        finally:
            if entered:
                guard.leave(life, session)

    return get


#: Where they are what SQLAlchemy has by default they say nothing: the async session hands on all of them.
_OPTIONS = frozenset(
    {"options", "populate_existing", "with_for_update", "identity_token", "execution_options", "bind_arguments"}
)


def asks_for_more(options: Mapping[str, Any]) -> bool:
    """Whether ``get()`` is called with something that a plan knows nothing of."""
    for name, value in options.items():
        if name not in _OPTIONS:
            return True
        if not (value is None or value is EMPTY_DICT or (value is False and name == "populate_existing")):
            return True
    return False


def _find(session: Any, life: Life, plans: Plans, entity: Any, ident: Any) -> Any:
    plan, found = look(session, plans, entity, ident)
    if plan is None:
        return found
    rows = rows_of(session, life, plans, plan, Asked(found, plan.extracted, plan.statement))
    return ELSEWHERE if rows is None else one(plan, rows, session, life)


def look(session: Any, plans: Plans, entity: Any, ident: Any) -> tuple[Any, Any]:
    """How to find it: a plan, and what is given to it; or none, and what is there already, or ``ELSEWHERE``.

    Args:
        session: in which.
        plans: of its engine.
        entity: what ``get()`` is called with.
        ident: the key.
    """
    try:
        plan: Any = plans.gets.get(entity)
    except TypeError:  # it cannot be hashed
        return None, ELSEWHERE
    if type(plan) is not GetPlan:
        return None, ELSEWHERE
    mapper = plan.rows.mapper
    if mapper.__dict__.get("_prop_set") is not plan.rows.props or mapper._dispose_called:  # as Rows.holds, written out
        return None, ELSEWHERE
    keys = plan.keys
    if type(ident) in _SCALARS:
        ident = (ident,)
    elif type(ident) is not tuple or not all(type(part) in _SCALARS for part in ident):
        return None, ELSEWHERE
    if len(ident) != len(keys):
        return None, ELSEWHERE
    state = session.identity_map._dict.get((plan.identity, ident, None))
    if state is not None:
        instance = state.obj()
        if instance is not None:
            return None, ELSEWHERE if state.expired else instance
    if not is_quiet(session, plan):
        return None, ELSEWHERE
    return plan, {keys[0]: ident[0]} if len(keys) == 1 else dict(zip(keys, ident, strict=True))


def one(plan: Plan, rows: Sequence[Any], session: Any, life: Life) -> Any:
    """The object, if there is one; a key that is none in the database may have several rows."""
    scope = life.scope
    if scope is not None and scope.state is ENDED:  # meanwhile
        scope.refuse_ended()
    objects = plan.rows.objects_of(rows, session.identity_map, session.hash_key, new_run(), ())
    if not objects:
        return None
    first = objects[0]
    if len(objects) > 1 and any(each is not first for each in objects):
        raise exc.MultipleResultsFound("Multiple rows were found when exactly one was required")
    return first


def _is_new(plans: Plans, entity: Any) -> bool:
    """Whether nothing is known about it yet, or not any more."""
    try:
        plan = plans.gets.get(entity)
    except TypeError:
        return False
    return plan is None or (isinstance(plan, Plan) and not plan.rows.holds)


def _learn(session: Any, life: Life, plans: Plans, entity: Any, slow: Callable[[], Any]) -> Any:
    """What SQLAlchemy finds, and what it does for that is looked at."""
    mapper: Any = inspect(entity, raiseerr=False)
    is_class = getattr(mapper, "is_mapper", False) and mapper.class_ is entity
    if not is_class or hears_of_reads(session):
        return slow()
    keys = [bind.key for bind in mapper._get_clause[1].values()]

    def look_at(result: Any) -> None:
        if entity not in plans.gets and is_of(result, mapper):
            plans.learn(GetPlan, plans.gets, entity, result, keys)

    plans.gets.pop(entity, None)
    before, life.learner = life.learner, look_at
    try:
        return slow()
    finally:
        life.learner = before


def is_of(result: Any, mapper: Any) -> Any:
    """Whether a result is that of the ``get()``: others may come of what hears of a flush, or of loaders."""
    statement = getattr(getattr(getattr(result, "raw", None), "context", None), "invoked_statement", None)
    subject: Any = getattr(statement, "_propagate_attrs", {}).get("plugin_subject")
    criteria: Any = getattr(statement, "_where_criteria", ())
    return subject is mapper and len(criteria) == 1 and criteria[0].compare(mapper._get_clause[0])
