"""The loop under load on a simulated machine: latency against request-level batching, and what overload wastes.

`pytest -s` prints the figures. They are of the schedule alone: the time of a step is `a + b x rows`, give or take 5 %.
"""

from __future__ import annotations

import numpy as np
import pytest
from simulated_loop import Arrival, Machine, Run, capacity, make_conductor, poisson, simulate, spec_of

from serving.conductor import Asker
from serving.deadline import Deadline
from serving.errors import DeadlineExceeded, Overloaded
from serving.scheduling import Batching

STEPS = (8, 12, 25, 50)
"""The presets', and a client's own."""
ALONE = 25


def traffic(load: float, a: float, b: float, count: int, timeout: float = float("inf"), seed: int = 1) -> list[Arrival]:
    """Poisson arrivals at a share of capacity; timeouts in multiples of a 25-step picture by itself."""
    random = np.random.default_rng(seed)
    steps = [int(random.choice(STEPS)) for _ in range(count)]
    rate = load * capacity(lambda rows: a + b * rows, float(np.mean(steps)))
    seconds = timeout * ALONE * (a + 2 * b)
    return [Arrival(at, n, seconds) for at, n in zip(poisson(rate, count, seed), steps, strict=True)]


def run(arrivals: list[Arrival], a: float, b: float, batching: Batching = "in_flight", noise: float = 0.05) -> Run:
    return simulate(arrivals, Machine(lambda rows: a + b * rows, noise), batching)


@pytest.mark.parametrize(
    ("a", "b", "bound"),
    [(1.0, 0.05, 0.5), (1.0, 0.25, 0.75), (0.4, 1.0, 1.2)],
    ids=["a step costs about the same for one lane and for eight", "half and half", "a step costs what its rows cost"],
)
def test_latency_against_request_level_batching(a: float, b: float, bound: float) -> None:
    """At 0.8 of capacity. What in-flight batching gains depends on what a batch gains: where rows cost all there is to
    pay, a batch has nothing to give, formed once or not: short pictures gain by joining, and long ones pay for it."""
    arrivals = traffic(0.8, a, b, 250)
    ours, theirs = run(arrivals, a, b), run(arrivals, a, b, "request")
    assert len(ours.latencies) == len(theirs.latencies) == len(arrivals)
    ratio = ours.p95() / theirs.p95()
    means = np.mean(ours.latencies) / np.mean(theirs.latencies)
    print(f"\na={a} b={b}: p95 {ours.p95():.0f} s against {theirs.p95():.0f} s, ratio {ratio:.2f}; means {means:.2f}")
    assert ratio <= bound


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.1), (0.4, 1.0)])
@pytest.mark.parametrize("timeout", [2.5, 5.0])
def test_overload_wastes_nothing_on_requests_that_are_late(a: float, b: float, timeout: float) -> None:
    """At 1.5 x capacity with deadlines: what is let in is done in time, and the machine is busy with little else."""
    arrivals = traffic(1.5, a, b, 200, timeout)
    result = run(arrivals, a, b)
    print(
        f"\na={a} b={b} timeout {timeout}: {result.useful_share:.3f} of row-steps useful; "
        f"{len(result.finished)} done, {len(result.refused)} refused, {len(result.ended)} ended early"
    )
    assert result.useful_share >= 0.9
    assert len(result.finished) >= 0.4 * len(arrivals), "refusing everybody would waste nothing either"
    assert result.refused
    for k, at in result.finished.items():
        assert at <= arrivals[k].at + arrivals[k].timeout


def test_a_machine_that_becomes_slower_ends_what_it_cannot_finish() -> None:
    """Nobody foresaw it: requests that were let in are given up as soon as they are lost, so that others are not."""
    speed = [1.0]
    machine = Machine(lambda rows: speed[0] * (1 + 0.1 * rows), 0.05)
    arrivals = traffic(1.2, 1.0, 0.1, 150, timeout=5.0)
    conductor = make_conductor(machine)
    tickets = []
    coming = list(arrivals)
    while coming or conductor.busy:
        if not conductor.busy:
            machine.now = max(machine.now, coming[0].at)
        while coming and coming[0].at <= machine.now:
            arrival = coming.pop(0)
            ticket = conductor.draft([spec_of(arrival)], Deadline(arrival.at + arrival.timeout))
            try:
                conductor.accept(ticket)
                tickets.append(ticket)
            except Overloaded:
                continue
        speed[0] = 2.5 if len(coming) < 80 else 1.0
        if (step := conductor.begin_step()) is not None:
            conductor.finish_step(step, conductor.predict(step.lanes))
        conductor.deliver()
        conductor.check_integrity()
    errors = [error for ticket in tickets if (error := ticket.future.exception()) is not None]
    use = conductor.use
    print(f"\n{len(errors)} of {len(tickets)} ended early; {use.useful_row_steps / use.row_steps:.3f} useful")
    assert errors
    assert all(isinstance(error, DeadlineExceeded) for error in errors)
    assert use.useful_row_steps + use.wasted_row_steps == use.row_steps
    assert use.endings == {"done": len(tickets) - len(errors), "deadline": len(errors)}
    assert use.useful_row_steps / use.row_steps >= 0.8


