"""Request-bound SQLAlchemy sessions over a fair pool of connections."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from respool.config import PoolConfig
from respool.engine import require_greenlet
from respool.session.changeset import ChangeSet
from respool.session.database import AsyncDatabase, Database
from respool.session.events import SessionObserver
from respool.session.phase import SessionPhase
from respool.session.retry import Retry
from respool.session.session import Session
from respool.session.tracking import ObjectState, state_of
from respool.session.transactional import transactional

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
