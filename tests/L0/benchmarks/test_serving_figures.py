"""The serving benchmark's arithmetic: from what probes and clients wrote down to figures, files and a page."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vico_client.loadtest.load import ClosedLoad
from vico_client.loadtest.records import Record

from benchmarks.serving.bench import Measurement
from benchmarks.serving.load import Sent, poisson, workload
from benchmarks.serving.overload import useful_share
from benchmarks.serving.prepared import PROBED, ROOT, concept_ids, make_concepts, probed_graphs
from benchmarks.serving.probe import Log, TimedRunner
from benchmarks.serving.probe_log import GraphRun, Period, ProbeLog, Step, between, covered, fullest, periods
from benchmarks.serving.report import BEGIN, section, write_report
from benchmarks.serving.results import BenchmarkError, Results, open_results
from benchmarks.serving.settings import FULL, QUICK
from benchmarks.serving.targets import TARGETS
from tests.helpers.concepts import make_concept
from vico.concept import read_package

LINES = """\
graph denoiser 1.0 1.4 1
step 0.45 2 4 1
graph reference_encoder 1.5 1.7 0
graph reference_encoder 1.6 1.65 1
graph denoiser 1.7 2.1 1
step 0.6 2 4 3
graph reference_encoder 2.1 2.3 0
ended done
ended done
graph denoiser 5.0 5.3 1
step 0.35 1 2 3
graph denoiser 5.4 5."""


@pytest.fixture
def log(tmp_path: Path) -> ProbeLog:
    (tmp_path / "unet_loop").write_text(LINES)
    (tmp_path / "vae_decoder").write_text("graph vae_decoder 2.3 2.4 0\n")
    return ProbeLog(tmp_path)


def step(number: int, **changes: Any) -> Step:
    fields: dict[str, Any] = {"end": float(number), "seconds": 1.0, "lanes": 2, "rows": 4, "swaps": 0}
    return Step(number, **fields | {"graph": 0.5, "left": 0} | changes)


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {"number": 0, "request_id": "a", "user": None, "scheduled": 0.0, "sent": 0.0, "done": 1.0}
    return Record(**fields | {"request": {}} | changes)


def test_steps_as_the_probe_wrote_them(log: ProbeLog) -> None:
    first, second, third = log.steps()
    assert (first.number, first.end, first.seconds, first.lanes, first.rows) == (1, 1.4, 0.45, 2, 4)
    assert second.graph == pytest.approx(0.45), "of the loop's own thread only"
    assert (first.left, second.left, third.left) == (0, 2, 0)
    assert log.swaps() == third.swaps == 3
    assert [run.name for run in log.graphs()].count("denoiser") == 3, "what is not written out yet is left out"


def test_a_step_after_an_idle_while_is_no_long_one(log: ProbeLog) -> None:
    (period,) = periods(log.steps())
    assert period.step.number == 2
    assert period.seconds == pytest.approx(0.7)
    assert period.beyond_graph == pytest.approx(0.25)
    assert between(log.steps(), 2.0, 3.0) == [period.step]


def test_the_fullest_steps_are_compared() -> None:
    found = [Period(step(k, lanes=lanes), 1.0) for k, lanes in enumerate((8, 3, 8))]
    assert [period.step.number for period in fullest(found)] == [0, 2]
    with pytest.raises(BenchmarkError):
        fullest([])


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=12))
def test_graphs_that_run_beside_each_other_count_once(spans: list[tuple[int, int]]) -> None:
    runs = [GraphRun("a", begin, begin + length) for begin, length in spans]
    seconds = {second for begin, length in spans for second in range(begin, begin + length)}
    assert covered(runs, 20, 90) == len({second for second in seconds if 20 <= second < 90})


def test_a_timed_runner_writes_what_is_read(tmp_path: Path) -> None:
    class Runner:
        dtype = "float32"

        def run(self, feeds: Any) -> Any:
            return {"noise": feeds}

    runner = TimedRunner(Runner(), "denoiser", Log(tmp_path / "unet_loop"))
    assert runner.run({"a": np.ones(1)}) == {"noise": {"a": np.ones(1)}}
    assert runner.dtype == "float32", "whatever else a runner tells"
    (run,) = ProbeLog(tmp_path).graphs()
    assert run.name == "denoiser"
    assert run.begin <= run.end
    assert ProbeLog(tmp_path).steps() == []


def test_the_time_of_steps_is_shared_out_by_rows() -> None:
    steps = [step(1, seconds=1.0), step(2, seconds=3.0), step(3, seconds=1.0, lanes=1, rows=2)]
    kept = record(info={"batch": {"first_step": 1, "last_step": 2}})
    late = record(error="DeadlineExceeded")
    assert useful_share(steps, [kept, late]) == pytest.approx((1 * 0.5 + 3 * 0.5) / 5)
    everything = record(info={"batch": {"first_step": 1, "last_step": 3}})
    assert useful_share(steps, [everything] * 5) == 1.0, "a step counts once at most"
    assert useful_share([], [kept]) == 0.0


def test_throughput_is_of_the_measured_window() -> None:
    load = ClosedLoad(users=1, duration=5.0, warmup=1.0)
    spans = [(0.0, 0.5), (0.5, 1.5), (1.5, 3.0), (3.0, 4.5), (4.5, 6.5), (5.5, 6.0)]
    records = [record(sent=sent, done=done) for sent, done in spans] + [record(done=2.0, error="Overloaded")]
    sent = Sent(records, 0.0, 7.0, load, compared=0, equal=0)
    assert sent.per_second == pytest.approx((0.5 + 1 + 1 + 0.25) / 4)
    assert sent.latencies == [record.done for record in records if record.ok]


def test_throughput_does_not_hang_on_where_the_window_ends_among_waves() -> None:
    """Eight users are answered together every 3 s, so 8/3 a second: a count within 12 s would say 24/12 or 32/12."""
    for late in np.linspace(0, 3, 7):
        load = ClosedLoad(users=8, duration=16.0, warmup=4.0)
        records = [record(sent=3.0 * k - late, done=3.0 * k + 3 - late) for k in range(8) for _ in range(8)]
        assert Sent(records, 0.0, 25.0, load, 0, 0).per_second == pytest.approx(8 / 3)


def test_loads_are_never_empty() -> None:
    assert poisson(0.01, 2.0).rate * 2.0 >= 5
    assert workload(["a"], [3, 4], [1.0, 2.0]).deadline is not None


def test_the_whole_is_planned_to_end_in_time() -> None:
    assert FULL.minutes <= 25
    assert QUICK.minutes < FULL.minutes / 2


def test_results_are_gone_on_with_and_never_mixed(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    results = open_results(path, {"rounds": 3, "steps": (1, 2)})
    for value in (3.0, 1.0, 2.0):
        results.add("loop", {"loop_ms_per_step": value})
    results.note("cores", 2)
    content = json.loads(path.read_text())
    assert content["loop_ms_per_step"] == {"value": 2.0, "spread": [1.0, 3.0], "samples": [3.0, 1.0, 2.0]}
    again = open_results(path, {"rounds": 3, "steps": (1, 2)})
    assert (again.rounds, again.facts) == (results.rounds, {"cores": 2})
    with pytest.raises(BenchmarkError, match="other settings"):
        open_results(path, {"rounds": 4, "steps": (1, 2)})
    path.write_text("[]")
    with pytest.raises(BenchmarkError, match="no result"):
        open_results(path, {})


def test_only_missing_rounds_are_taken(tmp_path: Path) -> None:
    class Bench:
        settings = QUICK.__class__(rounds=3)
        results = Results(tmp_path / "figures.json", {}, {"one": [{"a": 1.0}]})

        def say(self, line: str) -> None:
            return

    opened = []

    @contextmanager
    def measure(bench: Any) -> Any:
        opened.append(bench)
        yield lambda number: {"a": float(number)}

    bench: Any = Bench()
    for _ in range(2):
        Measurement("one", ("a",), measure).run(bench)
    assert bench.results.rounds["one"] == [{"a": 1.0}, {"a": 1.0}, {"a": 2.0}]
    assert len(opened) == 1, "what is measured is not prepared for"


def test_the_page_says_what_is_met_missed_and_not_measured(tmp_path: Path) -> None:
    results = Results(tmp_path / "figures.json", json.loads(json.dumps(FULL.identity())))
    results.add("overhead", {"overhead_share": 0.03, "picture_ms": 400.0})
    results.add("overload", {"goodput_overload": 0.8})
    results.add("curve", {"images_per_second_8": 3.0, "images_per_second_1": 2.0, "batch_gain": 1.5})
    text = section(results)
    assert "| `overhead_share` | 0.03 (0.03–0.03) | ≤ 0.05 | met |" in text
    assert "| `goodput_overload` | 0.8 (0.8–0.8) | ≥ 0.9 | **missed** |" in text
    assert "| `loop_ms_per_step` | – | ≤ 1 | not measured |" in text
    assert text.index("| 1 | 2 (2–2) |") < text.index("| 8 | 3 (3–3) |")
    assert "`picture_ms`" in text
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nwords\n")
    for _ in range(2):
        write_report(results, page)
    assert page.read_text().count(BEGIN) == 1
    assert page.read_text().startswith("# Page\n\nwords\n")


def test_the_page_of_the_project_has_a_place_for_it() -> None:
    assert BEGIN in (ROOT / "docs" / "performance.md").read_text()


def test_the_figures_that_the_contract_names_are_measured() -> None:
    from benchmarks.serving.__main__ import MEASUREMENTS

    assert TARGETS.keys() <= {key for one in MEASUREMENTS for key in one.keys}


def test_concepts_are_many_of_one(tmp_path: Path) -> None:
    package = make_concept(tmp_path, "trained")
    ids = concept_ids(3)
    for version in range(2):
        make_concepts(tmp_path, tmp_path / str(version), ids, package, version)
    found = [read_package(tmp_path / str(version) / f"{name}.safetensors") for version in range(2) for name in ids]
    assert len({one.digest for one in found}) == 6
    assert [one.manifest.id for one in found] == ids * 2
    assert found[0].manifest.base_digest == read_package(package).manifest.base_digest


def test_a_probe_is_put_into_a_copy(tmp_path: Path) -> None:
    graphs = tmp_path / "graphs"
    for stage in (*PROBED, "picture_stream"):
        (graphs / "models" / stage / "1").mkdir(parents=True)
        source = ROOT / "model_repository" / stage / "1" / "model.py"
        (graphs / "models" / stage / "1" / "model.py").write_text(source.read_text())
    (graphs / "graphs").mkdir()
    for name in ("graphset.json", "tokenizer.json"):
        (graphs / name).write_text("{}")
    made, probes = probed_graphs(graphs, tmp_path / "work")
    assert probes.is_dir()
    for stage in PROBED:
        adapter = (made / "models" / stage / "1" / "model.py").read_text()
        compile(adapter, stage, "exec")
        assert adapter.index(f"probe.install({stage!r}, {str(probes)!r})") < adapter.index("from serving")
        assert "probe" not in (graphs / "models" / stage / "1" / "model.py").read_text()
    assert "probe" not in (made / "models" / "picture_stream" / "1" / "model.py").read_text()
    assert (made / "graphs").is_dir()
