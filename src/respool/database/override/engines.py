"""The engine that takes a database's place: made for a URL, as given, or one that shares a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import URL, Connection, Engine, make_url

from respool.engine.listeners import of_users
from respool.engine.shared.engine import Sharing
from respool.engine.shared.home import Home, LoopHome
from respool.errors import ConfigError

__all__ = ["InPlace", "engine_for"]


@dataclass(frozen=True)
class InPlace:
    """What is in a database's place.

    Attributes:
        engine: sync.
        given: whether it is not ours to close.
        end: what is done when the block is left, after the database has what it had before.
        shares: whether all use one connection.
    """

    engine: Engine
    given: bool
    end: Callable[[], None] = lambda: None
    shares: bool = False


def engine_for(database: Any, target: Any) -> InPlace:
    """What a database gets for its engine.

    Args:
        database: a ``HasEngine``.
        target: a URL, an engine, a connection, or a ``Sharing``; of the database's kind.

    Raises:
        ConfigError: it is something else.
    """
    before: Engine = getattr(database.engine, "sync_engine", database.engine)
    if isinstance(target, Sharing):
        return _shared(target)
    connection = getattr(target, "sync_connection", target)
    engine = getattr(target, "sync_engine", target)
    if isinstance(connection, Connection):
        _require_kind(database, target, connection is not target, before)
        home = LoopHome(asyncio.get_running_loop()) if connection.dialect.is_async else Home()
        return _shared(Sharing(connection, home))
    if isinstance(engine, Engine):
        _require_kind(database, target, engine is not target, before)
        return InPlace(engine, given=True)
    if not isinstance(target, str | URL):
        _refuse(database, f"an object of type {type(target).__name__}", before)
    like = make_url(target).drivername == before.url.drivername
    made = database.engine_for(target, like=like)
    engine = getattr(made, "sync_engine", made)
    if like:
        _have_listeners_of(before, engine)
    return InPlace(engine, given=False)


def _require_kind(database: Any, target: Any, asynchronous: bool, before: Engine) -> None:
    if asynchronous is not before.dialect.is_async:
        _refuse(database, f"an {type(target).__name__}" if asynchronous else f"a {type(target).__name__}", before)


def _refuse(database: Any, given: str, before: Engine) -> NoReturn:
    kind = "Async" if before.dialect.is_async else ""
    raise ConfigError(
        f"override() of the {type(database).__name__} {database.name!r} got {given}",
        advice=[f"give it a URL, or an {kind or ''}Engine or {kind}Connection of SQLAlchemy's"],
        setting="override",
    )


def _shared(sharing: Sharing) -> InPlace:
    return InPlace(sharing.start(), given=True, end=sharing.end, shares=True)


def _have_listeners_of(before: Engine, engine: Engine) -> None:
    """Whoever listens to the engine listens to the other one: ``PRAGMA foreign_keys`` belongs to an application."""
    theirs: Any
    ours: Any
    for theirs, ours in ((before.dispatch, engine.dispatch), (before.pool.dispatch, engine.pool.dispatch)):
        for name in ours._event_names:  # theirs may be joined to another's, and name none
            if users := of_users(getattr(theirs, name).listeners):
                getattr(ours, name).for_modify(ours).listeners.extend(users)
    engine._has_events = engine._has_events or before._has_events
