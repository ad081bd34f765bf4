"""Connections: that all were given back, and that none is held while something else is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from pkgutil import resolve_name
from typing import Any

from respool.database.base import DatabaseBase
from respool.engine import FairPool

__all__ = ["assert_no_connection_held", "assert_no_leaks"]


def assert_no_leaks(*databases: DatabaseBase[Any]) -> None:
    """Every connection was given back.

    Args:
        databases: whose.

    Raises:
        AssertionError: somebody holds one; it says who, since when, where, and what he has not committed.
    """
    lines = [line for database in databases for line in _held(database)]
    if lines:
        what = "a connection was" if len(lines) == 1 else "connections were"
        raise AssertionError("\n".join([f"{what} not given back:", *(f"  {line}" for line in lines)]))


def _held(database: DatabaseBase[Any]) -> Iterator[str]:
    pool = database.pool
    if isinstance(pool, FairPool):
        for monitor in pool.running_monitors():
            for row in monitor.snapshot().connections:
                if row.state == "acquired":
                    yield f"database {database.name!r}: {row}"
    elif pool.checkedout():
        yield f"database {database.name!r}: {pool.status()}"
    else:
        return
    for scope in database.scopes():
        if scope.life is not None and scope.life.holds_connection:
            lines = scope.life.changes(scope.session).lines() if scope.session is not None else []
            yield f"held by {scope.title}" + (f", not committed: {'; '.join(lines)}" if lines else "")


@contextmanager
def assert_no_connection_held(target: str, *databases: DatabaseBase[Any]) -> Iterator[None]:
    """Whenever a function is called in this block, no connection is held: neither by the session in force nor around it.

    A request that keeps one while it waits for something else keeps others from the database.

    Args:
        target: the function as it is looked up when it is called, ``"shop.prices.ask"``: of a module or class. It is
            called as ever, and may be a coroutine function.
        databases: whose connections.

    Raises:
        AssertionError: one was held, at the call and at the end of the block; or it was never called.
    """
    path, _, name = target.rpartition(".")
    owner: Any = resolve_name(path)
    function, own = getattr(owner, name), name in vars(owner)
    before = vars(owner).get(name)
    watch = _Watch(target, databases)
    setattr(owner, name, watch.around(function))
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
    watch.conclude()


class _Watch:
    def __init__(self, target: str, databases: tuple[DatabaseBase[Any], ...]) -> None:
        self._target = target
        self._databases = databases
        self._calls = 0
        self._held: str | None = None

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if iscoroutinefunction(function):

            @wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                self._look()
                return await function(*args, **kwargs)

            return call_async

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._look()
            return function(*args, **kwargs)

        return call

    def _look(self) -> None:
        self._calls += 1
        for database in self._databases:
            if database.holds_connection():
                scope = database.scope_here()
                self._held = (
                    f"{self._target}() was called while {scope.title if scope else 'somebody'} held a connection of"
                    + f" database {database.name!r}: commit before it, or call it inside of db.released()"
                )
                raise AssertionError(self._held)

    def conclude(self) -> None:
        if self._held is not None:  # an application may have answered it by a 500
            raise AssertionError(self._held)
        if not self._calls:
            raise AssertionError(f"{self._target}() was not called: nothing was seen of its connections")
