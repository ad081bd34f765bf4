"""The dashboard and the alert rules ask for metrics and labels that there are, in queries that Prometheus understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from respool.observe.metrics.names import METRICS, prometheus_label

DOCS = Path(__file__).resolve().parents[3] / "docs"
DASHBOARD = json.loads((DOCS / "grafana" / "respool.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DOCS / "grafana" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PAGE = (DOCS / "how-to" / "metrics.md").read_text(encoding="utf-8")

#: What each name in a query may have as labels.
SAMPLES = {
    name: {prometheus_label(label) for label in metric.labels} | ({"le"} if name.endswith("_bucket") else set())
    for metric in METRICS.values()
    for name in (
        [f"{metric.prometheus}_{part}" for part in ("bucket", "count", "sum")]
        if metric.instrument == "histogram"
        else [metric.prometheus]
    )
}

#: Given by Prometheus to whatever it scrapes.
SCRAPED = {"job", "instance"}


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']} {target['refId']}", target["expr"].replace("$__rate_interval", "5m")
    for rule in RULES:
        yield f"rule {rule['alert']}", rule["expr"]
    for number, query in enumerate(re.findall(r"\| `([^`|]*respool_[^`]*)` \|", PAGE)):
        yield f"page {number}", query
    for number, query in enumerate(re.findall(r"```text\n(sort_desc[^`]*)```", PAGE)):
        yield f"page, block {number}", query


QUERIES = dict(queries())


def unknown(query: str) -> list[str]:
    """The names and labels of a query that there are not."""
    promql_parser.parse(query)  # raises ValueError
    bare = re.sub(r'"[^"]*"', '""', query)
    wrong, known = [], set(SCRAPED)
    for name in re.findall(r"\b(?:respool|db_client)_\w+(?=[\s{\[)]|$)", bare):
        if name in SAMPLES:
            known |= SAMPLES[name]
        elif not any(name in labels for labels in SAMPLES.values()):
            wrong.append(name)
    for name, matchers in re.findall(r"\b(\w+)\{([^}]*)\}", bare):
        labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
        wrong += sorted(labels - SAMPLES.get(name, set()) - SCRAPED)
    for labels in re.findall(r"\bby \(([^)]*)\)", bare):
        wrong += sorted({label.strip() for label in labels.split(",")} - known)
    return wrong


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_asks_for_what_there_is(name: str) -> None:
    assert unknown(QUERIES[name]) == []


@pytest.mark.parametrize(
    "query, wrong",
    [
        ("rate(respool_idle_seconds_total[5m])", ["respool_idle_seconds_total"]),
        ("db_client_connection_count{state='used'}".replace("'", '"'), ["state"]),
        ("sum by (respool_route) (respool_pool_leaks_total)", ["respool_route"]),
        ("sum by (le) (db_client_connection_use_time_seconds)", ["db_client_connection_use_time_seconds", "le"]),
    ],
)
def test_what_there_is_not_is_noticed(query: str, wrong: list[str]) -> None:
    assert unknown(query) == wrong
    with pytest.raises(ValueError, match="paren"):
        unknown("sum(respool_pool_leaks_total")


def test_every_panel_and_every_kind_of_metric_is_there() -> None:
    assert len(QUERIES) > 40
    shown = " ".join(QUERIES.values())
    missing = [metric.name for metric in METRICS.values() if metric.family not in shown]
    assert missing == [
        "db.client.connection.idle.max",
        "db.client.connection.idle.min",
        "respool.pool.leaks",
    ]


def test_the_dashboard_is_whole() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_rule_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "do"}
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert used <= set(re.findall(r"\w+", str(re.findall(r"\bby \(([^)]*)\)", rule["expr"])))), rule["alert"]
