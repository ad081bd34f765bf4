"""Each statement of an engine, noted in the use of the connection that it is executed on.

Who notes it executes it: first in the line of those who may do so in the driver's place, and so with the clock around all of
them.  Nobody listens to the engine for that, since an engine that has a listener makes every statement pay for all events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from respool.engine import listeners
from respool.observe.recording.account import Use
from respool.whereabouts import users_line

__all__ = ["listen", "stop_listening"]


def listen(dialect: Any) -> None:
    """Note what is executed by a dialect."""
    listeners.listen(dialect, _LISTENERS, first=True)


def stop_listening(dialect: Any) -> None:
    """Note it no more."""
    listeners.stop_listening(dialect, _LISTENERS)


def _do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    return _noted("do_execute", context, cursor, statement, parameters, context)


def _do_execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
    return _noted("do_execute_no_params", context, cursor, statement, context)


def _do_executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    return _noted("do_executemany", context, cursor, statement, parameters, context)


_LISTENERS: dict[str, Callable[..., Any]] = {
    "do_execute": _do_execute,
    "do_execute_no_params": _do_execute_no_params,
    "do_executemany": _do_executemany,
}


def _noted(name: str, context: Any, *what: Any) -> bool | None:
    checkout: Any = None if context is None else context.root_connection._dbapi_connection
    entry = getattr(checkout, "_entry", None)
    use: Use | None = None if entry is None else entry.use
    if use is None or use.is_executing:
        return None
    use.begin(what[1], users_line() if use.executed else None)
    try:
        past = False
        for listener in getattr(context.dialect.dispatch, name):
            if past and listener(*what):
                break
            past = past or listener is _LISTENERS[name]
        else:
            getattr(context.dialect, name)(*what)
    finally:
        use.end(alone=checkout.alone)
    return True
