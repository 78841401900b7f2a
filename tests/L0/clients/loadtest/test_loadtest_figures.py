"""Figures: what counts, where, and what fails a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import a_test, end, failure, record, run, write_folder
from vico_client.loadtest.check import Comparison
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.figures import read_test, summarise
from vico_client.loadtest.scrape import Sample
from vico_client.loadtest.summary import Summary
from vico_client.loadtest.verdict import Goals

SCHEMA = Path(__file__).parents[4] / "docs" / "loadtest.schema.json"


def test_warm_up_is_in_no_figure() -> None:
    records = [record(0, 0.5, 9.0, warmup=True), record(1, 5.0, 1.0)]
    load = {"kind": "open", "rate": 1.0, "duration": 10.0, "warmup": 2.0}
    summary = summarise(a_test(records, run=run(load=load)), Goals())
    assert (summary.counts.warmup, summary.counts.measured, summary.latency.count) == (1, 1, 1)
    assert summary.latency.max == pytest.approx(1.0, rel=2e-3)
    assert summary.rates.window_seconds == 8.0


def test_answers_after_the_end_are_no_throughput() -> None:
    """A server that falls behind gets no credit for what it does while nobody asks any more."""
    records = [record(number, float(number), 1.0 + number, images=2) for number in range(10)]
    rates = summarise(a_test(records), Goals()).rates
    assert rates.offered == 1.0
    assert rates.throughput == 0.5  # five of them end before 10 s
    assert rates.images == 1.0


def test_goodput_counts_answers_in_time_from_when_due() -> None:
    records = [record(0, 1.0, 1.0, deadline=2.0), record(1, 1.0, 3.0, sent=3.0, deadline=2.0), record(2, 2.0, 4.0)]
    summary = summarise(a_test(records), Goals())
    assert (summary.counts.ok, summary.counts.in_time) == (3, 2)
    assert summary.rates.goodput == pytest.approx(0.2)
    assert summary.lateness.max == pytest.approx(2.0, rel=2e-3)
    assert summary.service.max == pytest.approx(4.0, rel=2e-3)


def test_errors_by_class_and_status() -> None:
    records = [
        failure(0, "Overloaded", "RESOURCE_EXHAUSTED"),
        failure(1, "Overloaded", "RESOURCE_EXHAUSTED"),
        failure(2, "ServerError", "INTERNAL"),
        record(3),
    ]
    summary = summarise(a_test(records), Goals())
    assert [(row.error, row.status, row.count, row.explained) for row in summary.errors] == [
        ("Overloaded", "RESOURCE_EXHAUSTED", 2, True),
        ("ServerError", "INTERNAL", 1, False),
    ]
    assert summary.verdict.reasons == ["1 unexplained ServerError (INTERNAL)"]
    assert summary.latency.count == 1
    assert summary.failed.count == 3


def test_explained_errors_alone_pass() -> None:
    assert summarise(a_test([record(), failure(1, "Overloaded", "RESOURCE_EXHAUSTED")]), Goals()).verdict.passed


@pytest.mark.parametrize(
    ("goals", "passed"),
    [
        (Goals(max_p95=1.1), True),
        (Goals(max_p95=0.9), False),
        (Goals(max_errors=0.5), True),
        (Goals(max_errors=0.49), False),
        (Goals(max_p95=1.1, max_errors=0.0), False),
    ],
)
def test_goals(goals: Goals, passed: bool) -> None:
    records = [record(latency=1.0), failure(1, "DeadlineExceeded", "DEADLINE_EXCEEDED")]
    assert summarise(a_test(records), goals).verdict.passed is passed


def test_nothing_measured_is_no_success() -> None:
    assert not summarise(a_test([]), Goals()).verdict.passed
    assert not summarise(a_test([failure(0, "Overloaded", "X")]), Goals(max_p95=1.0)).verdict.passed


def test_a_sending_process_that_died_fails_the_test() -> None:
    verdict = summarise(a_test([record()], end=end(failures=["sending process 1: was killed"])), Goals()).verdict
    assert verdict.reasons == ["sending process 1: was killed"]


def test_a_test_that_crashed_is_told_as_far_as_it_went(tmp_path: Path) -> None:
    crashed = a_test([record(number, float(number)) for number in range(4)], end=None, run=run(planned=10))
    summary = summarise(read_test(write_folder(tmp_path, crashed)), Goals())
    assert (summary.counts.ok, summary.counts.unsent) == (4, 6)
    assert summary.rates.window_seconds == 4.0  # until the last answer
    assert "did not end" in summary.verdict.reasons[0]


def test_a_picture_that_differs_fails_the_test() -> None:
    same = Comparison(0, "a", identical=True, difference=0)
    close = Comparison(1, "b", difference=1, psnr=60.0)
    far = Comparison(2, "c", difference=90, psnr=20.0)
    gone = Comparison(3, "d", problem="ConceptNotFound: concept: gone")
    passing = summarise(a_test([record()], comparisons=[same, close]), Goals())
    assert passing.verdict.passed
    assert passing.correctness is not None
    assert (passing.correctness.identical, passing.correctness.equal) == (1, 2)
    failing = summarise(a_test([record()], comparisons=[same, close, far, gone]), Goals())
    assert "2 of 4 requests gave other pictures" in failing.verdict.reasons[0]
    assert failing.correctness is not None
    assert (failing.correctness.max_difference, failing.correctness.min_psnr) == (90, 20.0)
    assert failing.correctness.problems == ["d: ConceptNotFound: concept: gone"]


def test_the_server_as_replies_and_metrics_tell() -> None:
    samples = [Sample(0.0, {"vico_swaps_total": 3.0, "vico_lanes": 1.0}), Sample(9.0, {"vico_swaps_total": 8.0})]
    summary = summarise(a_test([record(cold=True)], samples=samples), Goals())
    assert summary.server.increase == {"vico_swaps_total": 5.0}
    assert summary.server.names == ["vico_lanes", "vico_swaps_total"]
    assert summary.stages["unet_loop"].p50 == pytest.approx(0.5, rel=2e-3)
    assert summary.lanes is not None
    assert summary.lanes.max == 3
    assert (summary.warm.count, summary.cold.count) == (0, 1)


def test_replies_of_a_server_that_tells_little() -> None:
    summary = summarise(a_test([record(info={})]), Goals())
    assert (summary.lanes, summary.stages) == (None, {})


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(0.001, 20), st.booleans(), st.booleans()).map(
            lambda item: record(0, *item[:2], error="ServerError" if item[2] else "", warmup=item[3])
        ),
        max_size=30,
    )
)
@settings(deadline=None, max_examples=15)
def test_figures_add_up(records: list[object]) -> None:
    summary = summarise(a_test(records), Goals())
    counts = summary.counts
    assert counts.warmup + counts.measured == len(records)
    assert counts.ok + counts.failed == counts.measured
    assert counts.in_time <= counts.ok
    assert summary.latency.count == counts.ok
    assert summary.rates.goodput <= summary.rates.throughput
    assert Summary.model_validate_json(summary.model_dump_json(by_alias=True)) == summary


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    for content in ("{}", "no json", '{"schema": "vico.loadtest.run", "version": 99}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(LoadTestError, match=r"run\.json|folder"):
            read_test(tmp_path)


def test_the_documented_schema_is_the_one_written() -> None:
    """Make it anew with the command in docs/loadtest.md when the figures change, and raise the version if they must."""
    assert json.loads(SCHEMA.read_text()) == Summary.model_json_schema(mode="serialization", by_alias=True)
