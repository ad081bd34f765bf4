"""Who listens to an engine, and whether they only look.

A listener of SQLAlchemy's events gets the connection and may do with it whatever it likes: set a tenant, write a row.  Of
most nobody can tell without running them.  Some are known: those of tracing libraries, SQLAlchemy's own, and those that
their author has declared, by :func:`only_looks`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any, TypeVar

__all__ = ["innermost", "more_than", "of_users", "only_looks", "unknown"]

F = TypeVar("F", bound=Callable[..., Any])

#: Where the listeners come from that are known to look at what is executed, and to leave it as it is.
_LOOKERS = ("sqlalchemy", "respool", "opentelemetry", "sentry_sdk", "ddtrace", "newrelic", "elasticapm", "logfire")

_OURS = ("sqlalchemy", "respool")

#: The mark on a listener whose author has declared it.
_DECLARED = "respool_only_looks"

#: What SQLAlchemy wraps a listener in, by the name under which the wrapper knows it.
_WRAPPED = ("orig_fn", "fn")


def more_than(number: int, dispatch: Any, names: Iterable[str]) -> bool:
    """Whether more than so many listen to any of these events of an object, by itself or by its class.

    The same as by ``len()``, which for SQLAlchemy's collections is a call each: this is asked at every read.
    """
    for name in names:
        listeners = getattr(dispatch, name)
        if len(listeners.parent_listeners) + len(listeners.listeners) > number:
            return True
    return False


def only_looks(listener: F) -> F:
    """Declare that a listener of SQLAlchemy's events executes nothing, and changes nothing on the connection.

    Plain reads are then leased as if it were not there. Without this declaration a read under a listener that nobody
    knows runs in a transaction of its own, or begins the session's, whichever that event makes necessary.

    ```python
    @event.listens_for(engine, "before_cursor_execute")
    @only_looks
    def log(conn, cursor, statement, parameters, context, executemany):
        logger.info(statement)
    ```

    Args:
        listener: a function, a method, or an object that can be called.

    Returns:
        the same.
    """
    setattr(getattr(listener, "__func__", listener), _DECLARED, True)
    return listener


def unknown(listeners: Iterable[Any]) -> bool:
    """Whether there is a listener among these that is not known to only look."""
    return not all(map(_only_looks, listeners))


def innermost(listener: Any) -> Any:
    """What the author of a listener wrote, without what others have put around it."""
    *_, inner = _peeled(listener)
    return inner


def of_users(listeners: Iterable[Any]) -> list[Any]:
    """Those of them that neither SQLAlchemy nor we have brought along."""
    return [each for each in listeners if not any(_origin(inner) in _OURS for inner in _peeled(each))]


def _only_looks(listener: Any) -> bool:
    return any(getattr(inner, _DECLARED, False) or _origin(inner) in _LOOKERS for inner in _peeled(listener))


def _peeled(listener: Any) -> Iterator[Any]:
    """A listener, and what is inside of it, up to what its author wrote; SQLAlchemy's wrappers do not count."""
    while listener is not None:
        inner = _inner(listener)
        if inner is None or _origin(listener) != "sqlalchemy":
            yield listener
        listener = inner


def _inner(listener: Any) -> Any:
    if isinstance(listener, functools.partial):
        return listener.func
    if (method := getattr(listener, "__func__", None)) is not None:
        return method
    if isinstance(listener, FunctionType) and _origin(listener) == "sqlalchemy":
        for name, cell in zip(listener.__code__.co_freevars, listener.__closure__ or (), strict=True):
            if name in _WRAPPED:
                return cell.cell_contents
    return None


def _origin(listener: Any) -> str:
    module: str = getattr(listener, "__module__", None) or type(listener).__module__
    return module.partition(".")[0]
