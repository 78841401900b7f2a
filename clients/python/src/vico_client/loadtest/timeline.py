"""How a test went over time: what the records and the server's metrics say, bin by bin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vico_client.loadtest.figures import Test, lanes_of
from vico_client.loadtest.records import Record
from vico_client.loadtest.scrape import Sample

Series = NDArray[np.float64]
_MOST_BINS = 120


@dataclass(frozen=True)
class Timeline:
    """All arrays [bins]; edges [bins + 1] in seconds. Rates a second; NaN where there is nothing to tell.

    answered, in_time, refused, failed: by the bin in which the answer came; refused are explained failures.
    """

    edges: Series
    offered: Series
    answered: Series
    in_time: Series
    refused: Series
    failed: Series
    in_flight: Series
    p50: Series
    p95: Series
    lanes: Series

    @property
    def centres(self) -> Series:
        """Middle of each bin, seconds."""
        return (self.edges[1:] + self.edges[:-1]) / 2


@dataclass(frozen=True)
class Panel:
    """One metric of the server over time. lines: by label; at [n] seconds, values [n]."""

    title: str
    unit: str
    lines: dict[str, tuple[Series, Series]]


def timeline(test: Test) -> Timeline:
    """The records in at most 120 bins of a second or more."""
    records = test.records
    last = max([test.run.load.duration if test.end else 1.0, *(record.done for record in records)])
    edges = np.linspace(0.0, last, min(_MOST_BINS, max(1, round(last))) + 1)
    width = edges[1] - edges[0]

    def rate(chosen: Callable[[Record], bool]) -> Series:
        done = [record.done for record in records if chosen(record)]
        return np.asarray(np.histogram(done, edges)[0] / width)

    answered = [record for record in records if record.ok]
    return Timeline(
        edges=edges,
        offered=np.histogram([record.scheduled for record in records], edges)[0] / width,
        answered=rate(lambda record: record.ok),
        in_time=rate(lambda record: record.in_time),
        refused=rate(lambda record: not record.ok and record.explained),
        failed=rate(lambda record: not record.explained),
        in_flight=_in_flight(records, edges),
        p50=_binned(edges, answered, lambda record: record.latency, lambda values: np.percentile(values, 50)),
        p95=_binned(edges, answered, lambda record: record.latency, lambda values: np.percentile(values, 95)),
        lanes=_binned(edges, answered, lambda record: lanes_of(record) or np.nan, np.max),
    )


def _in_flight(records: Sequence[Record], edges: Series) -> Series:
    """Mean number of requests under way in each bin: the time they spent in it, over its length."""
    grid = np.asarray(edges)
    spent = np.zeros(len(grid) - 1)
    for record in records:
        spent += np.clip(np.minimum(record.done, grid[1:]) - np.maximum(record.sent, grid[:-1]), 0, None)
    return np.asarray(spent / np.diff(grid))


def _binned(
    edges: Series,
    records: Iterable[Record],
    value: Callable[[Record], float],
    reduce: Callable[[list[float]], np.floating[Any] | float],
) -> Series:
    bins: list[list[float]] = [[] for _ in range(len(edges) - 1)]
    for record in records:
        index = min(int(np.searchsorted(edges, record.done, side="right")) - 1, len(bins) - 1)
        bins[index].append(value(record))
    return np.array([reduce(values) if values else np.nan for values in bins], dtype=np.float64)


@dataclass(frozen=True)
class _Kind:
    """What a panel shows. pattern: of metrics' names; form: a gauge as it is, a counter's rate, or the mean of one
    observation between two scrapes (of a histogram's or summary's _sum and _count)."""

    title: str
    unit: str
    pattern: str
    form: Literal["gauge", "rate", "mean"]


_KINDS = (
    _Kind("Waiting in the server", "requests", r"vico_\w*(queue|wait)\w*|nv_inference_pending_request_count", "gauge"),
    _Kind("Time in the queue", "s", r"vico_\w*(queue|wait)\w*_seconds_sum", "mean"),
    _Kind("Lanes in use", "lanes", r"vico_\w*lanes\w*", "gauge"),
    _Kind("Time of a step", "s", r"vico_\w*step\w*_seconds_sum", "mean"),
    _Kind("Concept swaps", "a second", r"vico_\w*(swap|load|evict)\w*_total", "rate"),
    _Kind("Refusals", "a second", r"vico_\w*refus\w*_total|nv_inference_request_failure_total", "rate"),
    _Kind("Deadline misses, cancellations", "a second", r"vico_\w*(deadline|cancel)\w*_total", "rate"),
)
_NO_GAUGE = ("_sum", "_count", "_total", "_seconds")
_PENDING = "nv_inference_pending_request_count"  # a gauge for all its name


def panels(samples: Sequence[Sample]) -> list[Panel]:
    """What there is to see of the server; a panel without lines is of metrics that it does not have."""
    return [Panel(kind.title, kind.unit, _lines(kind, samples)) for kind in _KINDS]


def _lines(kind: _Kind, samples: Sequence[Sample]) -> dict[str, tuple[Series, Series]]:
    names = sorted({name for sample in samples for name in sample.values})
    found = [name for name in names if _shown(kind, name.partition("{")[0])]
    lines = {_label(name): _line(kind, name, samples) for name in found}
    moving = {label: line for label, line in lines.items() if len(line[0]) and np.nanmax(line[1], initial=0.0) > 0}
    return moving or dict(zip(["always 0"], lines.values()))


def _shown(kind: _Kind, base: str) -> bool:
    gauge = base == _PENDING or not base.endswith(_NO_GAUGE)
    return re.fullmatch(kind.pattern, base) is not None and (kind.form != "gauge" or gauge)


def _line(kind: _Kind, name: str, samples: Sequence[Sample]) -> tuple[Series, Series]:
    has = [sample for sample in samples if name in sample.values]
    at, values = np.array([sample.at for sample in has]), np.array([sample.values[name] for sample in has])
    if kind.form == "gauge":
        return at, values
    if len(has) < 2:
        return at[:0], values[:0]
    if kind.form == "rate":
        return at[1:], np.clip(np.diff(values), 0, None) / np.diff(at)
    counts = np.diff([sample.values.get(name.replace("_sum", "_count"), np.nan) for sample in has])
    with np.errstate(divide="ignore", invalid="ignore"):
        return at[1:], np.where(counts > 0, np.diff(values) / counts, np.nan)


def _label(name: str) -> str:
    """`unet_loop` for `nv_…{model="unet_loop",version="1"}`; the other labels' values; the name without any."""
    base, _, labels = name.partition("{")
    values = [value for key, value in re.findall(r'(\w+)="([^"]*)"', labels) if key != "version"]
    return " ".join(values) or base
