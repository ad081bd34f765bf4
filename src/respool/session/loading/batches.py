"""``selectinload`` of a collection by a plan: the statement that SQLAlchemy's loader has made once, for the next objects.

The loader makes the same statement for each load anew, and SQLAlchemy a key of it. What a loader does beside, for a criterion
of its own, a reference, a second level, is left to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import strategies

from respool.session.life import Life
from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.plan import Asked, Load, Part, Plan
from respool.session.loading.plans.rows import new_run
from respool.session.loading.running import is_quiet, rows_of

__all__ = ["load_parts"]

#: SQLAlchemy 2.1 has put an underscore before it.
_Loader: Any = getattr(strategies, "_SelectInLoader", None) or getattr(strategies, "SelectInLoader", None)

#: How the loader calls the keys that it asks for.
_KEYS = "primary_keys"

#: Of an object, and whether it gets what it has already.
State = tuple[Any, bool]


class Batch:
    """How one loader's statement is executed for other objects.

    Args:
        loader: SQLAlchemy's.
        part: the statement that it has made.
    """

    __slots__ = ("_loader", "_part", "size")

    def __init__(self, loader: Any, part: Part) -> None:
        self._loader, self._part = loader, part
        self.size: int = loader._chunksize  #: for so many objects at once

    def load(self, session: Any, life: Life, plans: Plans, states: Sequence[State], context: Load) -> Sequence[State]:
        """Load for objects; returns those for which it has to be done in another way.

        Args:
            session: that loads.
            life: its life.
            plans: those of the engine.
            states: of the objects.
            context: SQLAlchemy's record of the load that this is a part of.
        """
        plan, size = self._part.plan, self.size
        while states and plan.rows.holds and is_quiet(session, plan):
            rows = self._rows(session, life, plans, states[:size], context)
            if rows is None or "_add_unpresent" in session.identity_map.__dict__:  # it has let go of all objects since
                break
            self.place(session, rows, states[:size], context)
            states = states[size:]
        return states

    def _rows(
        self, session: Any, life: Life, plans: Plans, states: Sequence[State], context: Load
    ) -> Sequence[Any] | None:
        keys: list[Any] = [state.key[1] for state, _ in states]
        if self._loader._query_info.zero_idx:
            keys = [key[0] for key in keys]
        plan, extracted = self._part
        entered = life.guard.enter(life, session)  # who fetches objects may be outside of their session
        try:
            return rows_of(session, life, plans, plan, Asked({_KEYS: keys}, extracted, plan.statement, context))
        finally:
            if entered:
                life.guard.leave(life, session)

    def place(self, session: Any, rows: Sequence[Any], states: Sequence[State], context: Load) -> None:
        """Make objects of what was loaded, and give them to those that they belong to.

        Args:
            session: that loads.
            rows: as the driver gave them.
            states: of the objects that it was loaded for.
            context: see :meth:`load`.
        """
        # what is loaded is marked with those of this load: a key of SQLAlchemy's does not tell all of them
        options = context.propagated_loader_options
        plan, keys, found = self._part.plan, [state.key[1] for state, _ in states], defaultdict(list)
        objects = plan.rows.objects_of(rows, session.identity_map, session.hash_key, new_run(), options)
        columns = [[row[i] if process is None else process(row[i]) for row in rows] for i, process in plan.leading]
        for key, each in zip(zip(*columns, strict=True), objects, strict=True):
            found[key].append(each)
        name = self._loader.key
        for key, (state, overwrite) in zip(keys, states, strict=True):
            values = state.dict
            if overwrite or name not in values:
                state.get_impl(name).set_committed_value(state, values, found.get(key, ()))


def load_parts(plan: Plan, plans: Plans, waiting: Any, context: Any, path: Any, session: Any, life: Life) -> None:
    """Have loaders load for the objects that wait for it, as SQLAlchemy does at the end of a load.

    Args:
        plan: of the load that they are a part of.
        plans: those of the engine.
        waiting: SQLAlchemy's collection of objects and loaders.
        context: its record of the load.
        path: where in that the objects are.
        session: that loads.
        life: its life.
    """
    # of what is loaded on two ways, each is another
    if waiting.load_keys is not None or path != plan.rows.load_path.path:
        waiting.invoke(context, path)
        return
    states, loaders = list(waiting.states.items()), waiting.loaders
    for token, entry in loaders.items():
        batch = plan.batches.get(token)
        rest = batch.load(session, life, plans, states, entry[0]) if batch else states
        if rest:
            waiting.states, waiting.loaders = dict(rest), {token: entry}
            parts, more = invoke(waiting, context, path)
            if batch is None and len(parts) == 1:  # it is known by now
                plan.batches[token] = False if more else batch_of(entry, parts[0], context)
    waiting.states, waiting.loaders = {}, loaders


def invoke(waiting: Any, context: Any, path: Any) -> tuple[list[Part], bool]:
    """Have SQLAlchemy's loader load; returns the statements that it has made, and whether what it loads loads more.

    Args:
        waiting: objects, and the one loader.
        context: SQLAlchemy's record of the load.
        path: where in that the objects are.
    """
    context.parts, before = [], len(context.post_load_paths)
    waiting.invoke(context, path)
    parts, context.parts = context.parts, None
    return parts, len(context.post_load_paths) > before


def batch_of(entry: Any, part: Part, context: Any) -> Any:
    """The batch of a loader that does nothing but this; ``False`` of any other.

    Args:
        entry: the loader, as SQLAlchemy keeps it.
        part: the statement that it has made.
        context: SQLAlchemy's record of the load.
    """
    _, _, _, load, (_, option, depth, _), _ = entry
    loader: Any = getattr(load, "__self__", None)
    kind: Any = type(loader)
    if kind is not _Loader or load.__func__ is not kind._load_for_path:
        return False
    if depth is not None or not loader.uselist or loader._query_info.load_only_child:
        return False
    if option is not None and (option._extra_criteria or option.local_opts.get("chunksize") is not None):
        return False
    if any(_has_values(each) for each in context.query._with_options):  # the statement has those of the first load
        return False
    return Batch(loader, part) if part.plan.call is not None else False


def _has_values(option: Any) -> bool:
    """Whether an option is given values, which are others the next time: ``with_expression`` is."""
    if not option._is_has_cache_key:  # a user's, which does nothing to a statement
        return False
    key = option._generate_cache_key()
    return key is None or bool(key.bindparams)
