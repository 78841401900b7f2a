"""Finding the knee: the largest offered rate that the server follows without letting its users wait.

A rate is good if p95 stays below `factor` times the unloaded p95 and the throughput follows the offer. Rates are
doubled until one is bad (or halved until one is good), then the knee is bracketed closer and closer, in equal ratios.
"""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
import math
from collections.abc import Sequence
from typing import Literal, Optional

from pydantic import Field

from vico_client.loadtest.summary import Document, Part, Summary

MOST_POINTS = 16


class Criterion(Part):
    """factor: times the unloaded p95; follow: of the offered rate that must be answered; resolution: of the knee."""

    factor: float = Field(default=3.0, gt=1)
    follow: float = Field(default=0.9, gt=0, le=1)
    resolution: float = Field(default=0.1, gt=0)


class Point(Part):
    """One offered rate. Rates a second, times in seconds; errors: share of the requests that failed."""

    rate: float
    offered: float
    throughput: float
    goodput: float
    p50: Optional[float]
    p95: Optional[float]
    p99: Optional[float]
    errors: float
    unexplained: int
    good: bool
    reason: str
    folder: str


class Sweep(Document):
    """sweep.json. unloaded_p95: seconds, of one user alone; knee: requests a second, null if no rate was good."""

    schema_name: Literal["vico.loadtest.sweep"] = Field(default="vico.loadtest.sweep", alias="schema")
    criterion: Criterion
    unloaded_p50: Optional[float]
    unloaded_p95: Optional[float]
    points: list[Point]
    knee: Optional[float]
    bounded: bool = Field(description="whether a bad rate was found above the knee")


def judge_point(rate: float, summary: Summary, unloaded_p95: float, criterion: Criterion, folder: str) -> Point:
    """The figures of one rate, and whether the server can live with it."""
    rates, latency, counts = summary.rates, summary.latency, summary.counts
    reason = ""
    if latency.p95 is None:
        reason = "no answers"
    elif latency.p95 > criterion.factor * unloaded_p95:
        reason = f"p95 is {latency.p95 / unloaded_p95:.1f} × the unloaded one"
    elif rates.throughput < criterion.follow * rates.offered:
        reason = f"only {rates.throughput / rates.offered:.0%} of the offer is answered in time"
    elif counts.failed > (1 - criterion.follow) * counts.measured:
        reason = f"{counts.failed} of {counts.measured} requests failed"
    return Point(
        rate=rate,
        offered=rates.offered,
        throughput=rates.throughput,
        goodput=rates.goodput,
        p50=latency.p50,
        p95=latency.p95,
        p99=latency.p99,
        errors=counts.failed / max(counts.measured, 1),
        unexplained=counts.unexplained,
        good=not reason,
        reason=reason,
        folder=folder,
    )


def knee(points: Sequence[Point]) -> Optional[float]:
    """The largest good rate below every bad one; None if there is none."""
    ceiling = min((point.rate for point in points if not point.good), default=math.inf)
    return max((point.rate for point in points if point.good and point.rate < ceiling), default=None)


def bounded(points: Sequence[Point]) -> bool:
    """Whether a bad rate was found."""
    return any(not point.good for point in points)


def next_rate(points: Sequence[Point], first: float, criterion: Criterion) -> Optional[float]:
    """The rate to try next; None when the knee is known to the resolution, or after 16 rates."""
    if len(points) >= MOST_POINTS:
        return None
    if not points:
        return first
    best = knee(points)
    ceiling = min((point.rate for point in points if not point.good), default=None)
    if ceiling is None:
        return None if best is None else 2 * best
    if best is None:
        return ceiling / 2
    return None if ceiling / best <= 1 + criterion.resolution else math.sqrt(best * ceiling)
