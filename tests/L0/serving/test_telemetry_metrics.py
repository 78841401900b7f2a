"""Metrics: what is declared, what the loop, the stages and the door count, and what a scrape finds of it."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event
from typing import get_args

import grpc
import pytest
from fake_runners import Concepts, make_engine, make_spec
from prometheus_client import CollectorRegistry
from test_serving_adapter import PB, FakeStage, requests

from serving.errors import ShuttingDown
from serving.loop import EngineLoop
from serving.stages.stage import NO_DEADLINE
from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments
from serving.telemetry.loop import LoopMetrics, LoopState
from serving.telemetry.sampler import Sampler
from serving.telemetry.stage import StageTelemetry
from serving.telemetry.supervision import SupervisorMetrics
from serving.triton_adapter import TritonAdapter
from serving.use import Ending

WAIT = 60.0


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels}"
    return found


@pytest.mark.parametrize("metric", of.CATALOGUE, ids=lambda metric: metric.name)
def test_names_say_what_and_in_which_unit(metric: of.Metric) -> None:
    assert re.fullmatch(r"vico_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|milliseconds|kb|mb|percent)(_|$)", metric.name)
    assert (metric.kind == "histogram") == bool(metric.buckets)
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")


def test_every_series_is_known_before_anything_happens_and_there_are_few() -> None:
    for metric in of.CATALOGUE:
        registry = CollectorRegistry()
        make = Instruments(registry)
        {"counter": make.counter, "gauge": make.gauge, "histogram": make.histogram}[metric.kind](metric)
        shown = [sample for family in registry.collect() for sample in family.samples]
        assert {sample.name for sample in shown} == set(metric.series)
        assert all(sample.value == 0 for sample in shown)
        assert len(shown) <= 100
    assert len({metric.name for metric in of.CATALOGUE}) == len(of.CATALOGUE)


def test_labels_have_all_values_that_the_code_has() -> None:
    assert set(of.GRPC_STATUSES) == {code.name for code in grpc.StatusCode}
    assert set(of.REQUEST_SECONDS.labels["ending"]) == set(get_args(Ending))
    sources = [path.read_text() for path in Path("serving").glob("*.py")]
    sources += [path.read_text() for path in Path("serving/scheduling").glob("*.py")]
    said = {word for source in sources for word in re.findall(r"(?:\.refused\(|Refusal\()\s*\"(\w+)\"", source)}
    assert said
    assert said <= set(of.LOOP_REFUSALS)


def test_the_loop_is_counted_as_it_counts_itself(tmp_path: Path) -> None:
    make = Instruments()
    concepts = Concepts(tmp_path, 1)
    engine = make_engine(concepts.load)
    loop = EngineLoop(engine, 8, observers=[LoopMetrics(make)])
    state = LoopState(make, loop, engine.bank)
    done = [loop.submit([make_spec(k, digest=concepts.digests[0])], NO_DEADLINE) for k in range(3)]
    for future in done:
        future.result(WAIT)
    loop.close(WAIT)
    with pytest.raises(ShuttingDown):
        loop.submit([make_spec()], NO_DEADLINE)
    state()
    state()
    use, registry = loop.use, make.registry
    assert value(registry, "vico_queue_seconds_count") == use.started == 3
    assert value(registry, "vico_queue_seconds_sum") == pytest.approx(use.queue_seconds)
    assert value(registry, "vico_step_seconds_count") == use.steps > 0
    assert value(registry, "vico_lane_steps_total") == use.lane_steps
    assert value(registry, "vico_row_steps_total") == use.row_steps
    assert value(registry, "vico_useful_row_steps_total") == use.useful_row_steps > 0
    assert value(registry, "vico_wasted_row_steps_total") == use.wasted_row_steps == 0
    assert value(registry, "vico_request_seconds_count", ending="done") == 3
    assert value(registry, "vico_refusals_total", reason="shutting_down") == 1
    assert value(registry, "vico_feature_hits_total") == use.feature_hits
    assert value(registry, "vico_feature_misses_total") == use.feature_misses > 0
    assert value(registry, "vico_concept_swaps_total") == use.swaps == 1
    assert value(registry, "vico_lanes") == value(registry, "vico_waiting_pictures") == 0
    assert value(registry, "vico_lanes_limit") == engine.max_lanes
    assert 0 < value(registry, "vico_feature_bytes") <= value(registry, "vico_feature_limit_bytes")
    assert value(registry, "vico_slot_bytes") == value(registry, "vico_slot_limit_bytes") / engine.bank._slots


@pytest.mark.parametrize("ending", get_args(Ending))
def test_endings(ending: Ending) -> None:
    make = Instruments()
    LoopMetrics(make).ended(ending, 1.5, 7)
    assert value(make.registry, "vico_request_seconds_sum", ending=ending) == 1.5
    assert value(make.registry, "vico_cancellations_total") == (ending == "cancelled")
    assert value(make.registry, "vico_deadline_misses_total") == (ending == "deadline")
    assert value(make.registry, "vico_useful_row_steps_total") == 7 * (ending == "done")
    assert value(make.registry, "vico_wasted_row_steps_total") == 7 * (ending != "done")


def test_no_event_can_break_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    metrics = LoopMetrics(Instruments())
    for _ in range(3):
        metrics.refused("a reason that nobody declared")
        metrics.ended("an ending", float("nan"), 0)  # type: ignore[arg-type]
    assert len(caplog.records) <= 2, "said once for each"


def test_a_stage_counts_seconds_and_errors_by_their_status() -> None:
    make = Instruments(fixed={"stage": "vae_decoder"})
    adapter = TritonAdapter(PB, FakeStage(), StageTelemetry("vae_decoder", make=make))
    adapter.execute(requests(1, 2, -1, -2))
    assert value(make.registry, "vico_stage_seconds_count", stage="vae_decoder") == 4
    for status, count in (("INVALID_ARGUMENT", 1), ("INTERNAL", 1), ("NOT_FOUND", 0)):
        assert value(make.registry, "vico_stage_errors_total", stage="vae_decoder", status=status) == count


def test_what_the_supervisor_does() -> None:
    make = Instruments()
    metrics = SupervisorMetrics(make)
    metrics.serves(True)
    metrics.canary(well=False)
    metrics.restarted("vae_decoder")
    assert value(make.registry, "vico_ready") == 1
    assert value(make.registry, "vico_canaries_total", verdict="ill") == 1
    assert value(make.registry, "vico_restarts_total", part="vae_decoder") == 1


def test_the_sampler_tells_again_and_again() -> None:
    told, twice = [], Event()

    def tell() -> None:
        told.append(1)
        if len(told) > 2:
            twice.set()

    sampler = Sampler([tell], 0.001).start()
    assert told
    assert twice.wait(WAIT)
    sampler.close()
