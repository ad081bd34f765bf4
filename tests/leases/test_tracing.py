"""Listeners that only look cost no trip: the tracers that applications have, and an application's own, when it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sentry_sdk
import sqlalchemy as sa
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.integrations import sqlalchemy as sentry
from sqlalchemy import event

from respool.engine import only_looks
from tests.leases.stand import POSTGRES, Note, Side, Stand, Ware, names
from tests.support.trips import TripCounter

#: The trips of a plain read that runs alone; with a transaction of its own there are up to three.
ALONE = 1


@contextmanager
def wire(stand: Stand) -> Iterator[tuple[sa.URL, TripCounter]]:
    """A line to the database on which the trips are counted."""
    with TripCounter(stand.url.host or "", stand.url.port or 0) as trips:
        through = stand.url.set(port=trips.port)
        option = "ssl" if stand.driver == "asyncpg" else "sslmode"
        yield through.update_query_dict({option: "disable"}), trips


def trips_of_reads(side: Side, trips: TripCounter) -> list[int]:
    """How often two plain reads have to wait for the server, once all is warm."""
    found = []
    for _ in range(2):
        with side.request() as session:
            names(session)
            session.get(Ware, 1)
    for _ in range(2):
        trips.take()
        with side.request() as session:
            names(session)
            session.get(Ware, 1)
        found.append(trips.take())
    return found


class Traces:
    """OpenTelemetry, with what it has recorded at hand."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        # it says that it is for SQLAlchemy below 2.1, and works with 2.1
        self.options = {
            "tracer_provider": provider,
            "meter_provider": MeterProvider([self.reader]),
            "skip_dep_check": True,
        }

    def words(self) -> list[str]:
        return [str(span.name).split()[0] for span in self.spans.get_finished_spans()]

    def used(self) -> dict[str, float]:
        """The gauge of connections, by state."""
        data = self.reader.get_metrics_data()
        points = [
            p for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics for p in m.data.data_points
        ]
        return {str(point.attributes["state"]): point.value for point in points if "state" in point.attributes}


@pytest.fixture
def traces() -> Iterator[Traces]:
    yield Traces()
    SQLAlchemyInstrumentor().uninstrument()


@pytest.mark.on(*POSTGRES)
def test_opentelemetry_on_an_engine(stand: Stand, traces: Traces) -> None:
    with wire(stand) as (url, trips):

        def program(side: Side) -> Any:
            SQLAlchemyInstrumentor().instrument(engine=side.engine, **traces.options)
            return trips_of_reads(side, trips)

        assert stand.run(program, url=url) == [2 * ALONE] * 2
    assert traces.words().count("SELECT") >= 8
    assert traces.used()["used"] == 0


@pytest.mark.on("psycopg", "psycopg2")
def test_opentelemetry_that_writes_comments(stand: Stand, traces: Traces) -> None:
    """``enable_commenter``: what is sent is not quite what was proved; it is a tracer's, and known.

    asyncpg has to prepare each such statement anew, with stock as well.
    """
    with wire(stand) as (url, trips):

        def program(side: Side) -> Any:
            SQLAlchemyInstrumentor().instrument(engine=side.engine, enable_commenter=True, **traces.options)
            found = trips_of_reads(side, trips)
            (query,) = stand.last_queries()
            return found, "traceparent" in query

        assert stand.run(program, url=url) == ([2 * ALONE] * 2, True)


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
def test_opentelemetry_and_what_a_session_does(stand: Stand, traces: Traces) -> None:
    def program(side: Side) -> Any:
        SQLAlchemyInstrumentor().instrument(engine=side.engine, **traces.options)
        with side.request() as session:
            seen = names(session)
            out = None if side.stock else side.out
            session.add(Note(text="traced"))
            session.commit()
            session.get(Ware, 1)
        SQLAlchemyInstrumentor().uninstrument()
        return seen, stand.notes(), out

    assert stand.run(program) == (["tea", "rum"], ["traced"], 0)
    ours = traces.words()
    traces.spans.clear()
    assert stand.run(program, stock=True)[:2] == (["tea", "rum"], ["traced"])
    assert [word for word in ours if word in ("SELECT", "INSERT")] == ["SELECT", "INSERT", "SELECT"]
    assert [word for word in traces.words() if word in ("SELECT", "INSERT")] == ["SELECT", "INSERT", "SELECT"]


