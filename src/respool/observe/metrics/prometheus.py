"""All metrics for Prometheus, under the names that OpenTelemetry's have there; of one process, and of several.

With ``PROMETHEUS_MULTIPROC_DIR`` whoever is scraped answers for all workers, from files; what collects at a scrape could
speak for its own process only.  There the values are written once in a second, by the thread that observes.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from respool.config import needs
from respool.observe.metrics.feed import Exported, Values, feed
from respool.observe.metrics.names import BUCKETS, METRICS, Metric, prometheus_label
from respool.observe.metrics.readings import Labels, Reading, read
from respool.pool.core.histogram import HistogramValue
from respool.pool.drivers.forks import in_a_child

with needs("prometheus", "prometheus_client", what="respool's metrics for Prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, make_asgi_app, make_wsgi_app
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector

__all__ = ["asgi_app", "register", "wsgi_app"]

#: How many combinations of labels of one metric are written in several processes: what was written once stays.
_MOST = 2000


def register(*databases: Any, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Have the metrics of databases scraped.

    Args:
        databases: any number of ``Database`` and ``AsyncDatabase``. They are observed from now on.
        registry: of which they become part. With ``PROMETHEUS_MULTIPROC_DIR`` it is not used: what is scraped then is a
            registry with a ``MultiProcessCollector``, as :func:`asgi_app` and :func:`wsgi_app` have.

    Returns:
        a function that ends it.

    Raises:
        ConfigError: something else than a database was given.
        MissingExtra: ``prometheus-client`` is not installed.
    """
    exporter = _exporter(registry)
    exporter.add(databases)
    return lambda: exporter.remove(databases)


def asgi_app(*databases: Any) -> Any:
    """An ASGI application that answers a scrape, with all that this process, or all workers, have for Prometheus.

    Args:
        databases: as for :func:`register`.
    """
    register(*databases)
    return make_asgi_app(_scraped())


def wsgi_app(*databases: Any) -> Any:
    """The same for WSGI."""
    register(*databases)
    return make_wsgi_app(_scraped())


def _has_several() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def _scraped() -> CollectorRegistry:
    if not _has_several():
        return REGISTRY
    registry = CollectorRegistry()
    collect_from_all: Any = MultiProcessCollector  # without types
    collect_from_all(registry)
    return registry


class _Scraped(Collector):
    """Reads when it is scraped: one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._exported = Exported()
        registry.register(self)

    def add(self, databases: Iterable[Any]) -> None:
        self._exported.add(databases)

    def remove(self, databases: Iterable[Any]) -> None:
        self._exported.remove(databases)

    def describe(self) -> Iterable[Any]:
        """Nothing: a registry need not read to know the names."""
        return []

    def collect(self) -> Iterator[Any]:
        """What is scraped."""
        reading = read(self._exported)
        for name, row in reading.numbers.items():
            metric = METRICS[name]
            kind = CounterMetricFamily if metric.instrument == "counter" else GaugeMetricFamily
            family = kind(metric.family, metric.what, labels=_labels(metric))
            for labels, value in row.items():
                family.add_metric(labels, value)
            yield family
        for name, values in reading.histograms.items():
            metric = METRICS[name]
            histogram = HistogramMetricFamily(metric.family, metric.what, labels=_labels(metric))
            for labels, each in values.items():
                if each.total:  # one without a value is none to OpenTelemetry
                    histogram.add_metric(labels, _buckets(each), each.sum)
            yield histogram


def _buckets(value: HistogramValue) -> list[tuple[str, float]]:
    return list(zip([*map(str, BUCKETS), "+Inf"], accumulate(value.counts), strict=True))


def _labels(metric: Metric) -> list[str]:
    return [prometheus_label(label) for label in metric.labels]


class _Written:
    """Writes into metrics that all processes have together."""

    def __init__(self) -> None:
        self._exported = Exported()
        self._metrics = {metric.name: _ordinary(metric) for metric in METRICS.values()}
        self._values = Values()
        self._before: dict[tuple[str, Labels], float] = {}
        in_a_child(self._forget)

    def _forget(self) -> None:
        self._values.forget()
        self._before.clear()

    def add(self, databases: Iterable[Any]) -> None:
        feed.add(self._write, self._exported, databases)
        feed.pump()

    def remove(self, databases: Iterable[Any]) -> None:
        feed.remove(self._write, self._exported, databases)
        for name in {database.name for database in databases} - self._exported.names:
            self._clear(name)

    def _clear(self, database: str) -> None:
        """What is of this moment ends; what was counted stays."""
        for name, labels in list(self._before):
            if labels[0] == database and METRICS[name].instrument != "counter":
                self._number(METRICS[name], labels, 0.0)

    def _write(self, reading: Reading) -> None:
        names = self._exported.names
        for name, row in reading.numbers.items():
            for labels, value in row.items():
                if labels[0] in names:
                    self._number(METRICS[name], labels, value)
        for name, values in reading.histograms.items():
            for labels, each in values.items():
                if labels[0] in names:
                    seconds = self._values.missing(name, labels, each, reading.times[name][labels])
                    observe = self._metrics[name].labels(*labels).observe
                    for one in seconds:
                        observe(one)

    def _number(self, metric: Metric, labels: Labels, value: float) -> None:
        before = self._before.get((metric.name, labels))
        if value == before or (before is None and len(self._before) >= _MOST * len(METRICS)):
            return
        self._before[metric.name, labels] = value
        written = self._metrics[metric.name].labels(*labels)
        if metric.instrument == "counter":
            written.inc(max(0.0, value - (before or 0.0)))
        else:
            written.set(value)


def _ordinary(metric: Metric) -> Any:
    if metric.instrument == "counter":
        return Counter(metric.family, metric.what, _labels(metric), registry=None)
    if metric.instrument == "histogram":
        return Histogram(metric.family, metric.what, _labels(metric), registry=None, buckets=BUCKETS)
    mode: Any = "livemax" if metric.instrument == "gauge" else "livesum"
    return Gauge(metric.family, metric.what, _labels(metric), registry=None, multiprocess_mode=mode)


_exporters: weakref.WeakKeyDictionary[CollectorRegistry, _Scraped] = weakref.WeakKeyDictionary()
_written: list[_Written] = []
_making = threading.Lock()


def _exporter(registry: CollectorRegistry) -> _Scraped | _Written:
    with _making:
        if _has_several():
            if not _written:
                _written.append(_Written())
            return _written[0]
        known = _exporters.get(registry)
        if known is None:
            known = _exporters[registry] = _Scraped(registry)
        return known
