"""Both exporters on the same databases, and what they say, sample by sample."""

from __future__ import annotations

import re
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from respool.observe.metrics.opentelemetry import instrument
from respool.observe.metrics.prometheus import register

__all__ = ["Exporters", "Samples", "samples"]

#: The value of each sample by its name and labels, as Prometheus stores them.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

#: They go on while a connection is held or somebody waits, so that two readings differ.
_GOES_ON = re.compile("respool_pool_(used_time|saturated_time|oldest_wait)_seconds")


def samples(registry: CollectorRegistry) -> Samples:
    found: Samples = {}
    for family in registry.collect():
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


class Exporters:
    """OpenTelemetry, as its own exporter translates it for Prometheus, and ours for Prometheus."""

    def __init__(self, *databases: Any) -> None:
        theirs, self.ours = CollectorRegistry(), CollectorRegistry()
        self._provider = MeterProvider(
            [PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=theirs)],
            shutdown_on_exit=False,
        )
        self.theirs = theirs
        self._undo = [
            instrument(*databases, meter_provider=self._provider),
            register(*databases, registry=self.ours),
        ]

    def close(self) -> None:
        for undo in self._undo:
            undo()
        self._provider.shutdown()

    def read(self) -> Samples:
        """What both say; they have to agree."""
        before, ours, after = samples(self.theirs), samples(self.ours), samples(self.theirs)
        assert before.keys() == ours.keys() == after.keys()
        for key, value in ours.items():
            if _GOES_ON.match(key[0]):
                assert before[key] <= value <= after[key], key
            else:
                assert value == pytest.approx(before[key], rel=1e-9, abs=1e-12), key
        return ours

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name whose labels have these values (a label by its last word)."""
        found = [
            value
            for (each, pairs), value in self.read().items()
            if each == name
            and labels.items() <= {(re.split(r"_(?=[a-z]+$)", label)[-1], word) for label, word in pairs}
        ]
        assert found, f"there is no {name} {labels}"
        return sum(found)

    def connections(self) -> tuple[int, int]:
        """How many are idle, and how many are used."""
        name = "db_client_connection_count"
        return int(self.value(name, state="idle")), int(self.value(name, state="used"))
