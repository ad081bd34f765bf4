"""``health(db)``: whether this process can serve, at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from respool.config import suggest
from respool.database.base import DatabaseBase
from respool.errors import ConfigError
from respool.observe.observation import observation
from respool.observe.probes.conditions import SERVING, Limits, condition_of

__all__ = ["DatabaseHealth", "Health", "health"]


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """How one database is, as its pool knows it."""

    name: str
    ok: bool
    required: bool  #: whether the process is not ready without it
    state: str  #: ``ok``, ``away``, ``exhausted`` …: see docs/how-to/health-checks.md
    reason: str  #: the state in words
    figures: Mapping[str, float | int]  #: connections, callers in line, and times in seconds
    last_error: str | None  #: the driver's words for why connecting fails, without passwords


@dataclass(frozen=True, slots=True)
class Health:
    """How a process is. It counts as true when it is ready."""

    ok: bool  #: ready: every required database can serve a request now
    live: bool  #: no event loop has stood still for so long that only a restart would help
    reason: str  #: the first thing that is wrong, or that all is well
    databases: tuple[DatabaseHealth, ...]

    def __bool__(self) -> bool:
        return self.ok

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary of plain values, for JSON."""
        return asdict(self)

    def json(self) -> str:
        """The same as a line of JSON."""
        return json.dumps(self.as_dict(), ensure_ascii=False)


def health(
    *databases: Any,
    required: Iterable[Any] | None = None,
    exhausted_after: float = 5.0,
    away_after: float = 0.0,
    blocked_after: float = 2.0,
    dead_after: float = 30.0,
) -> Health:
    """Whether this process can serve, from what its pools know: nothing is asked, and nothing is waited for, no lock either.

    It may be called from any thread, while the database is down, the pool is full and the event loop stands still. That
    a loop does is known of databases that are observed (:func:`respool.observe.observe`).

    Args:
        databases: any number of ``Database`` and ``AsyncDatabase``.
        required: those, or their names, without which the process is not ready; all of them by default.
        exhausted_after: seconds that a caller may wait for a connection, or that pass with all connections held and none
            given back; at most half of the pool's own ``timeout``.
        away_after: seconds for which a database that does not answer is waited for.
        blocked_after: seconds for which an event loop may stand still before the process is not ready.
        dead_after: seconds for which an event loop may stand still before the process is not live.

    Returns:
        how it is. ``bool()`` of it says whether it is ready.

    Raises:
        ConfigError: something else than a database was given, or something is required that was not.
    """
    limits = Limits(exhausted_after, away_after, blocked_after, dead_after)
    return judged(databases, required_of(databases, required), limits)


def judged(databases: Iterable[Any], required: frozenset[str], limits: Limits) -> Health:
    """The same with everything checked before."""
    rows = tuple(_of(database, database.name in required, limits) for database in databases)
    blocked = max((row.figures.get("blocked", 0.0) for row in rows), default=0.0)
    live = blocked < limits.dead_after
    wrong = [row for row in rows if not row.ok]
    needed = [row for row in wrong if row.required]
    reason = next((f"database {row.name!r}: {row.reason}" for row in [*needed, *wrong]), "all is well")
    return Health(ok=not needed and live, live=live, reason=reason, databases=rows)


def required_of(databases: Iterable[Any], required: Iterable[Any] | None) -> frozenset[str]:
    """The names of those that are needed. Errors as for :func:`health`."""
    names = []
    for database in databases:
        if not isinstance(database, DatabaseBase):
            raise ConfigError(
                f"health() got an object of type {type(database).__name__}",
                advice=["give it a Database or AsyncDatabase: health(db)"],
                setting="database",
            )
        names.append(database.name)
    if required is None:
        return frozenset(names)
    wanted = [each if isinstance(each, str) else each.name for each in required]
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f"database {name!r} is required, but was not given{suggest(name, names)}",
                advice=[f"given: {', '.join(map(repr, names)) or 'none'}"],
                setting="required",
            )
    return frozenset(wanted)


def check_limits(limits: Mapping[str, float]) -> Limits:
    """The limits of a mounted application. ``ConfigError`` for a word that is none."""
    known = [field.name for field in fields(Limits)]
    for name in limits:
        if name not in known:
            raise ConfigError(
                f"Probes has no {name!r}{suggest(name, known)}",
                advice=[f"limits, in seconds: {', '.join(known)}"],
                setting=name,
            )
    return Limits(**limits)


def _of(database: DatabaseBase[Any], required: bool, limits: Limits) -> DatabaseHealth:
    if database.closed:
        return DatabaseHealth(database.name, False, required, "closed", "it is closed", {}, None)
    found = condition_of(database.pool, observation.loops.blocked(database.pool), limits)
    return DatabaseHealth(
        database.name,
        found.state in SERVING,
        required,
        found.state,
        found.reason,
        {name: round(value, 3) for name, value in found.figures.items()},
        found.last_error,
    )
