"""`vico train --gate`: what is refused never gets to its place, and nothing that was made is lost."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers.evaluation import ColourEncoder, HalfJudge
from tests.helpers.photos import make_photos
from training import gate as module
from training.evaluation import evaluate as evaluation
from training.evaluation.chosen import parse_choice
from training.evaluation.gate import GateError
from training.evaluation.maker import SamplingSettings, plain_maker
from training.evaluation.suite import Prompt, Suite, SuiteError
from training.gate import Gate
from training.job import TrainingJob
from training.recipe import Recipe
from training.run import run_training
from vico.concept import read_package, write_package
from vico.errors import VicoError

RECIPE = Recipe("test", 2, 2, 5e-3, 1e-3, validation_prompts=("a {}",), validation_steps=1)
SUITE = Suite("two", (Prompt("attribute", "a red {}", "red"),), (0, 1), SamplingSettings("ddim", 1, 1.0))


@pytest.fixture
def job(tmp_path: Path, tiny_base_folder: Path) -> TrainingJob:
    photos = make_photos(tmp_path / "photos", 2)
    return TrainingJob(tiny_base_folder, photos, "toy", tmp_path / "disc.safetensors", RECIPE, "disc", device="cpu")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "default_suite", lambda base: SUITE)
    monkeypatch.setattr(evaluation, "load_encoders", lambda choice: [ColourEncoder()])
    monkeypatch.setattr(evaluation, "load_text_judge", lambda base, choice, word: HalfJudge())


def train(job: TrainingJob, gate: Gate) -> str:
    return run_training(job, Console(file=io.StringIO()), gate)


def test_a_package_that_passes_is_in_its_place_with_its_figures(
    job: TrainingJob, fakes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "gate", lambda scores: None)
    digest = train(job, Gate(job, None, parse_choice(None)))
    package = read_package(job.out)
    assert package.digest == digest
    assert package.manifest.evaluation["quality"]["pictures"] == 2
    assert not job.candidate.exists()
    assert (job.work_folder / "evaluation" / "pictures.html").is_file()


def test_a_package_that_fails_is_kept_aside_and_the_old_one_stays(
    job: TrainingJob, fakes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the plain base's own pictures cannot beat themselves
    monkeypatch.setattr(evaluation, "concept_maker", lambda base, concept, settings: plain_maker(base, "toy", settings))
    job.out.write_bytes(b"the version before")
    with pytest.raises(GateError, match="does not beat the floor"):
        train(job, Gate(job, None, parse_choice(None)))
    assert job.out.read_bytes() == b"the version before"
    assert read_package(job.candidate).manifest.id == "disc"
    assert (job.work_folder / "evaluation" / "scores.json").is_file()
    assert list(job.work_folder.glob("step-*.safetensors")), "the run can go on"


def test_whatever_breaks_while_it_is_judged_keeps_the_package_out(job: TrainingJob) -> None:
    def broken(candidate: Path) -> None:
        package = read_package(candidate)
        write_package(candidate, replace(package.manifest, tensors={}, licence="changed"), package.tensors)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        run_training(job, Console(file=io.StringIO()), broken)
    assert not job.out.exists()
    assert read_package(job.candidate).manifest.licence == "changed"


def test_the_held_out_photos_and_the_judge_are_looked_at_before_training(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "load_encoders", lambda choice: [ColourEncoder()])
    with pytest.raises(SuiteError, match="judge"):
        Gate(job, None, parse_choice(None)).require_ready()
    monkeypatch.setattr(module, "load_text_judge", lambda base, choice, word: HalfJudge())
    Gate(job, None, parse_choice(None)).require_ready()
    with pytest.raises(VicoError):
        Gate(job, tmp_path / "absent", parse_choice(None)).require_ready()
