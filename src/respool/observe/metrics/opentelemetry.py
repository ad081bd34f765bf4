"""All metrics for OpenTelemetry, and spans for requests and blocks, their waits and their commits.

The spans are made when the request is over, from what was noted of it: in its own time nothing is done for them.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from respool import __version__
from respool.config import needs
from respool.observe.metrics.feed import Exported, Values, feed
from respool.observe.metrics.names import BUCKETS, METRICS, POOL, Metric
from respool.observe.metrics.readings import Reading
from respool.observe.recording.account import Account, Event, now
from respool.observe.recording.recorder import Recorder, recorder_of, route_of
from respool.pool.drivers.clock import Clock
from respool.pool.drivers.forks import in_a_child

with needs("opentelemetry", what="respool's metrics for OpenTelemetry"):
    from opentelemetry import context, metrics, trace

__all__ = ["instrument"]

#: Seconds for which one reading serves the callbacks of all instruments.
_FRESH = 1.0

#: What is made into a span, and what that is called.
_SPANS = {"wait": "respool wait", "commit": "respool commit"}


def instrument(
    *databases: Any,
    meter_provider: metrics.MeterProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
) -> Callable[[], None]:
    """Give the metrics of databases to OpenTelemetry; and spans, where a tracer provider is given.

    Args:
        databases: any number of ``Database`` and ``AsyncDatabase``. They are observed from now on.
        meter_provider: whose meter is used; ``None``: the one that OpenTelemetry's API knows.
        tracer_provider: makes spans: of each request or block that used the database (in the trace that it was part of),
            of each wait and of each COMMIT. ``None``: there are none.

    Returns:
        a function that ends it.

    Raises:
        ConfigError: something else than a database was given.
        MissingExtra: ``opentelemetry-api`` is not installed.
    """
    provider = meter_provider or metrics.get_meter_provider()
    with _making:
        meter = _meters.get(provider)
        if meter is None:
            meter = _meters[provider] = _Meter(provider)
    meter.add(databases)
    spans = None if tracer_provider is None else _Spans(tracer_provider, databases)

    def undo() -> None:
        meter.remove(databases)
        if spans is not None:
            spans.close()

    return undo


class _Meter:
    """The instruments of one provider, which knows each name once."""

    def __init__(self, provider: metrics.MeterProvider) -> None:
        self._exported = Exported()
        self._values = Values()
        self._latest = self._reading = Reading()
        self._read_at = -_FRESH
        self._served: set[str] = set()
        self._forget()
        in_a_child(self._forget)
        self._histograms: dict[str, metrics.Histogram] = {}
        meter = provider.get_meter("respool", __version__)
        for metric in METRICS.values():
            self._make(meter, metric)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._values.forget()

    def _make(self, meter: metrics.Meter, metric: Metric) -> None:
        if metric.instrument == "histogram":
            self._histograms[metric.name] = meter.create_histogram(
                metric.name, metric.unit, metric.what, explicit_bucket_boundaries_advisory=BUCKETS
            )
            return
        create: Any = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }[metric.instrument]
        create(metric.name, [partial(self._observed, metric)], metric.unit, metric.what)

    def add(self, databases: Iterable[Any]) -> None:
        feed.add(self._take, self._exported, databases)

    def remove(self, databases: Iterable[Any]) -> None:
        feed.remove(self._take, self._exported, databases)

    def _observed(self, metric: Metric, options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        with self._lock:
            if not self._exported:
                return []
            if metric.name in self._served or Clock.now() - self._read_at > _FRESH:
                feed.pump()  # which brings the histograms up to the same moment
                self._reading, self._read_at = self._latest, Clock.now()
                self._served.clear()
            self._served.add(metric.name)
            row = self._reading.numbers.get(metric.name, {})
            names = self._exported.names
        return [
            metrics.Observation(value, _attributes(metric, labels))
            for labels, value in row.items()
            if labels[0] in names
        ]

    def _take(self, reading: Reading) -> None:
        self._latest, names = reading, self._exported.names
        for name, row in reading.histograms.items():
            metric, record = METRICS[name], self._histograms[name].record
            for labels, value in row.items():
                if labels[0] in names:
                    attributes = _attributes(metric, labels)
                    for seconds in self._values.missing(name, labels, value, reading.times[name][labels]):
                        record(seconds, attributes)


def _attributes(metric: Metric, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))


_meters: weakref.WeakKeyDictionary[metrics.MeterProvider, _Meter] = weakref.WeakKeyDictionary()
_making = threading.Lock()


class _Spans:
    """Makes spans of what was noted.

    Args:
        provider: makes the tracer.
        databases: whose scopes.
    """

    def __init__(self, provider: trace.TracerProvider, databases: Iterable[Any]) -> None:
        self._tracer = provider.get_tracer("respool", __version__)
        self._listening: list[tuple[Recorder, Callable[[list[Account]], object]]] = []
        for database in databases:
            recorder = recorder_of(database)
            if recorder is not None:
                listener = partial(self._make_all, database.name)
                recorder.trace = context.get_current
                recorder.listeners.append(listener)
                self._listening.append((recorder, listener))

    def close(self) -> None:
        """Make no more."""
        for recorder, listener in self._listening:
            recorder.trace = None
            recorder.listeners = [each for each in recorder.listeners if each is not listener]
        self._listening.clear()

    def _make_all(self, name: str, accounts: list[Account]) -> None:
        for account in accounts:
            if account.context is not None:  # else it began before
                self._make(name, account)

    def _make(self, name: str, account: Account) -> None:
        offset = time.time() - now()
        route = route_of(account)
        span = self._tracer.start_span(
            f"respool {route}",
            account.context,
            start_time=_nanoseconds(offset + account.began),
            attributes={
                POOL: name,
                "respool.route": route,
                "respool.statements": account.statements,
                "respool.waited": account.seconds_waited,
                "respool.held": account.seconds_held,
                "respool.sql": account.seconds_in_sql,
            },
        )
        inside = trace.set_span_in_context(span, account.context)
        failed = account.outcomes["failed"] + account.outcomes["unknown"] > 0
        events = [event for event in account.events if event.kind in _SPANS]
        last = next((event for event in reversed(events) if event.kind == "commit"), None)
        for event in events:
            self._make_part(event, inside, offset, failed=failed and event is last)
        span.end(_nanoseconds(offset + account.began + account.seconds))

    def _make_part(self, event: Event, inside: Any, offset: float, *, failed: bool) -> None:
        span = self._tracer.start_span(_SPANS[event.kind], inside, start_time=_nanoseconds(offset + event.began))
        if failed:
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(offset + event.ended))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
