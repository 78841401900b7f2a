"""The search for the knee, on servers whose knee is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import a_test, failure, record
from vico_client.loadtest.figures import summarise
from vico_client.loadtest.sweep import MOST_POINTS, Criterion, Point, bounded, judge_point, knee, next_rate
from vico_client.loadtest.verdict import Goals


def _point(rate: float, good: bool) -> Point:
    return Point(
        rate=rate, offered=rate, throughput=rate, goodput=rate, p50=1, p95=1, p99=1,
        errors=0, unexplained=0, good=good, reason="" if good else "bad", folder="",
    )  # fmt: skip


def _search(is_good: Callable[[float], bool], first: float, criterion: Criterion) -> list[Point]:
    points: list[Point] = []
    while (rate := next_rate(points, first, criterion)) is not None:
        points.append(_point(rate, is_good(rate)))
    return points


@given(capacity=st.floats(0.5, 100), first=st.floats(0.5, 100), resolution=st.floats(0.05, 0.5))
@settings(deadline=None, max_examples=50)
def test_the_knee_is_found_to_its_resolution(capacity: float, first: float, resolution: float) -> None:
    points = _search(lambda rate: rate <= capacity, first, Criterion(resolution=resolution))
    assert len(points) <= MOST_POINTS
    found = knee(points)
    assert found is not None
    assert bounded(points)
    assert found <= capacity
    assert capacity / found <= 1 + resolution + 1e-9 or len(points) == MOST_POINTS


def test_no_good_rate_ends_the_search() -> None:
    points = _search(lambda _: False, 8.0, Criterion())
    assert len(points) == MOST_POINTS
    assert knee(points) is None


def test_a_server_without_a_limit_is_said_to_be_unbounded() -> None:
    points = _search(lambda _: True, 1.0, Criterion())
    assert knee(points) == 2.0 ** (MOST_POINTS - 1)
    assert not bounded(points)


def test_a_good_rate_above_a_bad_one_is_luck() -> None:
    assert knee([_point(1, True), _point(2, False), _point(4, True)]) == 1


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([record(n, float(n), 0.5) for n in range(10)], ""),
        ([record(n, float(n), 0.9) for n in range(9)] + [record(9, 9.0, 3.5)], "3.5 × the unloaded"),
        ([record(n, float(n), 2.5) for n in range(10)], "of the offer is answered in time"),
        ([record(n, float(n), 0.1) for n in range(20)] + [failure(20, "Overloaded", "X")] * 5, "answered in time"),
        ([failure(0, "Overloaded", "X")], "no answers"),
    ],
)
def test_what_makes_a_rate_bad(records: list[object], reason: str) -> None:
    summary = summarise(a_test(records), Goals())
    criterion = Criterion(follow=0.9)
    point = judge_point(1.0, summary, 1.0, criterion, "point-01")
    assert reason in point.reason
    assert point.good is (reason == "")
