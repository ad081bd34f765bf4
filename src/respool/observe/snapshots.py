"""One moment of one or more databases as plain values, ready for JSON; see ``format.py``.

Taking it opens nothing, waits for nothing and talks to no database, so it can be had while the pool is exhausted, from any
thread, and while an event loop stands still.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from heapq import nlargest
from typing import Any, TypeAlias, cast

import sqlalchemy
from sqlalchemy.pool import QueuePool

from respool import __version__
from respool.config import PoolConfig
from respool.database.base import DatabaseBase
from respool.database.database import AsyncDatabase, Database
from respool.engine import FairPool, mask
from respool.observe import format as form
from respool.observe.findings.board import Finding
from respool.observe.findings.holding import entries_of
from respool.observe.observation import observation
from respool.observe.planning import planning
from respool.observe.recording.account import Account, Use, now
from respool.observe.recording.other_pools import other_pool
from respool.observe.recording.recorder import Recorder, recorder_of, route_of
from respool.observe.verdicts import verdict
from respool.scope.scope import Scope
from respool.whereabouts import handler_name

__all__ = ["AnyDatabase", "plain", "snapshot"]

AnyDatabase: TypeAlias = Database | AsyncDatabase


def snapshot(*databases: AnyDatabase, requests: int | None = None) -> form.Snapshot:
    """What these databases are doing now.

    Args:
        databases: any number of them, of either kind. What is known of connections, scopes and requests beyond the pool's
            own numbers, and findings, there are for those that are observed: see :func:`respool.observe.observe`.
        requests: how many of those that are over to tell of at most: half of them the latest, half of them those before
            that took longest. All that are kept when not given.

    Returns:
        plain values only, in the form of :class:`respool.observe.format.Snapshot`.
    """
    rows = [_of(database, requests) for database in databases]
    names = {row["name"] for row in rows}
    findings = [_of_finding(found) for found in observation.board.all() if found.database in names]
    return {
        "format": form.FORMAT,
        "version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "process": {
            "pid": os.getpid(),
            "application": observation.application,
            "command": " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])[:200],
            "started": observation.started,
            "python": platform.python_version(),
            "sqlalchemy": sqlalchemy.__version__,
        },
        "verdict": verdict(rows, findings),
        "databases": rows,
        "findings": findings,
    }


def _of(database: DatabaseBase[Any], requests: int | None) -> form.Database:
    pool, recorder = database.pool, recorder_of(database)
    ours = pool.snapshot() if hasattr(pool, "snapshot") else None
    config = getattr(pool, "config", None)
    return {
        "name": database.name,
        "url": mask(database.engine.url),
        "asynchronous": database.asynchronous,
        "observed": recorder is not None,
        "pool": _of_another_pool(database, observed=recorder is not None) if ours is None else plain(ours.stats),
        "settings": _of_settings(config) if isinstance(config, PoolConfig) else [],
        "connections": [] if ours is None else _of_connections(pool, ours.connections),
        "waiters": [] if ours is None else plain(ours.waiters),
        "scopes": [_of_scope(scope) for scope in database.scopes()],
        "requests": []
        if recorder is None
        else [_of_request(account) for account in _some(recorder.recent(), requests)],
        "routes": [] if recorder is None else _of_routes(recorder),
        "plans": planning(database),
    }


def _of_settings(config: PoolConfig) -> list[form.Setting]:
    return [
        {"name": name, "value": plain(getattr(config, name)), "source": config.sources.get(name, "default")}
        for name in config.names()
    ]


def _of_connections(pool: FairPool, rows: Sequence[Any]) -> list[form.Connection]:
    uses = {(entry.number, entry.uses): entry.use for entry in entries_of(pool)}
    return [cast(form.Connection, plain(row) | _of_use(uses.get((row.number, row.uses)))) for row in rows]


def _of_use(use: Any) -> dict[str, Any]:
    known = isinstance(use, Use)
    idle_since = use.idle_since if known else None
    return {
        "route": route_of(use.account) if known else None,
        "label": use.account.title if known else None,
        "taken_at": f"{use.place} in {use.place.function}()" if known and use.place is not None else None,
        "executing": known and idle_since is None,
        "idle": None if idle_since is None else max(0.0, now() - idle_since),
        "sql": use.text if known else None,
        "statements": use.executed if known else 0,
        "in_sql": use.seconds_in_sql if known else 0.0,
    }


def _of_scope(scope: Scope) -> form.Scope:
    account = scope.account if isinstance(scope.account, Account) else None
    handler = scope.handler or getattr(scope.client, "handler", lambda: None)()
    waiting = None if account is None else account.waiting_since
    return {
        "label": scope.label,
        "state": scope.state.value,
        "phase": scope.phase,
        "age": scope.age,
        "holds_connection": scope.life is not None and scope.life.holds_connection,
        "place": scope.place,
        "handler": None if handler is None else handler_name(handler),
        "route": scope.route or getattr(scope.client, "route", lambda: None)(),
        "objects": {plain(state): count for state, count in scope.objects.items()},
        "statements": 0 if account is None else account.statements,
        "waited": 0.0 if account is None else account.seconds_waited,
        "held": 0.0 if account is None else account.seconds_held + sum(now() - use.began for use in list(account.uses)),
        "in_sql": 0.0 if account is None else account.seconds_in_sql,
        "waiting": None if waiting is None else max(0.0, now() - waiting),
    }


def _some(accounts: list[Account], most: int | None) -> list[Account]:
    """Some of the scopes that are over, the latest first: the latest, and the longest of the others."""
    if most is None or len(accounts) <= most:
        return accounts
    latest, others = accounts[: most // 2], accounts[most // 2 :]
    longest = set(nlargest(most - len(latest), range(len(others)), key=lambda index: _length(others[index])))
    return latest + [account for index, account in enumerate(others) if index in longest]


def _length(account: Account) -> float:
    return (account.ended_at or account.began) - account.began


def _of_request(account: Account) -> form.Request:
    outcomes = [name for name in ("unknown", "failed", "committed") if account.outcomes[name]]
    return {
        "label": account.title,
        "route": route_of(account),
        "method": account.method,
        "status": account.status,
        "began": time.time() - (now() - account.began),
        "seconds": account.seconds,
        "waited": account.seconds_waited,
        "held": account.seconds_held,
        "in_sql": account.seconds_in_sql,
        "idle": max(0.0, account.seconds_held - account.seconds_in_sql),
        "statements": account.statements,
        "leases": account.reads,
        "outcome": outcomes[0] if outcomes else "none",
        "events": [
            {
                "kind": event.kind,
                "start": event.began - account.began,
                "seconds": event.ended - event.began,
                "sql": event.text,
                "place": None if event.place is None else str(event.place),
            }
            for event in account.events
        ],
        "dropped": account.dropped,
    }


def _of_routes(recorder: Recorder) -> list[form.Route]:
    return [
        {
            "route": name,
            "requests": route.requests,
            "statements": route.statements,
            "leases": route.leases,
            "outcomes": dict(route.outcomes),
            "seconds": (seconds := route.seconds.value()).sum,
            "waited": route.waited.value().sum,
            "held": route.held.value().sum,
            "in_sql": route.sql.value().sum,
            "idle": (idle := route.idle.value()).sum,
            "slowest": seconds.max,
            "most_idle": idle.max,
        }
        for name, route in list(recorder.routes.items())
    ]


def _of_finding(found: Finding) -> form.Finding:
    return {
        "code": found.kind.code,
        "kind": found.kind.name,
        "title": found.kind.title,
        "what": found.what,
        "database": found.database,
        "place": found.place,
        "route": found.route,
        "facts": list(found.facts),
        "advice": list(found.kind.advice),
        "count": found.count,
        "worst": found.worst,
        "first": found.first,
        "last": found.last,
    }


def _of_another_pool(database: DatabaseBase[Any], *, observed: bool) -> dict[str, Any]:
    """What is known of a pool of SQLAlchemy's own, under our names: the database was given an engine that has one."""
    pool: Any = database.pool
    known: dict[str, Any] = {"name": database.name, "kind": type(pool).__name__}
    if observed:
        idle, acquired = other_pool(getattr(database.engine, "sync_engine", database.engine)).counts()
    elif isinstance(pool, QueuePool):  # its places, with a connection or without
        idle, acquired = pool.checkedin(), pool.checkedout()
    else:
        return known
    return known | {"idle": idle, "acquired": acquired, "total": idle + acquired}


def plain(value: object) -> Any:
    """The same as dictionaries, lists, texts, numbers, ``True``, ``False`` and ``None``; anything else as its text.

    A number that JSON cannot write (infinite, not a number) becomes ``None``.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    return str(value)
