"""All metrics: the one place where their names, units and labels stand, for both exporters, the documents and the tests.

``db.client.connection.*`` are those of OpenTelemetry's semantic conventions 1.44; what these have no name for is ours.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from respool.pool.core.histogram import BOUNDS

__all__ = ["BUCKETS", "METRICS", "POOL", "Metric", "prometheus_label"]

#: The label that all have: the name of the database.
POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"
_ROUTE = "respool.route"

#: Upper bounds in seconds of the buckets of all histograms.
BUCKETS = BOUNDS

Instrument = Literal["counter", "updowncounter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric."""

    name: str
    instrument: Instrument
    unit: str
    what: str  #: in a line
    labels: tuple[str, ...] = (POOL,)

    @property
    def family(self) -> str:
        """Its name in Prometheus, as OpenTelemetry translates it, without what the kind of a metric adds."""
        return re.sub(r"\W", "_", self.name) + ("_seconds" if self.unit == "s" else "")

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus; a histogram's is followed by ``_bucket``, ``_count`` and ``_sum``."""
        return self.family + ("_total" if self.instrument == "counter" else "")


def prometheus_label(label: str) -> str:
    """A label's name in Prometheus."""
    return re.sub(r"\W", "_", label)


_ALL = (
    Metric(
        "db.client.connection.count",
        "updowncounter",
        "{connection}",
        "Connections that are open, by state: idle or used",
        (POOL, _STATE),
    ),
    Metric("db.client.connection.idle.max", "updowncounter", "{connection}", "Idle connections that are kept at most"),
    Metric("db.client.connection.idle.min", "updowncounter", "{connection}", "Connections that are kept open"),
    Metric("db.client.connection.max", "updowncounter", "{connection}", "Connections that may be open"),
    Metric("db.client.connection.pending_requests", "updowncounter", "{request}", "Callers in line for a connection"),
    Metric("db.client.connection.timeouts", "counter", "{timeout}", "Callers who waited for a connection in vain"),
    Metric("db.client.connection.create_time", "histogram", "s", "How long it took to open a connection"),
    Metric("db.client.connection.wait_time", "histogram", "s", "How long it took to obtain a connection from the pool"),
    Metric(
        "db.client.connection.use_time", "histogram", "s", "How long a connection was held, from taking to giving back"
    ),
    Metric("respool.pool.connecting", "updowncounter", "{connection}", "Connections that are being opened"),
    Metric("respool.pool.oldest_wait", "gauge", "s", "How long the first in line has waited now"),
    Metric("respool.pool.database_away", "gauge", "{database}", "1 while connects fail and are tried one at a time"),
    Metric("respool.pool.used_time", "counter", "s", "Time that connections were held, all together"),
    Metric(
        "respool.pool.saturated_time", "counter", "s", "Time during which every connection that may be open was held"
    ),
    Metric("respool.pool.refused", "counter", "{request}", "Callers turned away by max_waiting"),
    Metric("respool.pool.connect_errors", "counter", "{error}", "Connects that failed"),
    Metric(
        "respool.pool.closes",
        "counter",
        "{connection}",
        "Connections that were closed, by reason",
        (POOL, "respool.reason"),
    ),
    Metric("respool.pool.leaks", "counter", "{leak}", "Connections that were held for longer than leak_after"),
    Metric(
        "respool.hold_time",
        "histogram",
        "s",
        "How long a request or block held connections, all together",
        (POOL, _ROUTE),
    ),
    Metric(
        "respool.idle_time",
        "counter",
        "s",
        "Time that connections were held while nothing was executed",
        (POOL, _ROUTE),
    ),
    Metric("respool.wait_time", "counter", "s", "Time that was spent waiting for connections", (POOL, _ROUTE)),
    Metric("respool.sql_time", "counter", "s", "Time that was spent in the database", (POOL, _ROUTE)),
    Metric("respool.scopes", "counter", "{scope}", "Requests and blocks that used the database", (POOL, _ROUTE)),
    Metric("respool.statements", "counter", "{statement}", "Statements that were executed", (POOL, _ROUTE)),
    Metric(
        "respool.leases",
        "counter",
        "{lease}",
        "Plain reads that had a connection for themselves: in autocommit, or in a transaction of their own",
        (POOL, _ROUTE, "respool.lease"),
    ),
    Metric(
        "respool.commits",
        "counter",
        "{commit}",
        "Commits of sessions, by outcome: committed, failed or unknown",
        (POOL, _ROUTE, "respool.outcome"),
    ),
    Metric(
        "respool.findings",
        "counter",
        "{finding}",
        "How often something was found wrong, by the line to change",
        (POOL, "respool.finding", "respool.place"),
    ),
    Metric("respool.errors", "counter", "{error}", "Errors of respool's own, by code", (POOL, "respool.code")),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
