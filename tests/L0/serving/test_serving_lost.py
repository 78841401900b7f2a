"""Who among the pictures under way cannot be in time: the cheap look spares the forecast, and never changes it."""

from __future__ import annotations

import math
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scheduling import CostModel, Course, Room, StepShape
from serving.scheduling.admission import Admission, Booking, Bounds

SIZES = ((8, 8), (8, 16))


def make_admission(a: float, b: float) -> Admission:
    cost = CostModel()
    for size in SIZES:
        for rows in (1, 4, 8, 2, 16, 12):
            for _ in range(4):
                cost.observe(StepShape(size, rows, rows / 2), a + b * rows)
    return Admission(Bounds(64, 64), Room(8, 16), cost)


bookings = st.builds(
    lambda size, steps, rows, reads, patience: Booking(
        Course(size, steps, rows, rows * reads, beside=0, priority=5, due=patience, kind=size), patience
    ),
    st.sampled_from(SIZES),
    st.integers(1, 50),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.one_of(st.just(math.inf), st.floats(0.0, 40.0)),
)


@settings(max_examples=150, deadline=None)
@given(
    running=st.lists(bookings, min_size=1, max_size=8),
    a=st.sampled_from([0.001, 0.02]),
    b=st.sampled_from([0.0, 0.01, 0.05]),
)
def test_the_cheap_look_changes_no_answer(running: list[Booking], a: float, b: float) -> None:
    admission = make_admission(a, b)
    with patch.object(Admission, "_surely_in_time", return_value=False):
        forecast = admission.lost(running, now=0.0)
    assert admission.lost(running, now=0.0) == forecast


@pytest.mark.parametrize(("patience", "forecasts"), [(60.0, 0), (0.1, 1)])
def test_the_forecast_is_made_only_where_it_is_close(patience: float, forecasts: int) -> None:
    admission = make_admission(0.02, 0.01)
    running = [Booking(Course((8, 8), 25, 2, 2, 0, 5, patience, None), patience)]
    with patch.object(Admission, "_forecast", autospec=True, side_effect=Admission._forecast) as asked:
        lost = admission.lost(running, now=0.0)
    assert asked.call_count == forecasts
    assert lost == [patience < 1.0]
