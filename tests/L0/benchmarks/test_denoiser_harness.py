"""The harness: turns, resuming, failures, memory, the file's form, the report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.denoiser import run as run_module
from benchmarks.denoiser.estimate import planned
from benchmarks.denoiser.profile import summarise
from benchmarks.denoiser.report import BEGIN, END, section, with_section, write_report
from benchmarks.denoiser.results import BenchmarkError, Results, Sample, open_results, read_results
from benchmarks.denoiser.run import Runner
from benchmarks.denoiser.settings import DUELS, Duel, Settings, Unit, chosen
from benchmarks.denoiser.worker import Action, Worker

SETTINGS = Settings(Path("some/base"), Path("work"), latent=16, rounds=2, threads=1)
A, B = Unit("a", "x", 1), Unit("b", "y", 2)


class Fake:
    """Workers that say who was asked, in order."""

    def __init__(self, broken: str = "") -> None:
        self.log: list[str] = []
        self.broken = broken

    def __call__(self, name: str, factory: object, settings: Settings) -> Fake:
        if name == self.broken:
            raise BenchmarkError(name, "does not run here", "another")
        self.log.append(f"load {name}")
        self.name = name
        return self

    def run(self, work: str) -> Sample:
        self.log.append(work)
        return Sample(1.0, 2.0)

    def close(self) -> int:
        return 1000


def runner(monkeypatch: pytest.MonkeyPatch, results: Results, fake: Fake) -> Runner:
    monkeypatch.setattr(run_module, "Worker", fake)
    monkeypatch.setattr(run_module, "CONTENDERS", {"a": None, "b": None, "c": None})
    return Runner(SETTINGS, results, lambda line: None)


def test_sides_take_turns_and_shared_workers_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results, fake = Results(tmp_path / "r.json", SETTINGS.identity()), Fake()
    runner(monkeypatch, results, fake).run([Duel("one", (A, B)), Duel("two", (A, Unit("c", "z", 1)))])
    assert fake.log == ["load a", "x", "load b", "y", "x", "y", "x", "load c", "z", "x", "z"]
    assert {name for name in results.facts if name.startswith("peak_rss.")} == {
        "peak_rss.a",
        "peak_rss.b",
        "peak_rss.c",
    }


def test_of_sides_that_are_apart_one_is_alive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results, fake = Results(tmp_path / "r.json", SETTINGS.identity()), Fake()
    twice = Unit("a", "again", 1)
    runner(monkeypatch, results, fake).run([Duel("one", (A, twice, B), apart=True)])
    assert fake.log == ["load a", "x", "again", "load b", "y"] * 2


def test_a_stopped_run_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results = Results(path, SETTINGS.identity())
    for unit in ("a.x", "b.y", "a.x"):
        results.add("one", unit, Sample(3.0, 3.0))
    again, fake = open_results(path, SETTINGS.identity(), resume=True), Fake()
    runner(monkeypatch, again, fake).run([Duel("one", (A, B))])
    assert fake.log == ["load b", "y"]
    assert read_results(path).of("one", "a.x") == [Sample(3.0, 3.0)] * 2


def test_a_contender_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = Results(tmp_path / "r.json", SETTINGS.identity())
    runner(monkeypatch, results, Fake(broken="b")).run([Duel("one", (A, B))])
    assert len(results.of("one", "a.x")) == 2
    assert "does not run here" in read_results(tmp_path / "r.json").failures["b"]


def test_other_settings_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    open_results(path, SETTINGS.identity(), resume=False).save()
    with pytest.raises(BenchmarkError, match="--resume"):
        open_results(path, SETTINGS.identity(), resume=False)
    with pytest.raises(BenchmarkError):
        open_results(path, SETTINGS.identity() | {"latent": 64}, resume=True)
    path.write_text("[]")
    with pytest.raises(BenchmarkError):
        read_results(path)


def test_the_file_holds_each_ratio_with_spread_and_samples(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.json", SETTINGS.identity())
    for wall in (1.0, 2.0, 4.0):
        results.add("lanes", "ours.lanes_mixed", Sample(wall, wall))
        results.add("lanes", "ours.lanes_single", Sample(1.0, 1.0))
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["mixed_over_single"]["value"] == 2.0
    assert content["mixed_over_single"]["spread"] == [1.0, 4.0]
    assert content["mixed_over_single"]["samples"] == [1.0, 2.0, 4.0]
    assert "work" not in content["settings"], "paths of the machine are nobody's business"
    text = section(results)
    assert "mixed_over_single" in text
    assert "missed" in text
    write_report(results, tmp_path / "performance.md")
    write_report(results, tmp_path / "performance.md")
    assert (tmp_path / "performance.md").read_text().count(BEGIN) == 1
    assert (tmp_path / "performance-denoiser.svg").is_file()


def test_a_section_is_replaced_and_the_rest_is_left() -> None:
    page = with_section("# Performance\n\nbefore\n", "old")
    page = with_section(page.replace(END, f"{END}\n\nafter"), "new")
    assert "old" not in page
    assert page.index("before") < page.index("new") < page.index("after")


class Sleeper:
    """A contender of the real worker."""

    def __init__(self, settings: Settings) -> None:
        self.size = settings.latent

    def prepare(self, work: str) -> Action:
        if work == "die":
            return lambda: os._exit(9)
        if work == "fail":
            raise ValueError("no such work")
        return lambda: sum(range(10_000 * self.size))


def test_a_real_worker_measures_and_tells_its_memory() -> None:
    worker = Worker("sleeper", Sleeper, SETTINGS)
    sample = worker.run("sum")
    assert sample.wall > 0
    assert sample.cpu >= 0
    assert worker.close() > 2**20


@pytest.mark.parametrize(("work", "said"), [("die", "code 9"), ("fail", "no such work")])
def test_a_real_worker_that_dies_is_reported(work: str, said: str) -> None:
    worker = Worker("sleeper", Sleeper, SETTINGS)
    with pytest.raises(BenchmarkError, match=said):
        worker.run(work)


def test_the_estimate_counts_what_is_missing(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.json", {})
    whole = planned(DUELS, SETTINGS, results, 803e9, 1e11)
    results.add("plain", "ours.denoiser_n1", Sample(1, 1))
    rest = planned(DUELS, SETTINGS, results, 803e9, 1e11)
    assert rest["plain"] < whole["plain"]
    assert rest["eager_n4"] == whole["eager_n4"] > whole["plain"]


def test_at_most_three_processes_are_alive() -> None:
    assert all(len(duel.contenders) <= 3 for duel in DUELS)
    assert [duel.name for duel in chosen(["swap"])] == ["swap"]
    assert chosen([]) == DUELS


def test_a_profile_is_summed_by_operator() -> None:
    def event(name: str, operator: str, us: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": {"op_name": operator}}

    found = summarise(
        [event("a", "Conv", 99), event("b", "MatMul", 99), event("a", "Conv", 30), event("b", "MatMul", 10),
         {"cat": "Session", "name": "run", "dur": 500}]
    )  # fmt: skip
    assert [o["operator"] for o in found["operators"]] == ["Conv", "MatMul"]
    assert found["operators"][0]["share"] == 0.75
