"""What is said of a configuration: each rule with the facts that break it, and those beside it that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from respool import PoolConfig
from respool.cli.doctor.facts import Facts, File, Limit, Plan, Proxy, Setting
from respool.cli.doctor.judging import judge, seconds
from respool.cli.doctor.kinds import KINDS, LEVELS
from respool.config import UNLIMITED


def facts(**what: Any) -> Facts:
    """A server far away with which all is well."""
    good: dict[str, Any] = {
        "product": "PostgreSQL",
        "version": "18.0",
        "driver": "psycopg",
        "url": "postgresql+psycopg://shop@db/shop",
        "user": "shop",
        "database": "shop",
        "tls": "TLSv1.3",
        "isolation": "read committed",
        "limits": [Limit("the server", 97, 0, "max_connections")],
        "times": {
            "idle_session_timeout": Setting(None, "default"),
            "idle_in_transaction_session_timeout": Setting(60, "user"),
            "statement_timeout": Setting(30, "user"),
            "lock_timeout": Setting(5, "user"),
            "tcp_keepalives_idle": Setting(60, "configuration file"),
            "client_connection_check_interval": Setting(None, "default"),
        },
        "trip": 0.001,
        "connect": 0.02,
    }
    return Facts(**good | what)


def times(**changed: float | None) -> dict[str, Setting]:
    return facts().times | {name: Setting(value, "user") for name, value in changed.items()}


def plan(workers: int = 1, **settings: Any) -> Plan:
    return Plan(workers=workers, config=PoolConfig(**{"leak_after": 20, **settings}), source="a test")


def codes(facts: Facts, plan: Plan) -> list[str]:
    return [each.kind.code for each in judge(facts, plan)]


def test_nothing_is_said_of_what_is_well() -> None:
    assert codes(facts(), plan()) == []


@pytest.mark.parametrize(
    "workers, size, said",
    [(9, 10, ["D012"]), (10, 10, ["D011"]), (4, 12, []), (4, 13, ["D012"]), (97, 1, ["D012"]), (98, 1, ["D011"])],
)
def test_the_sum_of_all_pools(workers: int, size: int, said: list[str]) -> None:
    assert codes(facts(), plan(workers, max_size=size)) == said


def test_a_pool_without_a_limit() -> None:
    (found,) = judge(facts(), plan(max_size=UNLIMITED))
    assert found.what == "the pool has no limit, but the server allows 97"


def test_the_tightest_limit_counts() -> None:
    limits = [Limit("the server", 97, 3, "a"), Limit("the role shop", 8, 0, "b"), Limit("the database shop", 9, 0, "c")]
    (found,) = judge(facts(limits=limits), plan())
    assert found.what == "1 worker × 10 = 10 connections, but the role shop allows 8"
    assert found.facts[0] == "the role shop allows 8, 0 in use now"
    assert found.do == ["--pool 8: PoolConfig(max_size=8) in each worker", "or raise the limit: b"]


@pytest.mark.parametrize(
    "changed, settings, said",
    [
        ({"idle_session_timeout": 300}, {}, ["D021"]),
        ({"idle_session_timeout": 301}, {}, []),
        ({"idle_session_timeout": 600}, {"max_idle": None}, ["D021"]),
        ({"idle_session_timeout": 600}, {"min_size": 1}, ["D021"]),
        ({"idle_session_timeout": 4000}, {"min_size": 1}, []),
        ({"wait_timeout": 100}, {}, ["D021"]),
        ({}, {"leak_after": None}, ["D022"]),
        ({}, {"leak_after": 60}, ["D022"]),
        ({}, {"leak_after": 59}, []),
        ({"transaction_timeout": 10}, {}, ["D022"]),
        ({"idle_in_transaction_session_timeout": None}, {"leak_after": None}, ["D023"]),
        ({"statement_timeout": None}, {}, ["D024"]),
        ({"lock_timeout": None}, {}, []),
        ({"tcp_keepalives_idle": 7200}, {}, ["D025"]),
        ({"tcp_keepalives_idle": None}, {}, ["D025"]),
        ({"tcp_keepalives_idle": 7200, "client_connection_check_interval": 10}, {}, []),
        ({}, {"max_lifetime": None}, ["D026"]),
    ],
)
def test_times(changed: dict[str, float | None], settings: dict[str, Any], said: list[str]) -> None:
    assert codes(facts(times=times(**changed)), plan(**settings)) == said


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"superuser": True}, ["D014"]),
        ({"read_only": "it is a standby, in recovery"}, ["D031"]),
        ({"isolation": "repeatable read"}, ["D032"]),
        ({"isolation": None}, []),
        ({"connect": 0.3}, ["D051"]),
        ({"trip": 0.006}, ["D052"]),
        ({"tls": None}, ["D053"]),
        ({"tls": None, "local": True}, []),
    ],
)
def test_the_server_and_the_way_there(changed: dict[str, Any], said: list[str]) -> None:
    assert codes(facts(**changed), plan()) == said


def test_reads_alone_need_no_writes() -> None:
    assert codes(facts(read_only="it is"), replace(plan(), reads_only=True)) == []


@pytest.mark.parametrize(
    "status, said",
    [
        (("Primary", "Synced", "ON"), ["D033"]),
        (("non-Primary", "Initialized", "OFF"), ["D034"]),
        (("Primary", "Donor/Desynced", "OFF"), ["D034"]),
        (("non-Primary", "Synced", "ON"), ["D034"]),
    ],
)
def test_a_galera_node(status: tuple[str, str, str], said: list[str]) -> None:
    names = ("wsrep_cluster_status", "wsrep_local_state_comment", "wsrep_ready")
    galera = {"wsrep_cluster_size": "3", **dict(zip(names, status, strict=True))}
    (found,) = judge(facts(galera=galera), plan())
    assert [found.kind.code] == said
    assert found.what == f"one of 3 nodes: {status[0]}, {status[1]}"


def proxy(mode: str | None, **what: Any) -> Proxy:
    return Proxy("PgBouncer 1.23", mode, ["a sign"], **{"clients": 1000, **what})


@pytest.mark.parametrize(
    "driver, stands_between, said",
    [
        ("psycopg", proxy("session"), []),
        ("psycopg", proxy("session", servers=9), ["D011"]),
        ("psycopg", proxy("statement"), ["D041"]),
        ("psycopg", proxy("transaction", servers=2), ["D042", "D043"]),
        ("psycopg", proxy("transaction", keeps_prepared=False), ["D042", "D043"]),
        ("psycopg", proxy("transaction", keeps_prepared=True), ["D043"]),
        ("psycopg2", proxy("transaction"), ["D043"]),
        ("psycopg", proxy("session", clients=None), ["D044"]),
        ("psycopg", proxy(None, clients=None), ["D044"]),
        ("psycopg", proxy("session", times={"client_idle_timeout": 200.0}), ["D021"]),
        ("psycopg", proxy("session", times={"idle_transaction_timeout": 15.0}), ["D022"]),
        ("psycopg", proxy("session", clients=9), ["D011"]),
    ],
)
def test_a_proxy(driver: str, stands_between: Proxy, said: list[str]) -> None:
    assert codes(facts(driver=driver, proxy=stands_between), plan()) == said


def test_behind_a_proxy_the_servers_limits_and_rests_are_its_own_matter() -> None:
    behind = facts(proxy=proxy("transaction", keeps_prepared=True), times=times(idle_session_timeout=60), tls=None)
    assert codes(behind, plan(50)) == ["D043"], "500 of the proxy's 1000, and not of the server's 97"


@pytest.mark.parametrize(
    "changed, said",
    [
        ({}, []),
        ({"journal": "delete"}, ["D061"]),
        ({"busy_timeout": 0.0}, ["D062"]),
        ({"writable": False}, ["D063"]),
        ({"folder_writable": False}, ["D063"]),
        ({"path": None, "journal": "memory"}, ["D064"]),
        ({"threadsafe": 0}, ["D065"]),
    ],
)
def test_sqlite(changed: dict[str, Any], said: list[str]) -> None:
    good: dict[str, Any] = {
        "path": "/srv/shop.db",
        "journal": "wal",
        "busy_timeout": 5.0,
        "writable": True,
        "folder_writable": True,
        "threadsafe": 1,
    }
    lite = Facts("SQLite", "3.50", "pysqlite", "sqlite:////srv/shop.db", local=True, file=File(**good | changed))
    assert codes(lite, plan(100, max_lifetime=None)) == said


def test_the_worst_comes_first() -> None:
    found = judge(facts(superuser=True, times=times(statement_timeout=None)), plan(100))
    assert [each.kind.level for each in found] == ["problem", "warning", "note"]


def test_every_finding_says_what_to_do_and_has_a_level() -> None:
    assert {kind.level for kind in KINDS.values()} == set(LEVELS)
    for found in judge(facts(superuser=True, trip=1, connect=1, tls=None, isolation="serializable"), plan(100)):
        assert found.do


@pytest.mark.parametrize(
    "value, said",
    [
        (None, "ever"),
        (0.000094, "94 µs"),
        (0.0012, "1.2 ms"),
        (1.5, "1.5 s"),
        (60, "60 s"),
        (300, "5 min"),
        (7200, "2 h"),
    ],
)
def test_a_time_for_people(value: float | None, said: str) -> None:
    assert seconds(value) == said
