"""Metrics of the catalogue as this process counts them.

`prometheus_client` decides at its import where numbers are kept: in the folder that `FOLDER` names, if the environment
has it (every process that the launcher starts), else in this process alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from serving.telemetry.catalogue import Metric

# a gauge for every counter and histogram, with the time at which it was made
disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Gauge, Histogram)


class Instruments:
    """Makes the instruments of one process. Every series is there from the start, at zero: so a rate has a beginning.

    Args:
        registry: of the process; what is kept in a folder is read from there, and not through it.
        fixed: labels whose value is the same in all of this process.
    """

    def __init__(self, registry: CollectorRegistry | None = None, fixed: Mapping[str, str] | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._fixed = dict(fixed or {})

    def counter(self, metric: Metric) -> dict[str, Counter]:
        """By the value of its one label that is not fixed; "" if there is none."""
        made = Counter(metric.name, metric.help, list(metric.labels), registry=self.registry)
        return self._series(metric, made)

    def gauge(self, metric: Metric) -> dict[str, Gauge]:
        """As `counter`; of several processes the one that spoke last, as long as it lives."""
        made = Gauge(
            metric.name, metric.help, list(metric.labels), registry=self.registry, multiprocess_mode="livemostrecent"
        )
        return self._series(metric, made)

    def histogram(self, metric: Metric) -> dict[str, Histogram]:
        """As `counter`."""
        made = Histogram(metric.name, metric.help, list(metric.labels), registry=self.registry, buckets=metric.buckets)
        return self._series(metric, made)

    def _series(self, metric: Metric, made: M) -> dict[str, M]:
        if not metric.labels:
            return {"": made}
        free = [name for name in metric.labels if name not in self._fixed]
        values = [(self._fixed[name],) if name in self._fixed else metric.labels[name] for name in metric.labels]
        series: dict[str, M] = {}
        for combination in product(*values):
            by_name = dict(zip(metric.labels, combination, strict=True))
            series["".join(by_name[name] for name in free)] = made.labels(*combination)
        return series
