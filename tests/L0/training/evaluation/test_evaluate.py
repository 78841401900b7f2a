"""The whole of an evaluation on a base with random weights and fake encoders, and the refusals of its command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.concepts import make_concept
from tests.helpers.evaluation import ColourEncoder, HalfJudge
from tests.helpers.photos import make_photos
from training.errors import TrainingError
from training.evaluation import evaluate as module
from training.evaluation.chosen import parse_choice
from training.evaluation.encoder import EncoderError
from training.evaluation.evaluate import EvaluationJob, load_gallery, run_evaluation
from training.evaluation.gate import GateError
from training.evaluation.maker import plain_maker
from training.evaluation.page import figures, table
from training.evaluation.subject import SubjectError
from training.evaluation.suite import Suite, SuiteError
from training.evaluation.text import load_toy_judge
from vico.base import Base
from vico.concept import read_package
from vico.errors import VicoError


@pytest.fixture
def job(tmp_path: Path, tiny_base: Base, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> EvaluationJob:
    monkeypatch.setattr(module, "load_base", lambda path, device: tiny_base)
    monkeypatch.setattr(module, "load_encoders", lambda choice: [ColourEncoder()])
    monkeypatch.setattr(module, "load_text_judge", lambda base, choice, word: HalfJudge())
    concept = make_concept(
        tmp_path,
        sites=tiny_base.site_specs,
        base=tiny_base.digest,
        width=tiny_base.context_width,
        latent=16,
    )
    return EvaluationJob(
        base=tiny_base.path,
        concept=concept,
        photos=make_photos(tmp_path / "photos", 2),
        held_out=make_photos(tmp_path / "held-out", 2),
        suite=suite,
        choice=parse_choice(None),
        out=tmp_path / "out",
    )


def test_end_to_end(job: EvaluationJob) -> None:
    before = read_package(job.concept)
    seen: list[object] = []
    evaluation = run_evaluation(job, seen.append)
    assert len(seen) == 2 * evaluation.pictures == 8
    written = json.loads((job.out / "scores.json").read_text())
    assert written == json.loads(json.dumps(figures(evaluation)))
    assert (job.out / "scores.md").read_text() == table(evaluation)
    page = (job.out / "pictures.html").read_text()
    # training photos, held-out ones, pictures, crops, floor; nothing from elsewhere
    assert page.count("<img") == page.count("data:image/png") == 2 + 2 + 3 * 4
    assert "http" not in page
    after = read_package(job.concept)
    assert after.digest != before.digest
    assert after.manifest.evaluation["quality"] == written
    assert replace(after.manifest, evaluation={}) == replace(before.manifest, evaluation={})
    assert sorted(path.name for path in job.out.iterdir()) == ["pictures.html", "scores.json", "scores.md"]


def test_the_gate_leaves_the_package_alone(job: EvaluationJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "concept_maker", lambda base, concept, settings: plain_maker(base, "toy", settings))
    before = job.concept.read_bytes()
    with pytest.raises(GateError):
        run_evaluation(replace(job, gate=True))
    assert job.concept.read_bytes() == before
    assert (job.out / "scores.json").is_file()


def test_gallery_by_id_by_folder_and_plain(job: EvaluationJob, tmp_path: Path) -> None:
    for name in ("toy", "cup"):
        make_photos(tmp_path / "index" / name / "train", 2)
    entries = [
        {"id": name, "init_word": "dog", "train": ["train/0.png", "train/1.png"], "heldout": []}
        for name in ("toy", "cup")
    ]
    (tmp_path / "index" / "concepts.json").write_text(json.dumps(entries))
    assert load_gallery("toy", "dog", tmp_path / "index", None, 32).subject.id == "toy"
    assert load_gallery("toy", "dog", tmp_path / "index" / "cup", None, 32).subject.id == "cup"
    assert len(load_gallery("toy", "dog", job.photos, job.held_out, 32).subjects) == 1
    with pytest.raises(SubjectError, match="toy, cup"):
        load_gallery("other", "dog", tmp_path / "index", None, 32)


@pytest.mark.parametrize("text", ["", "resnet", "clip", "clip=", "dinov2-saliency=x", "clip=a,clip=b"])
def test_encoders_that_are_refused(text: str) -> None:
    with pytest.raises(EncoderError) as refused:
        parse_choice(text)
    assert refused.value.field == "encoders"


def test_encoders_that_are_read() -> None:
    choice = parse_choice("dinov2-saliency, clip=a/b")
    assert (choice.plain, dict(choice.folders)) == (("dinov2-saliency",), {"clip": Path("a/b")})


def test_a_base_without_judge(tiny_base: Base) -> None:
    with pytest.raises(SuiteError, match=r"judge\.safetensors"):
        load_toy_judge(tiny_base.path)


def test_an_absent_package(job: EvaluationJob) -> None:
    with pytest.raises(TrainingError, match="concept"):
        run_evaluation(replace(job, concept=job.concept.with_name("absent.safetensors")))


@pytest.mark.parametrize(
    ("suite", "encoders", "field"), [("nothing", None, "suite"), ("toy", "resnet", "encoders"), (None, "", "encoders")]
)
def test_command_refuses_by_field(tmp_path: Path, suite: str | None, encoders: str | None, field: str) -> None:
    from training.evaluation.cli import evaluate

    with pytest.raises(VicoError) as refused:
        evaluate(tmp_path, tmp_path / "c.safetensors", tmp_path, tmp_path, suite=suite, encoders=encoders)
    assert refused.value.field == field
