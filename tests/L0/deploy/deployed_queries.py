"""What the dashboard, the alerts and the autoscaler ask Prometheus for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import promql_parser
import yaml
from deployed import DEPLOY

DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
ALERTS = DEPLOY / "helm/vico/files/alerts.yaml"
_GRAFANA = {"$__rate_interval": "5m"}
"""What Grafana puts in place of its variables before it asks."""


def parts(expression: Any) -> Iterator[Any]:
    """The expression and everything in it."""
    yield expression
    children = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "vector_selector", "vs")]
    children += list(getattr(expression, "args", ()) or ())
    for child in children:
        if child is not None:
            yield from parts(child)


def selectors(expression: Any) -> list[Any]:
    """Where it names a metric."""
    return [part for part in parts(expression) if isinstance(part, promql_parser.VectorSelector)]


def dashboard_queries() -> dict[str, str]:
    """PromQL by dashboard, panel and place."""
    found = {}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for variable, value in _GRAFANA.items():
                    query = query.replace(variable, value)
                found[f"{file.stem}, {panel['title']}, {target['refId']}"] = query
    return found


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


QUERIES = dashboard_queries() | {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
