"""What a session tracks: the states of its model objects."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState

from respool.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["ObjectState", "describe", "state_of", "tracked"]


class ObjectState(Enum):
    """Where a model object is in its life with respect to sessions."""

    TRANSIENT = "transient"  #: made by the program; no session knows it, no row
    PENDING = "pending"  #: added to a session; its row will be inserted at the next flush
    PERSISTENT = "persistent"  #: in a session, with a row
    DELETED = "deleted"  #: its row was deleted by a flush; gone for good after the commit
    DETACHED = "detached"  #: has a row, but its session was closed or let go of it


def state_of(obj: object) -> ObjectState:
    """The state of a model object.

    Args:
        obj: an instance of a mapped class.

    Raises:
        ConfigError: ``obj`` is not an instance of a mapped class.
    """
    state: Any = inspect(obj, raiseerr=False)
    if not isinstance(state, InstanceState):
        given = f"the class {obj.__name__}" if isinstance(obj, type) else f"an object of type {type(obj).__name__}"
        raise ConfigError(
            f"state_of() got {given}, which is not an instance of a mapped class",
            advice=["give it an object of a class that SQLAlchemy maps: state_of(order)"],
            given=type(obj).__name__,
        )
    for name in ObjectState:
        if getattr(state, name.value):
            return name
    return ObjectState.DETACHED


def tracked(session: Session) -> Mapping[ObjectState, list[object]]:
    """The objects that a session tracks, by state. One deleted but not flushed yet is still persistent."""
    gone = [state.obj() for state in _deleted(session)]
    return {
        ObjectState.PENDING: list(session.new),
        ObjectState.PERSISTENT: list(session.identity_map.values()),
        ObjectState.DELETED: [obj for obj in gone if obj is not None],
    }


def _deleted(session: Session) -> list[InstanceState[Any]]:
    log = getattr(session, "_log", None)
    states: list[InstanceState[Any]] = list(log.deleted_states()) if log is not None else []
    return [state for state in states if state.deleted]


def describe(state: InstanceState[Any], key: Any) -> str:
    """``Order(id=7)``: class and primary key, and no other value. ``Order(new)`` without an identity key."""
    name, mapper = state.class_.__name__, state.mapper
    if key is None:
        return f"{name}(new)"
    if mapper is None:  # unmapped meanwhile, by clear_mappers()
        return f"{name}({', '.join(map(repr, key[1]))})"
    pairs = zip(mapper.primary_key, key[1], strict=True)
    keys = ", ".join(f"{mapper.get_property_by_column(column).key}={value!r}" for column, value in pairs)
    return f"{name}({keys})"
