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

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from respool.config import PoolConfig
from respool.database.database import AsyncDatabase, Database
from respool.database.retry import Retry
from respool.database.transactional import transactional
from respool.engine import require_greenlet
from respool.scope.session_phase import SessionPhase
from respool.session.changes.change import ChangeSet
from respool.session.changes.states import ObjectState, state_of
from respool.session.session import Session
from respool.session.transaction.observers import SessionObserver

if TYPE_CHECKING:
    from respool.session.aio import AsyncSession

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

try:
    __version__ = version("respool")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # The async session needs greenlet, which SQLAlchemy does not install by itself: imported when it is asked for.
    if name == "AsyncSession":
        require_greenlet("AsyncSession")
        from respool.session.aio import AsyncSession

        return AsyncSession
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
