"""docs/operations.md says what the code does: metrics, options, spans, files."""

from __future__ import annotations

import re

import pytest
from deployed import OPTIONS, ROOT
from deployed_queries import ALERTS, DASHBOARDS

from serving.telemetry.catalogue import CATALOGUE, Metric

PAGE = (ROOT / "docs/operations.md").read_text()
ROW = re.compile(r"^\| `(vico_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", re.MULTILINE)


def row(metric: Metric) -> tuple[str, str, str, str]:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return metric.name, metric.kind, labels, metric.help


def test_the_table_is_the_catalogue() -> None:
    assert ROW.findall(PAGE) == [row(metric) for metric in CATALOGUE]


def test_metrics_and_labels_that_are_mentioned_exist() -> None:
    series = {name: metric for metric in CATALOGUE for name in (metric.name, *metric.series)}
    for name, label, value in re.findall(r"\b(vico_[a-z_]+)(?:\{(\w+)=\"(\w+)\"\})?", PAGE):
        if name == "vico_stream":
            continue
        assert name in series
        assert not label or value in series[name].labels[label]


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(--[a-z]+(?:-[a-z]+)+)", PAGE)) - {"--from-file"}))
def test_options_that_are_mentioned_exist(option: str) -> None:
    assert option in OPTIONS


def test_files_that_are_mentioned_are_there() -> None:
    for file in (*DASHBOARDS, ALERTS):
        assert str(file.relative_to(ROOT)) in PAGE
    for path in re.findall(r"`((?:deploy|tests|serving)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\((\w+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).exists()