def test_one_client_alone_is_served_while_another_floods() -> None:
    flood = [Arrival(0.0, client="flood") for _ in range(100)]
    result = simulate([*flood, Arrival(30.0, client="one")], Machine(lambda rows: 1 + 0.1 * rows))
    before = sum(at < result.finished[100] for k, at in result.finished.items() if k < 100)
    # those under way when it comes, those of its turn, and the tolerance of 200 rows x steps, four pictures
    assert before <= 8 + 8 + 4


def test_a_greater_priority_overtakes_what_waits() -> None:
    many = [Arrival(0.0) for _ in range(40)]
    result = simulate([*many, Arrival(5.0, priority=9)], Machine(lambda rows: 1 + 0.1 * rows))
    assert sum(at < result.finished[40] for at in result.finished.values()) <= 8


def busy(timeout: float) -> tuple[Machine, list[Overloaded]]:
    machine = Machine(lambda rows: 0.1 + 0.01 * rows)
    conductor = make_conductor(machine)
    for _ in range(30):
        conductor.accept(conductor.draft([spec_of(Arrival(0.0))], Deadline()))
    for _ in range(3):
        step = conductor.begin_step()
        assert step is not None
        conductor.finish_step(step, conductor.predict(step.lanes))
    refusals = []
    try:
        conductor.accept(conductor.draft([spec_of(Arrival(0.0))], Deadline(machine.now + timeout)))
    except Overloaded as refusal:
        refusals.append(refusal)
    conductor.check_integrity()
    return machine, refusals


def test_a_request_that_cannot_be_in_time_learns_when_it_could_be() -> None:
    """With pictures ahead of it, which came without a deadline and so are due a minute after they came."""
    _, (refusal,) = busy(timeout=1.0)
    assert refusal.status == "RESOURCE_EXHAUSTED"
    assert str(refusal).startswith("timeout: 1.00 s, and the earliest this can be done is ")
    earliest = float(str(refusal).split(" is ")[1].split(" s ")[0])
    assert f"accepted: at least {earliest:.2f} s, or the same request later" in str(refusal)
    assert 5 < earliest < 15
    assert not busy(timeout=earliest)[1], "whoever takes the refusal at its word is let in"


def test_nothing_is_refused_for_its_deadline_before_anything_was_measured() -> None:
    conductor = make_conductor(Machine(lambda rows: 1.0))
    conductor.accept(conductor.draft([spec_of(Arrival(0.0))], Deadline(0.001)))
    with pytest.raises(DeadlineExceeded):
        conductor.accept(conductor.draft([spec_of(Arrival(0.0))], Deadline(-0.001)))
    assert conductor.use.refusals == {"deadline": 1}


def test_a_newcomer_makes_nobody_late_who_was_let_in() -> None:
    machine = Machine(lambda rows: 0.1 * rows)
    conductor = make_conductor(machine)
    first = conductor.draft([spec_of(Arrival(0.0))], Deadline(1000.0))
    conductor.accept(first)
    step = conductor.begin_step()
    assert step is not None
    conductor.finish_step(step, conductor.predict(step.lanes))
    left = 24 * 0.2
    tight = conductor.draft([spec_of(Arrival(0.0))], Deadline(machine.now + 1.3 * left))
    conductor.engine.cancel(first.lanes[0])
    conductor.end_all(RuntimeError("over"))
    conductor.accept(tight)
    step = conductor.begin_step()
    assert step is not None
    conductor.finish_step(step, conductor.predict(step.lanes))
    with pytest.raises(Overloaded, match="timeout"):
        conductor.accept(conductor.draft([spec_of(Arrival(0.0))], Deadline(machine.now + 100.0)))
    urgent = conductor.draft([spec_of(Arrival(0.0))], Deadline(machine.now + 100.0), Asker(priority=6))
    conductor.accept(urgent)
    conductor.check_integrity()


def test_queues_are_bounded_for_all_and_for_each_named_client() -> None:
    conductor = make_conductor(Machine(lambda rows: 1.0), max_queue=8, max_client_queue=2)
    spec = spec_of(Arrival(0.0))
    conductor.accept(conductor.draft([spec] * 9, Deadline(), Asker("a")))
    with pytest.raises(Overloaded, match=r"2 pictures, and the queue has room for 1 of this client; accepted: fewer"):
        conductor.accept(conductor.draft([spec] * 2, Deadline(), Asker("a")))
    conductor.accept(conductor.draft([spec] * 6, Deadline()))
    with pytest.raises(Overloaded, match=r"2 pictures, and the queue has room for 1; accepted: fewer"):
        conductor.accept(conductor.draft([spec] * 2, Deadline(), Asker("b")))
    assert conductor.use.refusals == {"client_queue_full": 1, "queue_full": 1}
    conductor.end_all(RuntimeError("over"))
    assert conductor.admission.pictures == 0
    conductor.check_integrity()
