"""The result of a planned statement: SQLAlchemy's own, whose rows are made into objects when the first is fetched."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.engine.result import ChunkedIteratorResult, SimpleResultMetaData
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import attributes

from respool.scope.scope import ENDED
from respool.session.life import Life
from respool.session.loading.batches import load_parts
from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.plan import Plan
from respool.session.loading.plans.rows import new_run

__all__ = ["result_of"]

#: How a result learns what makes two of its objects the same: SQLAlchemy 2.1 asks a function.
_BY_FUNCTION = "_create_unique_filters" in inspect.signature(SimpleResultMetaData).parameters


class _Loading:
    """The rows of one execution, on their way to objects.

    Args:
        plan: that of the statement.
        rows: as the driver gave them.
        session: whose objects they become.
        life: its life.
        context: SQLAlchemy's record of the load, where more is loaded than columns.
        plans: those of the engine.
        top: the record of that which it is a part of.
    """

    __slots__ = (
        "_context",
        "_identity_map",
        "_life",
        "_options",
        "_plan",
        "_plans",
        "_rows",
        "_run",
        "_session_id",
        "_top",
        "unique",
    )

    def __init__(
        self, plan: Plan, rows: Sequence[Any], session: Any, life: Life, context: Any, plans: Plans, top: Any
    ) -> None:
        self._plan, self._rows, self._life, self._plans = plan, rows, life, plans
        self._identity_map, self._session_id = session.identity_map, session.hash_key
        self._run = new_run()
        self._context, self._top = context, top
        self._options: tuple[Any, ...] = ()
        if context is not None:
            context.runid, self._options = self._run, context.propagated_loader_options
        self.unique = False  #: somebody wants each object once

    def chunks(self, size: int | None) -> Iterator[Sequence[Any]]:
        """All objects, or so many at a time."""
        if not size:
            yield self._objects(len(self._rows))
            return
        while True:
            if self.unique:
                _refuse_both()
            if not self._rows:
                return
            yield self._objects(size)

    def _objects(self, number: int) -> Sequence[Any]:
        scope = self._life.scope
        if scope is not None and scope.state is ENDED:
            scope.refuse_ended()
        rows, self._rows = self._rows[:number], self._rows[number:]
        identity_map = self._identity_map
        if "_add_unpresent" in identity_map.__dict__:  # its session has let go of all objects since
            self._refuse(rows)
        plan = self._plan
        objects = plan.rows.objects_of(rows, identity_map, self._session_id, self._run, self._options)
        if self._context is not None:
            self._load_more(objects)
        if not plan.leading:
            return objects
        keys = [[row[i] if process is None else process(row[i]) for row in rows] for i, process in plan.leading]
        return list(zip(*keys, objects, strict=True))

    def _load_more(self, objects: Sequence[Any]) -> None:
        """Have SQLAlchemy's loaders load for these objects, as it does at the end of a load."""
        context = self._context
        collected = self._plan.begin_loaders(context)
        if collected:
            for instance in objects:
                if instance is not None:
                    state = attributes.instance_state(instance)
                    collected.add_state(state, state.runid == self._run)
        while self._top is None and context.post_load_paths:
            waiting = list(context.post_load_paths.items())
            context.post_load_paths.clear()
            for path, each in waiting:
                load_parts(self._plan, self._plans, each, context, path, context.session, self._life)

    def _refuse(self, rows: Sequence[Any]) -> None:
        elsewhere = type(self._identity_map)()
        for instance in self._plan.rows.objects_of(rows, elsewhere, self._session_id, self._run, ()):
            state = attributes.instance_state(instance) if instance is not None else None
            if state is not None and self._identity_map.get(state.key) is None:
                self._identity_map._add_unpresent(state, state.key)  # which raises


def _metadata_of(plan: Plan) -> Any:
    """What SQLAlchemy's results know of their columns; the same for all of a plan."""
    one_each: list[Any] = [None] * len(plan.leading) + [id]

    def filters(result: Any) -> list[Any]:  # asked for when somebody wants each object once
        if result._yield_per:
            _refuse_both()
        under_way = result.__dict__.get("_respool_loading")
        if under_way is not None:
            under_way.unique = True
        return one_each

    more: Any = {"_create_unique_filters": filters} if _BY_FUNCTION else {"_unique_filters": one_each}
    return SimpleResultMetaData(plan.labels, plan.entities, **more)


def _refuse_both() -> None:
    raise InvalidRequestError("Can't use the ORM yield_per feature in conjunction with unique()")


def result_of(
    plan: Plan,
    rows: Sequence[Any],
    session: Any,
    life: Life,
    context: Any = None,
    *,
    plans: Plans,
    top: Any = None,
    buffered: bool,
) -> Any:
    """The result of a planned statement.

    Args:
        plan: that of the statement.
        rows: as the driver gave them.
        session: whose objects they become.
        life: its life.
        context: SQLAlchemy's record of the load, where more is loaded than columns.
        plans: those of the engine.
        top: the record of that which it is a part of.
        buffered: whether they are made at once.
    """
    under_way = _Loading(plan, rows, session, life, context, plans, top)
    chunks: Any = under_way.chunks
    if buffered:
        made = list(chunks(None))

        def chunks(size: int | None) -> Iterator[Sequence[Any]]:
            return iter(made)

    if plan.metadata is None:
        plan.metadata = _metadata_of(plan)
    result: Any = ChunkedIteratorResult(plan.metadata, chunks, source_supports_scalars=not plan.leading)
    result._respool_loading = under_way
    result._attributes = plan.attributes
    return result
