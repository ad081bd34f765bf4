"""What is wrong with a configuration on a server, the worst first; plain functions of what was found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from respool.cli.doctor.facts import Facts, Limit, Plan
from respool.cli.doctor.kinds import KINDS, LEVELS, Kind
from respool.config import UNLIMITED

__all__ = ["Found", "judge", "seconds"]

#: Drivers that prepare statements by themselves, and what keeps them from it.
PREPARING = {
    **dict.fromkeys(("psycopg", "psycopg_async"), "{'prepare_threshold': None}"),
    "asyncpg": "{'statement_cache_size': 0, 'prepared_statement_cache_size': 0}",
}
#: Seconds of a connect and of a round trip above which they are told of.
SLOW_CONNECT, FAR_AWAY = 0.25, 0.005
#: Seconds of silence after which a server should ask whether its client is there.
_LATE = 600


@dataclass(slots=True)
class Found:
    """Something that was found, with what to change here."""

    kind: Kind
    what: str
    facts: list[str] = field(default_factory=list)
    do: list[str] = field(default_factory=list)


def judge(facts: Facts, plan: Plan) -> list[Found]:
    """All that is to be said of a plan on this database, the worst first.

    Args:
        facts: what was found out.
        plan: what is going to use it.
    """
    found = [each for rule in _RULES for each in rule(facts, plan)]
    return sorted(found, key=lambda each: (LEVELS.index(each.kind.level), each.kind.code))


def _found(name: str, what: str, facts: list[str] | None = None, do: list[str] | None = None) -> Found:
    return Found(KINDS[name], what, facts or [], do or list(KINDS[name].advice))


# -- how many -----------------------------------------------------------------------------------------------------------


def limits_of(facts: Facts) -> list[Limit]:
    """What bounds the number of connections here, the tightest first."""
    proxy = facts.proxy
    limits = list(facts.limits)
    if proxy is not None and proxy.mode != "session":
        limits = []  # its connections to the server are its own matter: whoever finds none free waits for one
    if proxy is not None and proxy.clients:
        limits.append(Limit("the proxy", proxy.clients, None, "max_client_conn in pgbouncer.ini"))
    if proxy is not None and proxy.servers and proxy.mode == "session":
        limits.append(Limit("the proxy's pool", proxy.servers, None, "default_pool_size in pgbouncer.ini"))
    return sorted(limits, key=lambda limit: limit.connections)


def _connections(facts: Facts, plan: Plan) -> Iterator[Found]:
    limits = limits_of(facts)
    if not limits:
        return
    tightest, wanted = limits[0], plan.connections
    size = plan.config.max_size
    product = f"{plan.workers} {'worker' if plan.workers == 1 else 'workers'} × {size} = {wanted} connections"
    if size >= UNLIMITED:
        product = "the pool has no limit"
    others = [f"{limit.whose} allows {limit.connections}{_used(limit)}" for limit in limits]
    allowed = f"{tightest.whose} allows {tightest.connections}"
    if wanted > tightest.connections:
        yield _found("too-many-connections", f"{product}, but {allowed}", others, _smaller(plan, tightest, 1))
    elif 2 * wanted > tightest.connections:
        what = f"{product}, twice that during a deployment, but {allowed}"
        yield _found("no-room-to-deploy", what, others, _smaller(plan, tightest, 2))
    elif taken := _taken_by_others(facts, tightest, wanted):
        do = _smaller(plan, Limit(tightest.whose, tightest.connections - taken, None, tightest.change), 1)
        uses = [str(use) for use in facts.in_use if use.user != facts.user][:5]
        yield _found("little-room-now", f"{product}, and others have {taken} of the {tightest.connections}", uses, do)


def _used(limit: Limit) -> str:
    return "" if limit.used is None else f", {limit.used} in use now"


def _smaller(plan: Plan, limit: Limit, generations: int) -> list[str]:
    size = limit.connections // (plan.workers * generations)
    first = f"--pool {size}: PoolConfig(max_size={size}) in each worker" if size > 0 else "fewer workers"
    return [first, f"or raise the limit: {limit.change}"]


def _taken_by_others(facts: Facts, limit: Limit, wanted: int) -> int:
    """How many connections others have, if that leaves too little. Our own may be those of the pools that are judged."""
    if limit.whose != "the server":
        return 0
    taken = sum(use.connections for use in facts.in_use if use.user != facts.user)
    return taken if wanted + taken > limit.connections else 0


def _superuser(facts: Facts, plan: Plan) -> Iterator[Found]:
    if facts.superuser:
        yield _found("superuser", f"{facts.user} is one")


# -- how long -----------------------------------------------------------------------------------------------------------


def _idle(facts: Facts, plan: Plan) -> Iterator[Found]:
    config, proxy = plan.config, facts.proxy
    limits = [("the proxy's client_idle_timeout", proxy.times.get("client_idle_timeout"))] if proxy else []
    if proxy is None:  # else these are between the proxy and the server
        limits += [(name, facts.seconds(name)) for name in ("idle_session_timeout", "wait_timeout")]
    setting = "max_lifetime" if config.min_size else "max_idle"
    rest = getattr(config, setting)
    for name, limit in limits:
        if limit is not None and (rest is None or rest >= limit):
            kept = ", since min_size keeps connections beyond max_idle" if config.min_size else ""
            yield _found(
                "idle-cut-off",
                f"{name} is {seconds(limit)}, and a connection may rest for {seconds(rest)} ({setting}{kept})",
                [f"set by: {facts.times[name].source}"] if name in facts.times else [],
                [f"{setting}={max(1, int(limit * 0.8)):g}", f"or raise {name} above {seconds(rest)}"],
            )


def _cut_off(facts: Facts, plan: Plan) -> Iterator[Found]:
    names = ("idle_in_transaction_session_timeout", "idle_transaction_timeout", "transaction_timeout")
    limits = [(name, limit) for name in names if (limit := facts.seconds(name)) is not None]
    if facts.proxy is not None and (limit := facts.proxy.times.get("idle_transaction_timeout")):
        limits.append(("the proxy's idle_transaction_timeout", limit))
    if not limits:
        return
    name, limit = min(limits, key=lambda each: each[1])
    leak_after = plan.config.leak_after
    if leak_after is None or leak_after >= limit:
        yield _found(
            "work-cut-off",
            f"{name} is {seconds(limit)}, and leak_after is {seconds(leak_after, off='off')}",
            [f"set by: {facts.times[name].source}"] if name in facts.times else [],
            [f"leak_after={max(1, int(limit / 2)):g}: who holds a connection that long is told to the log"],
        )


def _endless(facts: Facts, plan: Plan) -> Iterator[Found]:
    idle = [name for name in ("idle_in_transaction_session_timeout", "idle_transaction_timeout") if name in facts.times]
    if idle and facts.seconds(idle[0]) is None:
        yield _found("forgotten-transactions", f"{idle[0]} is off", do=[_set(facts, {idle[0]: 60})])
    statement = [
        name for name in ("statement_timeout", "max_statement_time", "max_execution_time") if name in facts.times
    ]
    if statement and all(facts.seconds(name) is None for name in statement):
        off: dict[str, int] = {statement[0]: 30}
        if "lock_timeout" in facts.times and facts.seconds("lock_timeout") is None:
            off["lock_timeout"] = 5
        what = f"{' and '.join(off)} {'are' if len(off) > 1 else 'is'} off"
        yield _found("endless-statements", what, do=[_set(facts, off)])
    keepalive = facts.seconds("tcp_keepalives_idle")
    late = (keepalive is None or keepalive > _LATE) and facts.seconds("client_connection_check_interval") is None
    if late and "tcp_keepalives_idle" in facts.times and not facts.local and facts.proxy is None:
        after = "the system's time, two hours as a rule" if keepalive is None else seconds(keepalive)
        yield _found("dead-clients", f"the server looks for a silent client after {after}, and not before")


def _set(facts: Facts, times: dict[str, int]) -> str:
    """How times are set there."""
    if facts.product == "PostgreSQL":
        return "; ".join(f"ALTER ROLE {facts.user} SET {name} = '{value}s'" for name, value in times.items())
    thousandth = {"max_execution_time": 1000}
    return "; ".join(f"SET GLOBAL {name} = {value * thousandth.get(name, 1)}" for name, value in times.items())


def _lifetime(facts: Facts, plan: Plan) -> Iterator[Found]:
    if plan.config.max_lifetime is None and facts.file is None:
        yield _found("never-renewed", "max_lifetime is none")


# -- what kind of server --------------------------------------------------------------------------------------------------


def _writes(facts: Facts, plan: Plan) -> Iterator[Found]:
    if facts.read_only is not None and not plan.reads_only and facts.file is None:
        yield _found("read-only", facts.read_only)
    if facts.isolation not in (None, "read committed", "read uncommitted"):
        yield _found("isolation", f"the default is {str(facts.isolation).upper()}")
    if galera := facts.galera:
        status = f"{galera.get('wsrep_cluster_status', '?')}, {galera.get('wsrep_local_state_comment', '?')}"
        ready = galera.get("wsrep_ready", "ON").upper() == "ON" and status.startswith("Primary")
        what = f"one of {galera.get('wsrep_cluster_size', '?')} nodes: {status}"
        yield _found("galera" if ready else "galera-not-ready", what)


def _proxies(facts: Facts, plan: Plan) -> Iterator[Found]:
    proxy = facts.proxy
    if proxy is None:
        return
    if proxy.mode == "statement":
        yield _found("statement-pooling", f"{proxy.product} in statement mode", proxy.signs)
    if proxy.mode == "transaction":
        if plan.prepares and facts.driver in PREPARING and not proxy.keeps_prepared:
            sure = (
                "it was tried, and failed" if proxy.keeps_prepared is False else "whether it works was not to be seen"
            )
            yield _found(
                "prepared-statements",
                f"{facts.driver} prepares statements, and {proxy.product} is in transaction mode: {sure}",
                do=[
                    f"Database(url, engine_options={{'connect_args': {PREPARING[facts.driver]}}})",
                    "or PgBouncer 1.21 and newer with max_prepared_statements = 200",
                    "when that is done, say so: --no-prepare",
                ],
            )
        yield _found("transaction-pooling", f"{proxy.product} in transaction mode", proxy.signs)
    if proxy.clients is None:
        yield _found(
            "proxy-unseen", f"{proxy.product}{'' if proxy.mode else ', in a mode that cannot be told'}", proxy.signs
        )


# -- the way there, and SQLite --------------------------------------------------------------------------------------------


def _way(facts: Facts, plan: Plan) -> Iterator[Found]:
    if facts.file is not None:
        return
    if facts.connect > SLOW_CONNECT:
        yield _found("connect-time", f"{seconds(facts.connect)}, the median of several")
    if facts.trip > FAR_AWAY:
        yield _found("far-away", f"{seconds(facts.trip)}, the median of several")
    if facts.tls is None and not facts.local and facts.proxy is None:
        yield _found("no-tls", "the connection is in clear")


def _sqlite(facts: Facts, plan: Plan) -> Iterator[Found]:
    file = facts.file
    if file is None:
        return
    if file.threadsafe == 0:
        yield _found("one-thread", "THREADSAFE=0")
    if file.path is None:
        yield _found(
            "in-memory", "no file" if plan.workers == 1 else f"{plan.workers} workers, and a database for each"
        )
        return
    if not file.writable and not plan.reads_only:
        yield _found("not-writable", f"{file.path} takes no writes")
    elif not file.folder_writable and not plan.reads_only:
        yield _found("not-writable", f"the folder of {file.path} is not writable for this user")
    if file.journal != "wal":
        yield _found("journal", f"journal_mode is {file.journal}")
    if file.busy_timeout == 0:
        yield _found("busy-timeout", "the busy timeout is 0")


_RULES: tuple[Callable[[Facts, Plan], Iterator[Found]], ...] = (
    _connections, _superuser, _idle, _cut_off, _endless, _lifetime, _writes, _proxies, _way, _sqlite,
)  # fmt: skip


def seconds(value: float | None, *, off: str = "ever") -> str:
    """A time for people: ``5 min``, ``1.3 ms``; ``off`` for none."""
    if value is None:
        return off
    for least, size, unit in ((7200, 3600, "h"), (120, 60, "min"), (1, 1, "s"), (0.001, 0.001, "ms")):
        if value >= least:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.0f} µs"
