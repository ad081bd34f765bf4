"""What is scraped: once for each database however often it is registered, of many at once, by ASGI and WSGI; and the line."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import event, literal, select, text

from respool import Database, PoolConfig
from respool.errors import ConfigError, MissingExtra, RespoolError
from respool.observe.findings.holding import Holding
from respool.observe.metrics import prometheus
from respool.observe.metrics.prometheus import asgi_app, register, wsgi_app
from respool.observe.observation import observation
from respool.observe.recording.errors import Errors
from respool.observe.recording.routes import MOST_ROUTES, OTHERS
from tests.observe.metrics.exporters import Samples, samples
from tests.web.clients import call_wsgi


@pytest.fixture
def db(sqlite_file: str) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=2, min_size=0))
    yield db
    db.close()
    for database in observation.databases:
        observation.remove(database)
    observation.board.clear()


def value(found: Samples, name: str, **labels: str) -> float:
    (number,) = [v for (each, pairs), v in found.items() if each == name and set(labels.items()) <= pairs]
    return number


def work(db: Database, label: str = "work") -> None:
    with db.scope(label) as session:
        session.execute(text("SELECT 1"))


def test_a_database_is_there_once_however_often_it_is_registered(db: Database) -> None:
    registry = CollectorRegistry()
    ends = [register(db, registry=registry) for _ in range(2)]
    work(db)
    assert value(samples(registry), "respool_scopes_total", respool_route="work") == 1
    ends[0]()
    assert samples(registry) == {}


def test_two_databases_on_one_engine_have_one_pool(db: Database) -> None:
    again = Database(db.engine, name="shop, again")
    registry = CollectorRegistry()
    register(db, again, registry=registry)
    work(again)
    found = samples(registry)
    pools = {
        dict(pairs)["db_client_connection_pool_name"] for name, pairs in found if name == "db_client_connection_max"
    }
    assert pools == {"shop"}
    assert value(found, "respool_scopes_total", db_client_connection_pool_name="shop, again") == 1


def test_a_database_that_is_gone_is_not_kept(sqlite_file: str) -> None:
    registry = CollectorRegistry()
    db = Database(f"sqlite:///{sqlite_file}", name="gone")
    register(db, registry=registry)
    assert samples(registry)
    db.close()
    observation.remove(db)
    del db
    gc.collect()
    assert samples(registry) == {}


def test_a_pool_without_a_limit_has_none(sqlite_file: str) -> None:
    db = Database(f"sqlite:///{sqlite_file}", pool=PoolConfig.of({"max_overflow": -1}))
    registry = CollectorRegistry()
    end = register(db, registry=registry)
    assert not [name for name, _ in samples(registry) if name.endswith("_max")]
    end()
    db.close()


def test_routes_without_end_are_one(db: Database) -> None:
    registry = CollectorRegistry()
    register(db, registry=registry)
    for number in range(MOST_ROUTES + 20):
        work(db, f"work {number}")
    found = samples(registry)
    assert sum(name == "respool_scopes_total" for name, _ in found) == MOST_ROUTES + 1
    assert value(found, "respool_scopes_total", respool_route=OTHERS) == 20


def test_leases_by_kind_and_commits_by_outcome(db: Database) -> None:
    registry = CollectorRegistry()
    register(db, registry=registry)
    read = select(literal(1))
    with db.scope("work") as session:
        session.execute(read)
        session.execute(read)

    @event.listens_for(db.engine, "before_cursor_execute")
    def stranger(*args: Any) -> None: ...

    with db.scope("work") as session:
        session.execute(read)
        session.execute(text("CREATE TABLE tea (name TEXT)"))
        session.commit()
    event.remove(db.engine, "before_cursor_execute", stranger)
    found = samples(registry)
    assert value(found, "respool_leases_total", respool_lease="autocommit") == 2
    assert value(found, "respool_leases_total", respool_lease="transaction") == 1
    assert value(found, "respool_commits_total", respool_outcome="committed") == 1
    assert value(found, "respool_commits_total", respool_outcome="failed") == 0
    assert value(found, "respool_statements_total") == 4


async def test_by_asgi(db: Database) -> None:
    work(db)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    await asyncio.wait_for(asgi_app(db)(scope, receive, send), 10)
    assert sent[0]["status"] == 200
    assert b'db_client_connection_count{db_client_connection_pool_name="shop"' in sent[1]["body"]


def test_by_wsgi(db: Database) -> None:
    answer = call_wsgi(wsgi_app(db), "/", "GET")
    assert answer.status.startswith("200") if isinstance(answer.status, str) else answer.status == 200
    assert b'db_client_connection_count{db_client_connection_pool_name="shop"' in answer.body


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    source = Path(str(prometheus.__file__)).read_text(encoding="utf-8")
    with pytest.raises(MissingExtra, match="prometheus_client") as raised:
        exec(compile(source, str(prometheus.__file__), "exec"), vars(ModuleType("again")))
    assert 'pip install "respool[prometheus]"' in str(raised.value)


# -- the line to change, from the scrape alone ------------------------------------------------------------------------


def lines(registry: CollectorRegistry, finding: str) -> list[str]:
    return [
        dict(pairs)["respool_place"]
        for (name, pairs) in samples(registry)
        if name == "respool_findings_total" and ("respool_finding", finding) in pairs
    ]


def test_the_line_that_repeats_a_statement(db: Database) -> None:
    registry = CollectorRegistry()
    register(db, registry=registry)
    with db.scope("work") as session:
        session.connection()
        for _ in range(6):
            session.execute(text("SELECT 1"))
    (place,) = lines(registry, "n-plus-one")
    first = test_the_line_that_repeats_a_statement.__code__.co_firstlineno
    assert place == f"tests/observe/metrics/test_prometheus.py:{first + 6}"


def test_the_line_that_holds_a_connection_in_vain(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "holding", Holding(observation.board, 0.0))
    registry = CollectorRegistry()
    register(db, registry=registry)
    go_on, there = threading.Event(), threading.Event()

    def hold() -> None:
        with db.scope("work") as session:
            session.connection()
            there.set()
            go_on.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    there.wait(10)
    observation.look()
    go_on.set()
    thread.join(10)
    first = hold.__code__.co_firstlineno
    assert {int(place.rpartition(":")[2]) for place in lines(registry, "held-idle")} & {first + 3, first + 4}


# -- errors -----------------------------------------------------------------------------------------------------------


def test_errors_are_counted_by_database_and_code() -> None:
    errors = Errors()
    for _ in range(3000):  # more than are kept uncounted
        errors.note(ConfigError("wrong", database="shop"))
    errors.note(RespoolError("wrong"))
    assert len(errors._unread) <= 1001
    assert errors.counts() == {("shop", "C001"): 3000, ("", "R000"): 1}
    assert errors.counts() == {("shop", "C001"): 3000, ("", "R000"): 1}


def test_it_is_text_that_prometheus_reads(db: Database) -> None:
    registry = CollectorRegistry()
    register(db, registry=registry)
    work(db, 'a "label"\nof two lines')
    assert 'respool_route="a \\"label\\"\\nof two lines"' in generate_latest(registry).decode()
