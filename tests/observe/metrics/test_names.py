"""The names: those of the conventions to the letter, and in Prometheus what OpenTelemetry's own translation makes of them."""

from __future__ import annotations

import re
from pathlib import Path

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from respool.observe.metrics.names import BUCKETS, METRICS, POOL, prometheus_label

#: Semantic conventions 1.44, model/db/metrics.yaml.
CONVENTIONS = {
    "db.client.connection.count": ("updowncounter", "{connection}"),
    "db.client.connection.idle.max": ("updowncounter", "{connection}"),
    "db.client.connection.idle.min": ("updowncounter", "{connection}"),
    "db.client.connection.max": ("updowncounter", "{connection}"),
    "db.client.connection.pending_requests": ("updowncounter", "{request}"),
    "db.client.connection.timeouts": ("counter", "{timeout}"),
    "db.client.connection.create_time": ("histogram", "s"),
    "db.client.connection.wait_time": ("histogram", "s"),
    "db.client.connection.use_time": ("histogram", "s"),
}


def test_all_nine_of_the_conventions_are_there_and_no_other_of_their_name() -> None:
    ours = {name: (m.instrument, m.unit) for name, m in METRICS.items() if name.startswith("db.")}
    assert ours == CONVENTIONS
    assert METRICS["db.client.connection.count"].labels == (POOL, "db.client.connection.state")


def test_what_is_ours_has_our_name_and_each_says_which_pool_it_is_of() -> None:
    assert all(name.startswith("respool.") for name in METRICS.keys() - CONVENTIONS.keys())
    assert {metric.labels[0] for metric in METRICS.values()} == {POOL}


def test_the_buckets_are_those_of_database_operations_and_finer_ones() -> None:
    assert set(BUCKETS) >= {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}


def test_the_names_are_those_of_opentelemetrys_translation() -> None:
    registry = CollectorRegistry()
    provider = MeterProvider(
        [PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)],
        shutdown_on_exit=False,
    )
    meter = provider.get_meter("here")
    for metric in METRICS.values():
        labels = dict.fromkeys(metric.labels, "x")
        if metric.instrument == "histogram":
            meter.create_histogram(metric.name, metric.unit).record(1, labels)
        elif metric.instrument == "gauge":
            meter.create_gauge(metric.name, metric.unit).set(1, labels)
        elif metric.instrument == "counter":
            meter.create_counter(metric.name, metric.unit).add(1, labels)
        else:
            meter.create_up_down_counter(metric.name, metric.unit).add(1, labels)
    theirs = {
        (
            re.sub("_(bucket|count|sum)$", "", sample.name) if family.type == "histogram" else sample.name,
            frozenset(sample.labels) - {"le"},
        )
        for family in registry.collect()
        for sample in family.samples
    }
    assert theirs == {
        (metric.prometheus, frozenset(map(prometheus_label, metric.labels))) for metric in METRICS.values()
    }
    provider.shutdown()


PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md"


def test_the_page_has_every_metric_and_no_other() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    shown = {tuple(row[:5]) for row in rows if len(row) == 5 and re.match(r"`(db|respool)\.", row[0])}
    assert shown == {
        (
            f"`{metric.name}`",
            f"`{metric.prometheus}`",
            f"{metric.instrument}, {metric.unit}",
            ", ".join(f"`{prometheus_label(label)}`" for label in metric.labels[1:]),
            metric.what,
        )
        for metric in METRICS.values()
    }
