"""What a PostgreSQL is asked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine

from respool.cli.doctor.connecting import ask, measure, rows
from respool.cli.doctor.facts import Facts, Limit, Setting, Use
from respool.cli.doctor.servers.pgbouncer import find_proxy, keeps_prepared

__all__ = ["examine"]

#: Times of the server's, and what is told of them.
TIMES = (
    *("idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "statement_timeout"),
    *("lock_timeout", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout"),
    "client_connection_check_interval",
)
_SETTINGS = (*TIMES, "max_connections", "superuser_reserved_connections", "reserved_connections")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}

_WHO = """SELECT current_database(), session_user, current_setting('server_version'), host(inet_server_addr()),
 pg_is_in_recovery(), current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only')"""
_ROLE = "SELECT rolsuper, rolconnlimit FROM pg_roles WHERE rolname = session_user"
_DATABASE = "SELECT datconnlimit FROM pg_database WHERE datname = current_database()"
_RESERVED = "SELECT pg_has_role(session_user, 'pg_use_reserved_connections', 'USAGE')"
_TLS = "SELECT version || ', ' || cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"
# who may not see others' rows sees no backend_type there, but the database and the user
_ACTIVITY = """SELECT usename::text, datname::text, coalesce(application_name, ''), count(*),
 count(*) FILTER (WHERE left(state, 19) = 'idle in transaction')
 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL AND datname IS NOT NULL
 AND coalesce(backend_type, 'client backend') = 'client backend' GROUP BY 1, 2, 3 ORDER BY 4 DESC"""


def examine(url: URL, facts: Facts, timeout: float) -> None:
    """Ask all.

    Args:
        url: where.
        facts: what is filled in.
        timeout: seconds that a connect may take.
    """
    ask(url, lambda engine: _ask(url, engine, facts), timeout=timeout)
    proxy = facts.proxy
    if (
        proxy is not None
        and proxy.mode == "transaction"
        and proxy.keeps_prepared is None
        and facts.driver in _PREPARING
    ):
        proxy.keeps_prepared = ask(url, keeps_prepared, timeout=timeout, prepares=True)


#: The drivers that prepare statements by themselves.
_PREPARING = ("psycopg", "psycopg_async", "asyncpg")


def _ask(url: URL, engine: Engine, facts: Facts) -> None:
    with engine.connect() as connection:
        (who,) = rows(connection, _WHO) or [(None,) * 7]
        facts.database, facts.user, facts.version, address, facts.replica, facts.isolation, read_only = who
        facts.local = address is None or address.startswith("127.") or address == "::1"
        if facts.replica:
            facts.read_only = "it is a standby, in recovery"
        elif read_only == "on":
            facts.read_only = "default_transaction_read_only is on"
        facts.tls = next((tls for (tls,) in rows(connection, _TLS)), None)
        settings = _settings(connection)
        facts.times = {name: settings[name] for name in TIMES if name in settings}
        used = rows(connection, _ACTIVITY)
        facts.in_use = [Use(str(row[0]), str(row[1]), str(row[2]), int(row[3]), int(row[4])) for row in used]
        _limits(connection, facts, {name: each.seconds for name, each in settings.items()}, used)
        facts.proxy = find_proxy(url, engine, connection)
        facts.trip, facts.connect = measure(engine, connection)


def _settings(connection: Connection) -> dict[str, Setting]:
    names = ", ".join(f"'{name}'" for name in _SETTINGS)
    question = f"SELECT name, setting, coalesce(unit, ''), source FROM pg_settings WHERE name IN ({names})"
    found = {}
    for name, value, unit, source in rows(connection, question):
        number = float(value) * _UNITS.get(unit, 1.0)
        found[name] = Setting(number or None, source)
    return found


def _limits(
    connection: Connection, facts: Facts, settings: dict[str, float | None], used: list[tuple[Any, ...]]
) -> None:
    ((facts.superuser, of_role),) = rows(connection, _ROLE) or [(False, -1)]
    of_database = next((limit for (limit,) in rows(connection, _DATABASE)), -1)
    may_use_reserved = facts.superuser or any(may for (may,) in rows(connection, _RESERVED))
    allowed = int(settings.get("max_connections") or 0)
    if allowed and not facts.superuser:
        allowed -= int(settings.get("superuser_reserved_connections") or 0)
        allowed -= 0 if may_use_reserved else int(settings.get("reserved_connections") or 0)
    if allowed:
        change = "max_connections in postgresql.conf, and a restart"
        facts.limits.append(Limit("the server", allowed, sum(row[3] for row in used), change))
    if of_role >= 0 and not facts.superuser:
        mine = sum(row[3] for row in used if row[0] == facts.user)
        change = f"ALTER ROLE {facts.user} CONNECTION LIMIT …"
        facts.limits.append(Limit(f"the role {facts.user}", of_role, mine, change))
    if of_database >= 0 and not facts.superuser:
        here = sum(row[3] for row in used if row[1] == facts.database)
        change = f"ALTER DATABASE {facts.database} CONNECTION LIMIT …"
        facts.limits.append(Limit(f"the database {facts.database}", of_database, here, change))
