"""Each statement of an engine, noted in the use of the connection that it is executed on; the one file that listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

from respool.observe.recording.account import Use
from respool.whereabouts import users_line

__all__ = ["listen", "stop_listening"]


def listen(engine: Engine) -> None:
    """Note what an engine executes. Whoever leases knows these listeners as such that only look."""
    for name, listener in _LISTENERS.items():
        if not event.contains(engine, name, listener):
            event.listen(engine, name, listener)


def stop_listening(engine: Engine) -> None:
    """Note it no more."""
    for name, listener in _LISTENERS.items():
        if event.contains(engine, name, listener):
            event.remove(engine, name, listener)


def _use_of(connection: Any) -> Use | None:
    entry = getattr(connection._dbapi_connection, "_entry", None)
    return None if entry is None else entry.use


def _before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    use = _use_of(connection)
    if use is not None:
        use.begin(statement, users_line() if use.executed else None)


def _after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    use = _use_of(connection)
    if use is not None:
        use.end(alone=connection._dbapi_connection.alone)


def _failed(context: Any) -> None:
    use = _use_of(context.connection) if context.connection is not None else None
    if use is not None:
        use.end()


_LISTENERS: dict[str, Callable[..., Any]] = {
    "before_cursor_execute": _before,
    "after_cursor_execute": _after,
    "handle_error": _failed,
}
