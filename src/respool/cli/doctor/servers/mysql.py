"""What a MySQL or MariaDB is asked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine

from respool.cli.doctor.connecting import ask, driver_connection, measure, rows
from respool.cli.doctor.facts import Facts, Limit, Proxy, Setting, Use

__all__ = ["examine"]

#: Times of the server's, with what makes seconds of them. MySQL and MariaDB have some in other units.
_TIMES = {
    "wait_timeout": 1.0,
    "interactive_timeout": 1.0,
    "idle_transaction_timeout": 1.0,
    "innodb_lock_wait_timeout": 1.0,
    "lock_wait_timeout": 1.0,
    "max_statement_time": 1.0,
    "max_execution_time": 0.001,
}
_LOCAL = ("127.0.0.1", "::1", "localhost")


def examine(url: URL, facts: Facts, timeout: float) -> None:
    """Ask all.

    Args:
        url: where.
        facts: what is filled in.
        timeout: seconds that a connect may take.
    """
    facts.local = url.host in (None, *_LOCAL)
    ask(url, lambda engine: _ask(engine, facts), timeout=timeout)


def _ask(engine: Engine, facts: Facts) -> None:
    with engine.connect() as connection:
        values = {str(name).lower(): str(value) for name, value in rows(connection, "SHOW VARIABLES")}
        facts.version = values.get("version", "?")
        facts.product = "MariaDB" if "mariadb" in facts.version.lower() else "MySQL"
        ((facts.database, user),) = rows(connection, "SELECT DATABASE(), CURRENT_USER()")
        facts.user = str(user).partition("@")[0]
        cipher = _status(connection, "SHOW STATUS LIKE 'Ssl_cipher'").get("ssl_cipher")
        facts.tls = cipher or None
        isolation = values.get("transaction_isolation") or values.get("tx_isolation")
        facts.isolation = None if isolation is None else isolation.replace("-", " ").lower()
        on = [name for name in ("super_read_only", "read_only") if values.get(name, "OFF").upper() in ("ON", "1")]
        facts.read_only = f"{on[0]} is on" if on else None
        facts.replica = bool(rows(connection, "SHOW REPLICA STATUS"))
        for name, unit in _TIMES.items():
            if name in values:
                facts.times[name] = Setting(float(values[name]) * unit or None, "the server")
        _limits(connection, facts, values)
        _galera(connection, facts)
        facts.proxy = _proxy(connection, values)
        facts.trip, facts.connect = measure(engine, connection)


def _status(connection: Connection, question: str) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in rows(connection, question)}


def _limits(connection: Connection, facts: Facts, values: dict[str, str]) -> None:
    used = rows(
        connection,
        "SELECT user, coalesce(db, ''), count(*) FROM information_schema.processlist"
        " WHERE id <> CONNECTION_ID() AND command NOT IN ('Daemon', 'Binlog Dump') GROUP BY 1, 2 ORDER BY 3 DESC",
    )
    facts.in_use = [Use(str(user), str(database), "", int(n)) for user, database, n in used]
    connected = _status(connection, "SHOW GLOBAL STATUS LIKE 'Threads_connected'").get("threads_connected")
    if allowed := int(values.get("max_connections", 0)):
        now = None if connected is None else max(0, int(connected) - 1)
        facts.limits.append(Limit("the server", allowed, now, "SET GLOBAL max_connections = …"))
    if of_user := int(values.get("max_user_connections", 0)):  # in a session: what holds for this account
        mine = sum(int(n) for user, _, n in used if user == facts.user)
        change = f"ALTER USER {facts.user} WITH MAX_USER_CONNECTIONS …, or max_user_connections for all"
        facts.limits.append(Limit(f"the user {facts.user}", of_user, mine, change))


def _galera(connection: Connection, facts: Facts) -> None:
    names = ("wsrep_cluster_size", "wsrep_cluster_status", "wsrep_local_state_comment", "wsrep_ready")
    status = _status(connection, f"SHOW STATUS WHERE Variable_name IN {names}")
    if status.get("wsrep_cluster_size", "0") not in ("", "0"):
        facts.galera = {name: status[name] for name in names if name in status}


def _proxy(connection: Connection, values: dict[str, str]) -> Proxy | None:
    """A proxy gives its clients numbers of its own."""
    driver: Any = driver_connection(connection)
    thread_id = getattr(driver, "thread_id", None)
    told = thread_id() if callable(thread_id) else None
    ((real,),) = rows(connection, "SELECT CONNECTION_ID()")
    if told is None or int(told) == int(real):
        return None
    product = "ProxySQL" if "proxysql" in values.get("version_comment", "").lower() else "a proxy"
    return Proxy(product, None, ["the connection's number that the driver was told of is not the server's"])
