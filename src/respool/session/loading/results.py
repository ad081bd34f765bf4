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
    """

    __slots__ = ("_identity_map", "_life", "_plan", "_rows", "_run", "_session_id", "unique")

    def __init__(self, plan: Plan, rows: Sequence[Any], session: Any, life: Life) -> None:
        self._plan, self._rows, self._life = plan, rows, life
        self._identity_map, self._session_id = session.identity_map, session.hash_key
        self._run = new_run()
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
        return self._plan.rows.objects_of(rows, identity_map, self._session_id, self._run)

    def _refuse(self, rows: Sequence[Any]) -> None:
        elsewhere = type(self._identity_map)()
        for instance in self._plan.rows.objects_of(rows, elsewhere, self._session_id, self._run):
            state = attributes.instance_state(instance) if instance is not None else None
            if state is not None and self._identity_map.get(state.key) is None:
                self._identity_map._add_unpresent(state, state.key)  # which raises

    def filters(self, result: Any) -> Any:
        """SQLAlchemy asks when somebody wants each object once."""
        if result._yield_per:
            _refuse_both()
        self.unique = True
        return [id]


def _refuse_both() -> None:
    raise InvalidRequestError("Can't use the ORM yield_per feature in conjunction with unique()")


def result_of(plan: Plan, rows: Sequence[Any], session: Any, life: Life, *, buffered: bool) -> Any:
    """The result of a planned statement.

    Args:
        plan: that of the statement.
        rows: as the driver gave them.
        session: whose objects they become.
        life: its life.
        buffered: whether they are made at once.
    """
    under_way = _Loading(plan, rows, session, life)
    chunks: Any = under_way.chunks
    if buffered:
        made = list(chunks(None))

        def chunks(size: int | None) -> Iterator[Sequence[Any]]:
            return iter(made)

    filters: Any = {"_create_unique_filters": under_way.filters} if _BY_FUNCTION else {"_unique_filters": [id]}
    metadata = SimpleResultMetaData([plan.label], [plan.entities], **filters)
    result: Any = ChunkedIteratorResult(metadata, chunks, source_supports_scalars=True)
    result._attributes = plan.attributes
    return result
