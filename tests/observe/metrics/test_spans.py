"""Spans: of each request or block, in the trace that it is part of, with its waits and commits inside; none unless asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from respool import AsyncDatabase, Database, PoolConfig
from respool.observe.metrics.opentelemetry import instrument
from respool.observe.observation import observation
from respool.observe.recording.recorder import recorder_of
from tests.servers.serving import until


class Traced:
    """A tracer provider, and what it was given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider(shutdown_on_exit=False)
        self.undo: list[Callable[[], None]] = []

    def instrument(self, *databases: Any, tracer_provider: TracerProvider | None = None) -> Callable[[], None]:
        self.undo.append(instrument(*databases, meter_provider=self.meters, tracer_provider=tracer_provider))
        return self.undo[-1]

    def spans(self, prefix: str = "respool") -> list[ReadableSpan]:
        observation.look()
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(prefix)]


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    for undo in traced.undo:
        undo()
    traced.provider.shutdown()
    traced.meters.shutdown()
    for database in observation.databases:
        observation.remove(database)


@pytest.fixture
def db(sqlite_file: str) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=2))
    with db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE tea (name TEXT)"))
    yield db
    db.close()


def work(db: Database) -> None:
    with db.scope("work") as session:
        session.execute(text("INSERT INTO tea VALUES ('green')"))
        session.commit()


def test_a_block_is_a_child_of_the_span_it_began_in(db: Database, traced: Traced) -> None:
    traced.instrument(db, tracer_provider=traced.provider)
    with traced.provider.get_tracer("framework").start_as_current_span("GET /tea") as server:
        work(db)
    commit, scope = traced.spans()
    assert scope.parent is not None
    assert commit.parent is not None
    assert (scope.name, scope.parent.span_id) == ("respool work", server.get_span_context().span_id)
    assert (commit.name, commit.parent.span_id) == ("respool commit", scope.context.span_id)
    assert commit.status.is_unset
    assert scope.attributes is not None
    assert scope.attributes["db.client.connection.pool.name"] == "shop"
    assert scope.attributes["respool.statements"] == 1
    times = [scope.start_time, commit.start_time, commit.end_time, scope.end_time]
    assert sorted(time for time in times if time) == times


async def test_with_asyncio(sqlite_file: str, traced: Traced) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="shop")
    traced.instrument(db, tracer_provider=traced.provider)
    with traced.provider.get_tracer("framework").start_as_current_span("GET /tea") as server:
        async with db.scope("work") as session:
            await session.execute(text("CREATE TABLE tea (name TEXT)"))
            await session.commit()
    scope = traced.spans("respool work")[0]
    assert scope.parent is not None
    assert scope.parent.span_id == server.get_span_context().span_id
    await db.close()


def test_a_wait_is_a_span(db: Database, traced: Traced) -> None:
    traced.instrument(db, tracer_provider=traced.provider)
    db.pool.resize(max_size=1)
    thread = threading.Thread(target=work, args=(db,))
    with db.engine.connect():
        thread.start()
        until(lambda: db.pool.stats().waiting == 1, "it waits")
        until(lambda: db.pool.stats().oldest_wait > 0.002, "long enough to be worth a span")
    thread.join(10)
    (scope,) = traced.spans("respool work")
    wait = traced.spans("respool wait")[-1]
    assert wait.parent is not None
    assert wait.parent.span_id == scope.context.span_id
    assert scope.attributes is not None
    assert scope.attributes["respool.waited"] == pytest.approx(
        ((wait.end_time or 0) - (wait.start_time or 0)) / 1e9, rel=1e-3
    )


def test_a_commit_that_fails_is_an_error(db: Database, traced: Traced) -> None:
    traced.instrument(db, tracer_provider=traced.provider)
    with db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE a (n INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE b (n INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)"))
    with db.scope("work") as session:
        session.connection().exec_driver_sql("PRAGMA foreign_keys = ON")
        session.execute(text("INSERT INTO b VALUES (5)"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    assert [span.status.is_ok or span.status.is_unset for span in traced.spans("respool commit")] == [False]


def test_the_commit_is_seen_after_any_number_of_statements(db: Database, traced: Traced) -> None:
    traced.instrument(db, tracer_provider=traced.provider)
    with db.scope("work") as session:
        for _ in range(200):
            session.execute(text("INSERT INTO tea VALUES ('green')"))
        session.commit()
    assert len(traced.spans("respool commit")) == 1


def test_there_are_none_unless_asked_for_and_none_after_the_end(db: Database, traced: Traced) -> None:
    traced.instrument(db)
    recorder = recorder_of(db)
    assert recorder is not None
    assert recorder.trace is None
    undo = traced.instrument(db, tracer_provider=traced.provider)
    work(db)
    assert len(traced.spans("respool work")) == 1
    undo()
    work(db)
    assert len(traced.spans("respool work")) == 1
    assert recorder.trace is None
