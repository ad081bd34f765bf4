"""What is seen of a program's run, in values that can be compared."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, inspect
from sqlalchemy.engine import Result
from sqlalchemy.exc import DBAPIError

from tests.differential.model import Step
from tests.differential.schema import MODELS

__all__ = ["Seen", "Trace", "failed", "object_state", "plain", "sqlstate_of", "states_of"]

_MODELS = tuple(MODELS.values())
_COLUMNS = {model: [attribute.key for attribute in inspect(model).column_attrs] for model in _MODELS}


@dataclass
class Seen:
    """After one step.

    Args:
        step: which.
        outcome: what it returned, or which class of error it raised.
        objects: each object that the program has a name for: its state, what it has loaded, what it has not.
        session: how many objects are new, changed, deleted in the session.
        rows: all that is saved, as somebody else sees it.
        warned: SQLAlchemy's warnings, by class.
        heard: which events.
        sqlstate, message, states: the error's, not compared; the last also of those that it came up after.
        in_transaction, holding: whether it is in a transaction, and has a connection; not compared.
        lives: how many sessions of the program had ended before; not compared.
    """

    step: Step
    outcome: Any = None
    objects: Mapping[str, Any] = field(default_factory=dict)
    session: tuple[int, int, int] = (0, 0, 0)
    rows: str = ""
    warned: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    sqlstate: str | None = None
    message: str = ""
    states: tuple[str, ...] = ()
    in_transaction: bool = False
    holding: bool = False
    lives: int = 0


@dataclass
class Trace:
    """A whole run."""

    steps: list[Seen] = field(default_factory=list)
    end: tuple[Any, ...] = ()  #: how the session's block ended, each time
    end_states: tuple[tuple[str, ...], ...] = ()  #: of its errors, each time; not compared
    objects: Mapping[str, Any] = field(default_factory=dict)  #: read after the end
    rows: str = ""
    leftovers: list[str] = field(default_factory=list)  #: on the server, while all connections are idle
    out: int = 0  #: connections that are not back in the pool
    next: Any = None  #: what the next user of the pool finds
    heard: tuple[str, ...] = ()  #: at the end
    hung: bool = False  #: it did not come to its end in time


def plain(value: Any) -> Any:
    """A value as it is compared: objects by what they have loaded, moments as such."""
    if isinstance(value, _MODELS):
        state: Any = inspect(value)
        loaded = {key: plain(state.dict[key]) for key in _COLUMNS[type(value)] if key in state.dict}
        return (type(value).__name__, state.identity, loaded)
    if isinstance(value, Row | tuple | list):
        return tuple(plain(each) for each in value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return "a moment"
    if isinstance(value, Result):
        return "a result"
    return value


def failed(error: BaseException) -> tuple[str, str]:
    """An error by its class. One of ours counts as the SQLAlchemy error that it is."""
    for kind in type(error).__mro__:
        if kind.__module__.startswith("sqlalchemy"):
            return ("error", kind.__name__)
    package = type(error).__module__.partition(".")[0]
    return ("error", f"{package}.{type(error).__name__}")


def sqlstate_of(error: BaseException) -> str | None:
    """The database's code of an error."""
    orig: Any = error.orig if isinstance(error, DBAPIError) else error  # a listener has the driver's own
    for each in (orig, getattr(orig, "__cause__", None)):  # SQLAlchemy's for asyncpg's has not always got it
        for name in ("sqlstate", "pgcode"):
            if found := getattr(each, name, None):
                return str(found)
    return None


def states_of(error: BaseException | None) -> tuple[str, ...]:
    """The codes of an error, and of those that it came up after: a listener's may hide the statement's."""
    found: list[str] = []
    seen: set[int] = set()  # they may go round
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (state := sqlstate_of(error)) is not None:
            found.append(state)
        error = error.__cause__ or error.__context__
    return tuple(found)


def object_state(obj: Any) -> Any:
    """In which state an object is, what it has loaded, and what it would load."""
    state: Any = inspect(obj)
    flags = [name for name in ("transient", "pending", "persistent", "deleted", "detached") if getattr(state, name)]
    return (flags, state.modified, plain(obj), sorted(state.unloaded))
