"""Request-bound SQLAlchemy sessions over a fair pool of connections.

The plan of the house, from the top; each room imports only from those below it, and says in its head what belongs there:

cli                commands, and the demo
web, jobs          one file for each framework and job library; ``web/rules``: what they share
observe, testing   one snapshot that all that shows something reads; what users test with
database           what users make, and what they run on it
ending             how the scopes of a request end
session            SQLAlchemy's session: what is different in ours, and what is added
engine, scope      SQLAlchemy's side of the pool; one request or block, without SQLAlchemy
pool               a fair pool of any resource
whereabouts        who is running, where in the user's code, for whom
config, errors     settings; every exception with its facts and advice
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from respool.config import PoolConfig
    from respool.database.database import AsyncDatabase, Database
    from respool.database.retry import Retry
    from respool.database.transactional import transactional
    from respool.scope.session_phase import SessionPhase
    from respool.session.aio import AsyncSession
    from respool.session.changes.change import ChangeSet
    from respool.session.changes.states import ObjectState, state_of
    from respool.session.session import Session
    from respool.session.transaction.observers import SessionObserver

    __version__: str

__all__ = [
    "AsyncDatabase",
    "AsyncSession",
    "ChangeSet",
    "Database",
    "ObjectState",
    "PoolConfig",
    "Retry",
    "Session",
    "SessionObserver",
    "SessionPhase",
    "__version__",
    "state_of",
    "transactional",
]

#: Where each name comes from. It is imported when it is asked for: a command that only looks at another process must not
#: load SQLAlchemy first, which takes longer than all that it does.
_PLACES = {
    "AsyncDatabase": "respool.database.database",
    "AsyncSession": "respool.session.aio",
    "ChangeSet": "respool.session.changes.change",
    "Database": "respool.database.database",
    "ObjectState": "respool.session.changes.states",
    "PoolConfig": "respool.config",
    "Retry": "respool.database.retry",
    "Session": "respool.session.session",
    "SessionObserver": "respool.session.transaction.observers",
    "SessionPhase": "respool.scope.session_phase",
    "state_of": "respool.session.changes.states",
    "transactional": "respool.database.transactional",
}
#: The rooms that are there after ``import respool``, without being imported by their names.
_ROOMS = ("config", "database", "ending", "engine", "errors", "pool", "scope", "session", "whereabouts")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _ROOMS:
        return import_module(f"respool.{name}")
    elif name in _PLACES:
        if name == "AsyncSession":  # needs greenlet, which SQLAlchemy does not install by itself
            from respool.engine import require_greenlet

            require_greenlet(name)
        value = getattr(import_module(_PLACES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("respool")
    except PackageNotFoundError:  # a source tree that was not installed
        return "0+unknown"
