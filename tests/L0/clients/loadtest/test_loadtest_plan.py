"""Plans: plain data, the same for the same seed, and what was written is what is read."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vico_client import GenerateRequest
from vico_client.encode import tensors
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.load import ClosedLoad, OpenLoad, TraceLoad
from vico_client.loadtest.plan import make_plan, make_trace_plan, read_plan, user_requests, write_plan
from vico_client.loadtest.trace import TraceRow
from vico_client.loadtest.workload import Workload, read_workload

WORKLOAD = read_workload().with_concepts(["toy-{0..7}"])
OPEN = OpenLoad(rate=40.0, duration=10.0, warmup=2.0)
LOADS = st.builds(
    OpenLoad,
    arrivals=st.sampled_from(["poisson", "bursty", "constant"]),
    rate=st.floats(0.1, 50),
    duration=st.floats(2.5, 20),
    warmup=st.floats(0, 2),
)


@given(load=LOADS, seed=st.integers(0, 2**63 - 1), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_survives_its_file_and_its_seed(tmp_path: Path, load: OpenLoad, seed: int, share: float) -> None:
    plan = make_plan(load, WORKLOAD, seed, share)
    write_plan(plan, tmp_path / "plan.jsonl")
    assert read_plan(tmp_path / "plan.jsonl") == plan == make_plan(load, WORKLOAD, seed, share)
    assert [request.number for request in plan.requests] == list(range(len(plan.requests)))
    assert [request.at for request in plan.requests] == sorted(request.at for request in plan.requests)
    assert all(request.warmup == (request.at < load.warmup) for request in plan.requests)


def test_every_request_of_a_plan_can_be_sent() -> None:
    for request in make_plan(OPEN, WORKLOAD, 3).requests:
        tensors(GenerateRequest(**request.fields))
        assert ("*" in request.fields["prompt"]) == ("concept" in request.fields)


def test_another_seed_is_another_plan() -> None:
    one, other = make_plan(OPEN, WORKLOAD, 1), make_plan(OPEN, WORKLOAD, 2)
    assert [request.at for request in one.requests] != [request.at for request in other.requests]
    assert one.requests[0].fields != other.requests[0].fields


def test_seeds_of_requests_differ() -> None:
    seeds = Counter(request.fields["seed"] for request in make_plan(OPEN, WORKLOAD, 1).requests)
    assert max(seeds.values()) == 1


def test_checking_more_changes_no_request() -> None:
    few, many = make_plan(OPEN, WORKLOAD, 1, 0.1), make_plan(OPEN, WORKLOAD, 1, 0.5)
    assert [request.fields for request in few.requests] == [request.fields for request in many.requests]
    few_checked = {request.number for request in few.requests if request.checked}
    assert 0 < len(few_checked) < 100
    assert few_checked < {request.number for request in many.requests if request.checked}


def test_users_of_a_closed_loop_have_streams_of_their_own() -> None:
    plan = make_plan(ClosedLoad(users=3, duration=5.0, think={"uniform": [0.5, 1.5]}), WORKLOAD, 7, 0.5)  # type: ignore[arg-type]
    streams = [list(itertools.islice(user_requests(plan, user), 20)) for user in range(3)]
    again = [list(itertools.islice(user_requests(plan, user), 20)) for user in range(3)]
    assert streams == again
    assert len({request.number for stream in streams for request in stream}) == 60
    assert len({request.fields["seed"] for stream in streams for request in stream}) == 60
    assert all(0.5 <= request.at <= 1.5 for stream in streams for request in stream)


def test_a_cycle_is_shared_by_all_users() -> None:
    plan = make_plan(ClosedLoad(users=2, duration=5.0, cycle=3), WORKLOAD, 7)
    first, second = (list(itertools.islice(user_requests(plan, user), 3)) for user in range(2))
    seeds = [request.fields["seed"] for pair in zip(first, second, strict=True) for request in pair]
    assert seeds[:3] == seeds[3:]
    assert len(set(seeds)) == 3


def test_a_closed_plan_survives_its_file(tmp_path: Path) -> None:
    plan = make_plan(ClosedLoad(users=2, duration=5.0, think=0.5), WORKLOAD, 7, 0.1)
    write_plan(plan, tmp_path / "plan.jsonl")
    assert read_plan(tmp_path / "plan.jsonl") == plan


def test_a_trace_overrides_what_was_drawn() -> None:
    rows = [TraceRow(0.0, {"concept": "toy-9", "steps": 3}, 2.0), TraceRow(1.5, {}, None)]
    load = TraceLoad(name="day.csv", rate=1.0, duration=2.0, warmup=1.0)
    first, second = make_trace_plan(load, rows, WORKLOAD, 0).requests
    assert (first.fields["concept"], first.fields["steps"], first.deadline) == ("toy-9", 3, 2.0)
    assert "*" in first.fields["prompt"]
    assert (first.at, first.warmup, second.at, second.warmup) == (0.0, True, 1.5, False)
    assert second.deadline is not None  # the workload's


def test_a_concept_of_a_trace_gets_a_prompt_with_a_place_for_it() -> None:
    plain = WORKLOAD.model_copy(update={"concepts": WORKLOAD.concepts.model_copy(update={"plain_share": 1.0})})
    rows = [TraceRow(float(number), {"concept": "toy-1"}, None) for number in range(5)]
    load = TraceLoad(name="day.csv", rate=1.0, duration=5.0)
    assert all("*" in request.fields["prompt"] for request in make_trace_plan(load, rows, plain, 0).requests)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "no json",
        '{"schema": "vico.loadtest.plan", "version": 2}',
        '{"schema": "vico.loadtest.plan", "version": 1}',
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_text(text)
    with pytest.raises(LoadTestError, match="plan"):
        read_plan(path)


def test_a_plan_with_a_broken_load_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    write_plan(make_plan(OPEN, WORKLOAD, 0), path)
    path.write_text(path.read_text().replace('"rate": 40.0', '"rate": -1'))
    with pytest.raises(LoadTestError, match=r"load\.open\.rate"):
        read_plan(path)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"warmup": 10.0}, {"duration": float("inf")}, {"burst_peak": 1.0}, {"arrivals": "sometimes"}],
)
def test_loads_that_measure_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OpenLoad(**{"rate": 1.0, "duration": 10.0, **wrong})


def test_the_workload_travels_with_the_plan(tmp_path: Path) -> None:
    write_plan(make_plan(OPEN, WORKLOAD, 0), tmp_path / "plan.jsonl")
    assert isinstance(read_plan(tmp_path / "plan.jsonl").workload, Workload)
