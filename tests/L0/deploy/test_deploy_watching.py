"""The dashboard and the alerts ask for what the server exports, in a language that Prometheus understands."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest
import yaml
from deployed import DEPLOY, compose
from deployed_queries import ALERTS, DASHBOARDS, QUERIES, alerts, parts, selectors
from helm_chart import EVERYTHING, LEAST, one, render

from serving.telemetry.catalogue import CATALOGUE, Metric

METRICS: dict[str, Metric] = {name: metric for metric in CATALOGUE for name in metric.series}
SCRAPED = {"instance", "job", "namespace", "service", "pod"}
"""Labels that Prometheus adds."""
EACH_QUERY = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)


def labels_of(series: str) -> set[str]:
    return {*METRICS[series].labels, *SCRAPED} | ({"le"} if series.endswith("_bucket") else set())


@EACH_QUERY
def test_queries_name_metrics_and_labels_that_exist(query: str) -> None:
    found = selectors(promql_parser.parse(query))
    assert found
    for selector in found:
        assert selector.name in METRICS
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels_of(selector.name)
            if matcher.name not in SCRAPED:
                assert matcher.value in METRICS[selector.name].labels[matcher.name]


@EACH_QUERY
def test_counters_are_asked_for_their_growth_and_gauges_for_their_value(query: str) -> None:
    text = re.sub(r"\s", "", query)
    for selector in selectors(promql_parser.parse(query)):
        growing = METRICS[selector.name].kind != "gauge"
        uses = re.findall(rf"(\w+\()?{selector.name}\b(\{{[^}}]*\}})?(\[)?", text)
        assert uses
        for function, _, ranged in uses:
            assert bool(ranged) == growing
            assert (function in ("rate(", "increase(")) == growing


@EACH_QUERY
def test_sums_keep_labels_that_their_metrics_have(query: str) -> None:
    for part in parts(promql_parser.parse(query)):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            for selector in selectors(part.expr):
                assert set(part.modifier.labels) <= labels_of(selector.name)
        if isinstance(part, promql_parser.Call) and part.func.name == "histogram_quantile":
            assert all(selector.name.endswith("_bucket") for selector in selectors(part))


@EACH_QUERY
def test_legends_name_labels_that_are_left(query: str) -> None:
    panel = next((name for name, text in QUERIES.items() if text == query), "")
    legends = [
        target["legendFormat"]
        for file in DASHBOARDS
        for one_panel in json.loads(file.read_text())["panels"]
        for target in one_panel.get("targets", ())
        if target["expr"].replace("$__rate_interval", "5m") == query
    ]
    kept: set[str] = set(SCRAPED)
    for part in parts(promql_parser.parse(query)):
        if isinstance(part, promql_parser.AggregateExpr):
            kept = set(part.modifier.labels) if part.modifier is not None else set()
            break
    for legend in legends:
        assert set(re.findall(r"{{(\w+)}}", legend)) <= kept, panel


def test_what_an_operator_must_see_is_shown() -> None:
    shown = {METRICS[s.name].name for query in QUERIES.values() for s in selectors(promql_parser.parse(query))}
    assert {metric.name for metric in CATALOGUE} - shown == set()


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_the_dashboard_is_one_that_grafana_provisions(file: Any) -> None:
    board = json.loads(file.read_text())
    assert board["uid"]
    assert board["title"]
    assert board["schemaVersion"] >= 36
    assert "id" not in board, "Grafana gives its own"
    assert "__inputs" not in board, "an export for sharing asks a person"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        assert panel["type"] in {"row", "stat", "timeseries"}
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "prometheus"
            assert panel["description"].endswith(".")
    [variable] = board["templating"]["list"]
    assert re.fullmatch(r"label_values\((\w+), instance\)", variable["query"])[1] in METRICS  # type: ignore[index]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_no_panel_lies_on_another(file: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_say_what_is_wrong() -> None:
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
        parsed = list(parts(promql_parser.parse(rule["expr"])))
        for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            sums = [part for part in parsed if isinstance(part, promql_parser.AggregateExpr)]
            groups = [set(part.modifier.labels) if part.modifier is not None else set() for part in sums]
            assert all(label in group for group in groups)


def test_both_prometheuses_get_the_alerts() -> None:
    content = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    mounts = [volume.split(":")[:2] for volume in compose()["services"]["prometheus"]["volumes"]]
    [path] = content["rule_files"]
    assert [f"./{ALERTS.relative_to(DEPLOY)}", path] in mounts
    rule = one(render(EVERYTHING), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert not [manifest for manifest in render(LEAST) if manifest["kind"] == "PrometheusRule"]
