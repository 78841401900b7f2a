"""Records and histograms: nothing is lost on the way to a file, to another process, or into the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import a_test, failure, record, write_folder
from vico_client.loadtest.figures import read_test
from vico_client.loadtest.histogram import Histogram
from vico_client.loadtest.records import read_records
from vico_client.loadtest.storage import new_folder, open_lines
from vico_client.loadtest.tally import Tally

SECONDS = st.lists(st.floats(1e-6, 3600), min_size=1, max_size=200)


@given(parts=st.lists(SECONDS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=20)
def test_merged_histograms_are_the_histogram_of_all(parts: list[list[float]]) -> None:
    merged = Histogram()
    for part in parts:
        merged.add(Histogram(part).encode())
    whole = Histogram(value for part in parts for value in part)
    assert merged.count == sum(map(len, parts))
    for percent in (0, 50, 95, 99, 100):
        assert merged.percentile(percent) == whole.percentile(percent)


@given(SECONDS)
@settings(deadline=None, max_examples=30)
def test_percentiles_hold_three_digits(values: list[float]) -> None:
    histogram = Histogram(values)
    assert histogram.percentile(100) == pytest.approx(max(values), rel=2e-3, abs=2e-6)
    assert histogram.percentile(50) == pytest.approx(sorted(values)[(len(values) - 1) // 2], rel=2e-3, abs=2e-6)


def test_an_empty_histogram_has_no_figures() -> None:
    assert (Histogram().percentile(50), Histogram().percentiles([1, 2]), Histogram().maximum()) == (
        None,
        [None] * 2,
        None,
    )


def test_out_of_range_counts_at_the_edge() -> None:
    histogram = Histogram([0.0, -1.0, 1e9])
    assert histogram.count == 3
    assert histogram.maximum() == pytest.approx(3600, rel=2e-3)


def test_records_survive_their_file(tmp_path: Path) -> None:
    records = [record(number, number / 2, request={"prompt": "ein Hündchen\n*"}) for number in range(5)]
    records.append(failure(9, "Overloaded", "RESOURCE_EXHAUSTED", scheduled=9.0))
    write_folder(tmp_path, a_test(records))
    assert read_test(tmp_path).records == records


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    write_folder(tmp_path, a_test([record(number, float(number)) for number in range(4)]))
    path = tmp_path / "records-0.jsonl"
    path.write_text(path.read_text()[:-20])
    assert [item.number for item in read_records(tmp_path)] == [0, 1, 3]


def test_a_field_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "records-0.jsonl").write_text(record().line().replace('{"number"', '{"colour": "red", "number"'))
    assert read_records(tmp_path) == [record()]


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with open_lines(tmp_path / "lines") as lines:
        lines.write("one\n")
        assert (tmp_path / "lines").read_text() == "one\n"


def test_latency_counts_from_when_it_was_due() -> None:
    late = record(scheduled=1.0, latency=3.0, sent=3.5, deadline=2.0)
    assert (late.latency, late.in_time) == (3.0, False)
    assert record(latency=2.0, deadline=2.0).in_time
    assert record(latency=99.0).in_time  # nobody set a deadline


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        ("Overloaded", True),
        ("DeadlineExceeded", True),
        ("ServerError", False),
        ("Unavailable", False),
        ("OSError", False),
    ],
)
def test_load_explains_only_refusals_and_missed_deadlines(error: str, explained: bool) -> None:
    assert failure(0, error, "X").explained is explained


def test_a_tally_begins_anew() -> None:
    tally = Tally()
    tally.sent(0.25)
    tally.ended(record())
    tally.sent(0.0)
    tally.ended(failure(1, "Overloaded", "X"))
    told = tally.progress()
    assert (told.sent, told.ended, told.errors, told.lateness) == (2, 2, {"Overloaded": 1}, 0.25)
    merged = Histogram()
    merged.add(told.histogram)
    assert merged.count == 1
    again = tally.progress()
    assert (again.sent, again.ended, again.errors, again.lateness) == (0, 0, {}, 0.0)


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    new_folder(tmp_path / "new" / "folder")
    (tmp_path / "new" / "folder" / "run.json").touch()
    with pytest.raises(Exception, match="not empty"):
        new_folder(tmp_path / "new" / "folder")
