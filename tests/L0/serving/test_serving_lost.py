"""Who among the pictures under way cannot be in time, and how long nobody needs to ask."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import patch

import pytest
from fake_runners import make_engine, make_spec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from serving.conductor import Conductor
from serving.deadline import Deadline
from serving.errors import DeadlineExceeded
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
    lambda size, steps, rows, reads, deadline: Booking(
        Course(size, steps, rows, rows * reads, beside=0, priority=5, due=deadline, kind=size), deadline
    ),
    st.sampled_from(SIZES),
    st.integers(1, 50),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.one_of(st.just(math.inf), st.floats(0.0, 120.0)),
)


@settings(max_examples=200, deadline=None)
@given(
    running=st.lists(bookings, min_size=1, max_size=8),
    a=st.sampled_from([0.001, 0.02]),
    b=st.sampled_from([0.0, 0.01, 0.05]),
    share=st.floats(0.0, 1.0),
    left=st.floats(0.01, 1.0),
    stay=st.integers(1, 8),
)
def test_nobody_is_lost_within_the_slack(
    running: list[Booking], a: float, b: float, share: float, left: float, stay: int
) -> None:
    """However much of it passes, whatever was done meanwhile, and whoever left."""
    admission = make_admission(a, b)
    slack = admission.slack(running, now=0.0)
    assume(slack > 0)
    later = share * min(slack, 1e6)
    rest = [
        replace(booking, course=replace(booking.course, steps=max(1, math.ceil(left * booking.course.steps))))
        for booking in running[:stay]
    ]
    assert not any(admission.lost(rest, now=later * (1 - 1e-9)))


def test_a_picture_that_cannot_be_in_time_leaves_no_slack() -> None:
    admission = make_admission(0.02, 0.01)
    late = Booking(Course((8, 8), 25, 2, 2, beside=0, priority=5, due=0.1, kind=None), deadline=0.1)
    assert admission.slack([late], now=0.0) < 0
    assert admission.lost([late], now=0.0) == [True]


def test_nothing_measured_gives_no_slack() -> None:
    admission = Admission(Bounds(1, 1), Room(1, 2), CostModel())
    booking = Booking(Course((8, 8), 1, 1, 0, beside=0, priority=5, due=math.inf, kind=None), math.inf)
    assert admission.slack([booking], now=0.0) == 0.0


class Clock:
    """Seconds that pass as told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def run_step(conductor: Conductor, clock: Clock, seconds: float) -> None:
    step = conductor.begin_step()
    if step is not None:
        predictions = conductor.predict(step.lanes)
        clock.now += seconds
        conductor.finish_step(step, predictions)
    conductor.deliver()


def make_conductor(clock: Clock) -> Conductor:
    def no_concepts(digest: str) -> None:
        raise AssertionError("no request has a concept")

    return Conductor(make_engine(no_concepts, clock=clock), Bounds(8, 8), clock)


@pytest.mark.parametrize("patience", [100.0, math.inf])
def test_with_time_to_spare_hardly_a_step_asks(patience: float) -> None:
    clock = Clock()
    conductor = make_conductor(clock)
    ticket = conductor.draft([make_spec(steps=40)], Deadline(patience))
    conductor.accept(ticket)
    with patch.object(Admission, "lost", autospec=True, side_effect=Admission.lost) as asked:
        while conductor.busy:
            run_step(conductor, clock, 0.1)
    assert ticket.future.result().use.steps == 40
    assert asked.call_count <= 1, "only before the first step was measured"


def test_steps_that_come_to_cost_more_are_noticed_in_time() -> None:
    clock = Clock()
    conductor = make_conductor(clock)
    ticket = conductor.draft([make_spec(steps=100)], Deadline(50.0))
    conductor.accept(ticket)
    for _ in range(30):
        run_step(conductor, clock, 0.1)
    while conductor.busy:
        run_step(conductor, clock, 2.0)
    with pytest.raises(DeadlineExceeded):
        ticket.future.result()
    assert clock.now < 40.0, "it is ended when it is lost, not when its deadline comes"


def test_who_joins_is_asked_about() -> None:
    clock = Clock()
    conductor = make_conductor(clock)
    first = conductor.draft([make_spec(steps=60)], Deadline(1e6))
    conductor.accept(first)
    for _ in range(10):
        run_step(conductor, clock, 0.1)
    with patch.object(Admission, "slack", autospec=True, side_effect=Admission.slack) as asked:
        run_step(conductor, clock, 0.1)
        assert not asked.called
        conductor.accept(conductor.draft([make_spec(seed=1, steps=5)], Deadline(1e6)))
        for _ in range(3):
            run_step(conductor, clock, 0.1)
        assert asked.call_count == 1
