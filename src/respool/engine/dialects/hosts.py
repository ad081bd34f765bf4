"""Several hosts in one URL: each has its own time, so that one that says nothing does not hide the others.

libpq goes on to the next host after its own ``connect_timeout``, which is set from the pool's; asyncpg has one limit for
all of them, so each is tried by itself.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import event

__all__ = ["count", "watch"]

_LIBPQ = frozenset({"psycopg", "psycopg_async", "psycopg2"})


def count(parameters: dict[str, Any]) -> int:
    """How many hosts a connect with these parameters may try."""
    host = parameters.get("host") or parameters.get("hostaddr")
    return len(host.split(",")) if isinstance(host, str) else len(host) if isinstance(host, list | tuple) else 1


def watch(dialect: Any) -> None:
    """Have each host of a connect get its own time."""
    if dialect.name == "postgresql" and not event.contains(dialect, "do_connect", _connect):
        event.listen(dialect, "do_connect", _connect)


def _connect(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
    hosts = count(parameters)
    if hosts < 2:
        return None
    pool: Any = getattr(record, "_ConnectionRecord__pool")  # noqa: B009 - the name is SQLAlchemy's secret
    seconds = getattr(getattr(pool, "config", None), "connect_timeout", None)
    if seconds is None:
        return None
    for monitor in pool.running_monitors():
        monitor.state.hosts = hosts
    if dialect.driver in _LIBPQ:
        parameters.setdefault("connect_timeout", max(2, math.ceil(seconds)))  # it takes no less
    elif dialect.driver == "asyncpg" and isinstance(parameters["host"], list | tuple):
        return _each(dialect, arguments, {"timeout": seconds, **parameters})
    return None


def _each(dialect: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
    """asyncpg: one host after the other; standbys only at first, where they are preferred."""
    hosts, ports = parameters["host"], parameters.get("port")
    wanted = parameters.get("target_session_attrs")
    error: BaseException | None = None
    for attribute in ("standby", "any") if wanted == "prefer-standby" else (wanted,):
        for place, host in enumerate(hosts):
            one = {**parameters, "host": host}
            if isinstance(ports, list | tuple):
                one["port"] = ports[place]
            if attribute is not None:
                one["target_session_attrs"] = attribute
            try:
                return dialect.connect(*arguments, **one)
            except Exception as failed:
                if not (isinstance(failed, OSError) or type(failed).__name__ == "TargetServerAttributeNotMatched"):
                    raise
                error = failed
    assert error is not None
    raise error
