"""``@transactional``: a function as a unit of work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from respool.database.base import DatabaseBase, open_databases
from respool.database.database import AsyncDatabase, Database
from respool.database.retry import Retry
from respool.database.run import Work, name_of, perform, perform_async
from respool.errors import ConfigError, NoScope
from respool.session.units.units import UnitOptions
from respool.whereabouts import caller

__all__ = ["transactional"]

P = ParamSpec("P")
T = TypeVar("T")


@overload
def transactional(function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def transactional(
    database: DatabaseBase[Any] | None = None,
    /,
    *,
    savepoint: bool = False,
    new: bool = False,
    isolation: str | None = None,
    read_only: bool | None = None,
    retry: Retry | int | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def transactional(
    given: Any = None,
    /,
    *,
    savepoint: bool = False,
    new: bool = False,
    isolation: str | None = None,
    read_only: bool | None = None,
    retry: Retry | int | None = None,
) -> Any:
    """Make a function, or a coroutine function, a unit of work of ``db.session``.

    As ``@transactional``, or with arguments: ``@transactional(db, retry=3)``. It works as a block of
    :meth:`respool.Session.unit` around the function. Where no scope is open, it opens one, named after the function.

    Args:
        given: the database. It can be left out where it is plain: there is one, or one has a scope that is open.
        savepoint, new, isolation, read_only: as for :meth:`respool.Session.unit`.
        retry: run the function once more, up to so many times, after a serialization failure or a deadlock (SQLSTATE
            40001, 40P01; MySQL's 1213, 1205), each time in a scope of its own with a fresh session; objects that it
            returns are detached. Not after anything that cannot be taken back: a commit inside of it, ``released()``, an
            answer that has left. Inside of another unit it joins that one, and is not repeated by itself.

    Raises:
        ConfigError: it is a generator function, or the database is of the other kind; when called: it is not plain which
            database is meant.
    """
    options = UnitOptions(savepoint, new, isolation, read_only)
    repeated = Retry.of(retry)
    if given is None or isinstance(given, DatabaseBase):
        return lambda function: _decorated(function, given, options, repeated)
    return _decorated(given, None, options, repeated)


def _decorated(function: Any, database: DatabaseBase[Any] | None, options: UnitOptions, retry: Retry) -> Any:
    asynchronous = inspect.iscoroutinefunction(function)
    _check(function, database, asynchronous)
    work = Work(name_of(function), options, retry)

    if asynchronous:

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            return await perform_async(_meant(database, AsyncDatabase, work), lambda _: function(*args, **kwargs), work)

        return run_async

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return perform(_meant(database, Database, work), lambda _: function(*args, **kwargs), work)

    return run


def _check(function: Any, database: DatabaseBase[Any] | None, asynchronous: bool) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"@transactional on the generator function {function.__qualname__}",
            advice=["its unit would end before its first value: open one inside of it, with session.unit()"],
            setting="transactional",
        )
    if database is not None and isinstance(database, AsyncDatabase) is not asynchronous:
        kind = type(database).__name__
        raise ConfigError(
            f"@transactional of the {kind} {database.name!r} on {'an async' if asynchronous else 'a sync'} function",
            advice=["write async def for an AsyncDatabase, def for a Database"],
            setting="transactional",
        )


def _meant(database: DatabaseBase[Any] | None, kind: type[DatabaseBase[Any]], work: Work) -> DatabaseBase[Any]:
    """The database that a function without one means."""
    if database is not None:
        return database
    possible = [each for each in open_databases() if isinstance(each, kind)]
    in_force = [each for each in possible if each.scope_here() is not None]
    found = in_force or possible
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoScope(
            f"{work.label} is transactional, and no {kind.__name__} is open",
            now=[f"called at {caller()}"],
            advice=["make one before: db = Database(url); async functions need an AsyncDatabase, others a Database"],
            database=None,
        )
    raise ConfigError(
        f"{work.label} is transactional, and it is not plain in which database",
        advice=[f"name it: @transactional(db); there are {', '.join(sorted(repr(each.name) for each in found))}"],
        setting="transactional",
    )
