"""FastAPI: ``install(app, db)``, and the session as a dependency."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from respool.config import needs

with needs("fastapi"):
    from fastapi import FastAPI
    from fastapi.concurrency import run_in_threadpool
    from fastapi.middleware import Middleware

from respool.database.applications import check_application
from respool.database.base import DatabaseBase
from respool.web.stack import install_around

__all__ = ["install", "session_of"]

S = TypeVar("S")

#: Where a database keeps its dependency.
_MADE = "_respool_session_of"


def install(
    app: FastAPI,
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    It is around all middleware, whether that was added before or will be later.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already.
        RuntimeError: the application has started.
    """
    check_application(app, FastAPI, module=__name__)
    install_around(app, databases, lifespan, (dashboard, authorize, hosts), Middleware, run_in_threadpool)


def session_of(database: DatabaseBase[S]) -> Callable[[], Awaitable[S]]:
    """The session of the request as a dependency: ``Depends(session_of(db))``.

    ``Depends(db.current_session)`` gives the same session. But that is a plain function, which FastAPI sends to one of
    its threads for every request; this one it calls at once.

    It is the same object at every call: ``app.dependency_overrides[session_of(db)] = …`` finds it.

    Args:
        database: whose session.
    """
    made: Callable[[], Awaitable[S]] | None = vars(database).get(_MADE)
    if made is None:

        async def current_session() -> S:
            return database.session

        made = vars(database).setdefault(_MADE, current_session)
    return made