@pytest.fixture
def reported() -> Iterator[list[Any]]:
    """Sentry, with its integration for SQLAlchemy; what it would send. Its listeners are those of all engines."""
    sent: list[Any] = []

    class Kept(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(item.payload.json for item in envelope.items)

    options = {"default_integrations": False, "auto_enabling_integrations": False, "traces_sample_rate": 1.0}
    before = sentry_sdk.get_client()
    sentry_sdk.integrations._processed_integrations.discard("sqlalchemy")
    sentry_sdk.init("http://key@localhost/1", transport=Kept, integrations=[sentry.SqlalchemyIntegration()], **options)
    yield sent
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(before)
    event.remove(sa.Engine, "before_cursor_execute", sentry._before_cursor_execute)
    event.remove(sa.Engine, "after_cursor_execute", sentry._after_cursor_execute)
    event.remove(sa.Engine, "handle_error", sentry._handle_error)


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_sentry(stand: Stand, reported: list[Any]) -> None:
    with wire(stand) as (url, trips):

        def program(side: Side) -> Any:
            with sentry_sdk.start_transaction(name="request"):
                return trips_of_reads(side, trips)

        assert stand.run(program, url=url) == [2 * ALONE] * 2
    spans = [span["description"] for report in reported for span in report.get("spans", ())]
    assert sum(description.startswith("SELECT") for description in spans) >= 8


# -- the application's own -----------------------------------------------------------------------------------------------


Listen = Callable[[sa.Engine, list[str]], None]


def log_of_statements(engine: sa.Engine, log: list[str]) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    @only_looks
    def note(conn: Any, cursor: Any, statement: str, *args: Any) -> None:
        log.append(statement)


def log_of_durations(engine: sa.Engine, log: list[str]) -> None:
    @only_looks
    def start(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        context.started = True

    @only_looks
    def stop(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        log.append(f"{context.started} {statement}")

    event.listen(engine, "before_cursor_execute", start)
    event.listen(engine, "after_cursor_execute", stop)


def gauge_of_connections(engine: sa.Engine, log: list[str]) -> None:
    event.listen(engine, "checkout", only_looks(lambda *args: log.append("out")))
    event.listen(engine, "checkin", only_looks(lambda *args: log.append("in")))


def methods_of_a_logger(engine: sa.Engine, log: list[str]) -> None:
    """Bound methods, as a class of listeners has them: it is the function that is declared."""

    class Logger:
        @only_looks
        def note(self, conn: Any, clauseelement: Any, *args: Any) -> None:
            log.append(str(clauseelement))

    event.listen(engine, "before_execute", Logger().note)


@pytest.mark.on("psycopg", "asyncpg")
@pytest.mark.parametrize("listen", [log_of_statements, log_of_durations, gauge_of_connections, methods_of_a_logger])
def test_one_that_says_that_it_only_looks_is_believed(stand: Stand, listen: Listen) -> None:
    log: list[str] = []
    with wire(stand) as (url, trips):

        def program(side: Side) -> Any:
            listen(side.engine, log)
            return trips_of_reads(side, trips)

        assert stand.run(program, url=url) == [2 * ALONE] * 2
    assert len(log) >= 8


@pytest.mark.on("pysqlite", "psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize(
    "when", ["before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute", "handle_error"]
)
def test_one_that_does_not_say_it_costs_a_transaction_and_no_connection(stand: Stand, when: str) -> None:
    """Given back after each read all the same: it was seen to do nothing."""

    def program(side: Side) -> Any:
        log: list[str] = []
        event.listen(side.engine, when, lambda *args: log.append(when) and None)
        found = []
        with side.request() as session:
            for _ in range(2):
                seen = names(session)
                found.append((seen, side.out, side.pool.stats().acquired))
            session.get(Ware, 1)
            found.append(stand.last_words() if not stand.sqlite and when != "handle_error" else ["ROLLBACK"])
        return found

    assert stand.run(program, size=1) == [(["tea", "rum"], 0, 0)] * 2 + [["ROLLBACK"]]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_sqlalchemys_own_logging_costs_nothing(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """``echo=True`` listens to nobody."""
    with wire(stand) as (url, trips):
        assert stand.run(lambda side: trips_of_reads(side, trips), url=url, echo=True) == [2 * ALONE] * 2
    assert "FROM wares" in caplog.text


@pytest.mark.on("psycopg", "asyncpg")
def test_a_word_that_is_not_true_is_the_users_own_risk_and_no_other(stand: Stand) -> None:
    """One that said that it only looks, and sets something, does so for its own statement alone."""

    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "before_cursor_execute")
        @only_looks
        def lie(conn: Any, cursor: Any, *args: Any) -> None:
            cursor.execute("SET LOCAL statement_timeout = 4321")

        with side.request() as session:
            seen = names(session)
        event.remove(side.engine, "before_cursor_execute", lie)
        with side.engine.connect() as connection:
            return seen, connection.exec_driver_sql("SHOW statement_timeout").scalar()

    assert stand.run(program, size=1) == (["tea", "rum"], "0")
