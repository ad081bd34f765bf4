"""What a session tracks: the states of its model objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def tracked(session: Session, deleted: Iterable[InstanceState[Any]]) -> Mapping[ObjectState, list[object]]:
    """The objects that a session tracks, by state. One deleted but not flushed yet is still persistent.

    Args:
        session: the session.
        deleted: SQLAlchemy's records of the objects whose rows were deleted by a flush.
    """
    gone = [state.obj() for state in deleted]
    return {
        ObjectState.PENDING: list(session.new),
        ObjectState.PERSISTENT: list(session.identity_map.values()),
        ObjectState.DELETED: [obj for obj in gone if obj is not None],
    }


def describe(state: InstanceState[Any], key: Any) -> str:
    """``Order(id=7)``: class and primary key, and no other value. ``Order(new)`` without an identity key."""
    name = state.class_.__name__
    if key is not None and state.mapper is None:  # unmapped meanwhile, by clear_mappers()
        return f"{name}({', '.join(map(repr, key[1]))})"
    keys = ", ".join(f"{attribute}={value!r}" for attribute, value in identity(state, key).items())
    return f"{name}({keys or 'new'})"


def identity(state: InstanceState[Any], key: Any) -> dict[str, Any]:
    """The primary key in an identity key, by attribute."""
    return dict(zip(primary_key(state), key[1], strict=True)) if key is not None else {}


def primary_key(state: InstanceState[Any]) -> list[str]:
    """The attributes that are an object's primary key."""
    mapper = state.mapper
    return [mapper.get_property_by_column(column).key for column in mapper.primary_key]


def key_now(state: InstanceState[Any]) -> Any:
    """The identity key by what an object's primary key is now, though a flush may not have told it yet."""
    values = state.dict
    names = primary_key(state)
    if state.key is None or not all(name in values for name in names):
        return state.key
    return state.mapper.identity_key_from_primary_key(
        tuple(values[name] for name in names), identity_token=state.identity_token
    )


def column_values(state: InstanceState[Any]) -> dict[str, Any]:
    """The values of an object's columns that are there; nothing is loaded for it."""
    values = state.dict
    return {attribute.key: values[attribute.key] for attribute in state.mapper.column_attrs if attribute.key in values}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; what cannot be compared is not."""
    try:
        return bool(one is other or one == other)
    except Exception:
        return False
