"""What a test leaves behind in its process, where the next one would meet it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncSession

from respool.observe.metrics.feed import feed
from respool.observe.observation import observation
from respool.observe.recording.errors import Errors

__all__ = ["Process", "changes", "lasting"]

_LISTENED_TO: tuple[Any, ...] = (sa.Engine, sa.Pool, DefaultDialect, orm.Session, orm.Mapper)
#: Has listeners of SQLAlchemy's own, one for each ``Mutable``.
_NOT_OURS = {"mapper_configured"}
_PATCHED = ((sa, "create_engine"), *((kind, name) for kind in (orm.Session, AsyncSession) for name in vars(kind)))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Process:
    """What frameworks, servers and ``observe()`` change for the whole process, as it was found."""

    def __init__(self) -> None:
        self.observed = observation.databases
        self.ticks, self.takers = [*observation._ticks], feed._takers
        self.listened = {kind: vars(kind).get("_has_events") for kind in (sa.Engine, sa.Connection)}
        self.levels = {name: logging.getLogger(name).level for name in ("", "respool", "sqlalchemy")}
        self.handlers = [*logging.getLogger("sqlalchemy.engine.Engine").handlers]
        self.variables = dict(os.environ)
        self.excepthook = sys.excepthook
        self.signals = {each: signal.getsignal(each) for each in _SIGNALS}

    def put_back(self) -> None:
        """Make it so again."""
        for database in observation.databases:
            if database not in self.observed:
                observation.remove(database)
        observation._ticks[:] = self.ticks
        feed._takers = self.takers
        observation.errors = Errors()
        for kind, heard in self.listened.items():  # SQLAlchemy keeps that for good
            if heard is None and "_has_events" in vars(kind):
                del kind._has_events
            elif heard is not None:
                kind._has_events = heard
        for name, level in self.levels.items():
            if logging.getLogger(name).level != level:
                logging.getLogger(name).setLevel(level)
        logging.getLogger("sqlalchemy.engine.Engine").handlers[:] = self.handlers
        for name in os.environ.keys() - self.variables.keys() - {"PYTEST_CURRENT_TEST"}:
            del os.environ[name]
        os.environ.update({k: v for k, v in self.variables.items() if k != "PYTEST_CURRENT_TEST"})
        sys.excepthook = self.excepthook
        for each, handler in self.signals.items():
            if signal.getsignal(each) is not handler:
                signal.signal(each, handler)


def lasting() -> dict[str, Any]:
    """What nobody puts back, by what it is called in a message."""
    seen: dict[str, Any] = {
        "databases that are observed": [database.name for database in observation.databases],
        "what is done at each look": [*observation._ticks],
        "whether all engines are listened to": (sa.Engine._has_events, getattr(sa.Connection, "_has_events", False)),
        "the folder": os.getcwd(),
        "the switch interval": sys.getswitchinterval(),
        "the collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0),
        "the level of all loggers": (logging.getLogger().level, logging.root.manager.disable),
    }
    for kind in _LISTENED_TO:
        for name in set(kind.dispatch._event_names) - _NOT_OURS:
            seen[f"listeners of {kind.__name__}.{name}"] = [*getattr(kind.dispatch, name)._clslevel.get(kind, ())]
    for owner, name in _PATCHED:
        seen[f"{owner.__name__}.{name}"] = vars(owner).get(name)
    return seen


def changes(before: dict[str, Any]) -> list[str]:
    """What is not as it was."""
    return [f"{name}: {before[name]!r}, now {value!r}" for name, value in lasting().items() if value != before[name]]
