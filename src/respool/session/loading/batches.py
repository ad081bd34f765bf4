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
from respool.session.loading.plans.plan import Part, Plan
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

    __slots__ = ("_loader", "_part")

    def __init__(self, loader: Any, part: Part) -> None:
        self._loader, self._part = loader, part

    def load(
        self, session: Any, life: Life, plans: Plans, states: Sequence[State], options: tuple[Any, ...]
    ) -> Sequence[State]:
        """Load for objects; returns those for which it has to be done in another way.

        Args:
            session: that loads.
            life: its life.
            plans: those of the engine.
            states: of the objects.
            options: of this load, that what is loaded is marked with: a key of SQLAlchemy's does not tell all of them.
        """
        plan, size = self._part.plan, self._loader._chunksize
        while states and plan.rows.holds and is_quiet(session, plan):
            if not self._load(session, life, plans, states[:size], options):
                break
            states = states[size:]
        return states

    def _load(self, session: Any, life: Life, plans: Plans, states: Sequence[State], options: tuple[Any, ...]) -> bool:
        info, part, identity_map = self._loader._query_info, self._part, session.identity_map
        keys = [state.key[1] for state, _ in states]
        asked = [key[0] for key in keys] if info.zero_idx else keys
        rows = rows_of(session, life, plans, part.plan, {_KEYS: asked}, part.extracted)
        if rows is None or "_add_unpresent" in identity_map.__dict__:  # it has let go of all objects since
            return False
        plan, found = part.plan, defaultdict(list)
        objects = plan.rows.objects_of(rows, identity_map, session.hash_key, new_run(), options)
        columns = [[row[i] if process is None else process(row[i]) for row in rows] for i, process in plan.leading]
        for key, each in zip(zip(*columns, strict=True), objects, strict=True):
            found[key].append(each)
        name = self._loader.key
        for key, (state, overwrite) in zip(keys, states, strict=True):
            values = state.dict
            if overwrite or name not in values:
                state.get_impl(name).set_committed_value(state, values, found.get(key, ()))
        return True


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
        options = entry[0].propagated_loader_options
        rest = batch.load(session, life, plans, states, options) if batch else states
        if rest:
            waiting.states, waiting.loaders = dict(rest), {token: entry}
            context.parts, before = [], len(context.post_load_paths)
            waiting.invoke(context, path)
            parts, context.parts = context.parts, None
            if batch is None and len(parts) == 1:  # it is known by now
                more = len(context.post_load_paths) > before
                plan.batches[token] = False if more else _batch_of(entry, parts[0])
    waiting.states, waiting.loaders = {}, loaders


def _batch_of(entry: Any, part: Part) -> Any:
    """The batch of a loader that does nothing but this; ``False`` of any other."""
    _, _, _, load, (_, option, depth, _), _ = entry
    loader: Any = getattr(load, "__self__", None)
    kind: Any = type(loader)
    if kind is not _Loader or load.__func__ is not kind._load_for_path:
        return False
    if depth is not None or not loader.uselist or loader._query_info.load_only_child:
        return False
    if option is not None and (option._extra_criteria or option.local_opts.get("chunksize") is not None):
        return False
    return Batch(loader, part) if part.plan.call is not None else False
