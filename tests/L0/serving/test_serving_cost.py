"""What a step costs, learnt; and when pictures will be done, foretold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_loop import Arrival, Machine, make_conductor, spec_of

from serving.deadline import Deadline
from serving.scheduling import CostModel, Course, Room, StepShape, forecast

SMALL = (8, 8)


def learn(model: CostModel, seconds: float, shape: StepShape, times: int) -> None:
    for _ in range(times):
        model.observe(shape, seconds)


def test_nothing_is_foretold_from_nothing() -> None:
    model = CostModel()
    assert not model.known
    assert model.step_seconds(StepShape(SMALL, 2)) is None


def test_one_step_is_enough_to_begin_with() -> None:
    model = CostModel()
    learn(model, 0.03, StepShape(SMALL, 2), 1)
    assert model.step_seconds(StepShape(SMALL, 2)) == pytest.approx(0.03, rel=0.05)
    assert model.step_seconds(StepShape(SMALL, 5)) == pytest.approx(0.06, rel=0.1), "fixed part = one row"
    assert model.step_seconds(StepShape((16, 16), 2)) == pytest.approx(0.12, rel=0.05), "four times the area"


@settings(max_examples=25, deadline=None)
@given(a=st.floats(0.001, 0.1), b=st.floats(0.001, 0.1), c=st.floats(0, 0.05), d=st.floats(0, 0.05))
def test_the_line_is_found_through_noise_and_stalls(a: float, b: float, c: float, d: float) -> None:
    model, random = CostModel(), np.random.default_rng(0)
    for k in range(400):
        rows = int(random.integers(1, 17))
        shape = StepShape(SMALL, rows, int(random.integers(0, rows + 1)), int(random.integers(0, 9)))
        seconds = (a + b * rows + c * shape.attending + d * shape.beside) * random.lognormal(0, 0.05)
        model.observe(shape, seconds * (20 if k % 25 == 24 else 1))
    for rows in (2, 8, 16):
        wanted = a + b * rows + c * rows / 2 + d * 4
        assert model.step_seconds(StepShape(SMALL, rows, rows / 2, 4)) == pytest.approx(wanted, rel=0.15)


def test_a_lasting_change_is_learnt() -> None:
    model, shape = CostModel(), StepShape(SMALL, 4)
    learn(model, 0.02, shape, 200)
    learn(model, 0.2, shape, 3)
    assert model.step_seconds(shape) == pytest.approx(0.02, rel=0.3), "three slow steps are no change"
    learn(model, 0.2, shape, 150)
    assert model.step_seconds(shape) == pytest.approx(0.2, rel=0.15)


def course(steps: int, rows: float = 2, size: tuple[int, int] = SMALL, priority: int = 5, due: float = 9) -> Course:
    return Course(size, steps, rows, attending=0, beside=0, priority=priority, due=due, kind=(size, steps))


def by_rows(shape: StepShape) -> float:
    return 1 + shape.rows


def test_lanes_that_leave_make_room_and_steps_shorter() -> None:
    done = forecast([course(4), course(2)], [course(3)], Room(2, 99), by_rows)
    assert done == [2 * 5 + 2 * 5, 2 * 5, 2 * 5 + 2 * 5 + 1 * 3]


def test_the_more_urgent_size_class_goes_first() -> None:
    one, other = course(2, size=(4, 4)), course(3, due=5)
    assert forecast([one, other], [], Room(8, 99), by_rows) == [15, 9]


def test_a_bound_on_rows_keeps_later_ones_out() -> None:
    waiting = [course(2), course(2), course(1, rows=1)]
    assert forecast([], waiting, Room(8, 3), by_rows) == [6, 6 + 4 + 3, 6 + 4]


def test_request_batching_fills_only_an_empty_batch_with_one_kind() -> None:
    waiting = [course(2), course(3), course(2)]
    assert forecast([], waiting, Room(8, 99, "request"), by_rows) == [10, 10 + 9, 10]


@settings(max_examples=30, deadline=None)
@given(
    requests=st.lists(
        st.builds(
            Arrival,
            at=st.just(0.0),
            steps=st.integers(1, 12),
            guided=st.booleans(),
            timeout=st.sampled_from([500.0, 900.0, float("inf")]),
        ),
        min_size=1,
        max_size=12,
    ),
    a=st.floats(0.01, 2),
    b=st.floats(0.01, 2),
)
def test_what_is_foretold_comes_true_when_nothing_else_comes(requests: list[Arrival], a: float, b: float) -> None:
    """The forecast of the last to come, with all before it accepted, is exact on a machine without noise."""
    machine = Machine(lambda rows: a + b * rows)
    conductor = make_conductor(machine)
    random = np.random.default_rng(0)
    for _ in range(300):
        rows = int(random.integers(1, 17))
        conductor.cost.observe(StepShape((1, 1), rows), a + b * rows)
    tickets = [conductor.draft([spec_of(request)], Deadline(10_000 + request.timeout)) for request in requests]
    for ticket in tickets:
        conductor.accept(ticket)
    while conductor.busy:
        step = conductor.begin_step()
        assert step is not None
        conductor.finish_step(step, conductor.predict(step.lanes))
        conductor.deliver()
        conductor.check_integrity()
    use = tickets[-1].future.result().use
    assert use.predicted_seconds is not None
    tail = a + b * 2.0
    assert use.seconds == pytest.approx(use.predicted_seconds - tail, rel=0.02)
