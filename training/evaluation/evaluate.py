"""One evaluation from a concept package to its figures: draw, score, write, and into the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.errors import TrainingError
from training.evaluation.chosen import Choice, load_encoders, load_text_judge
from training.evaluation.crop import Cropper
from training.evaluation.draw import Drawn, draw_suite
from training.evaluation.encoder import Encoder
from training.evaluation.gate import gate
from training.evaluation.maker import concept_maker, plain_maker
from training.evaluation.page import Evaluation, figures, write_evaluation
from training.evaluation.scorer import Scorer, TextJudge
from training.evaluation.subject import (
    INDEX,
    Subject,
    SubjectError,
    load_look_alikes,
    load_subjects,
    plain_subject,
)
from training.evaluation.suite import Suite
from vico.base import Base, load_base
from vico.concept import ConceptPackage, read_package, write_package
from vico.loaded_concept import load_concept


@dataclass(frozen=True)
class EvaluationJob:
    """What `vico evaluate` was asked for."""

    base: Path
    concept: Path
    photos: Path
    held_out: Path | None
    suite: Suite
    choice: Choice
    out: Path
    gate: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Gallery:
    """The subject under evaluation among all whose held-out views it is ranked with."""

    subject: Subject
    subjects: tuple[Subject, ...]
    folder: Path | None  # of the index, where there is one


def run_evaluation(job: EvaluationJob, on_picture: Callable[[Drawn], None] | None = None) -> Evaluation:
    """Draw, score, write into `job.out`; then the gate if asked; then the figures into the package.

    Raises:
        VicoError: whatever was refused, by field.
        GateError: identity does not beat the floor; the files in `out` are there, the package is as it was.
    """
    package = _read(job.concept)
    base = load_base(job.base, job.device)
    gallery = load_gallery(package.manifest.id, package.manifest.init_word, job.photos, job.held_out, base.default_size)
    encoders = load_encoders(job.choice)
    judge = load_text_judge(base, job.choice, gallery.subject.init_word)
    evaluation = evaluate_package(base, package, gallery, job.suite, encoders, judge, job.out, on_picture)
    if job.gate:
        gate(evaluation.scores)
    write_into_package(job.concept, package, evaluation)
    return evaluation


def _read(path: Path) -> ConceptPackage:
    try:
        return read_package(path)
    except (FileNotFoundError, IsADirectoryError):
        raise TrainingError("concept", f"there is no file {path}", "a concept package, <id>.safetensors") from None


def evaluate_package(
    base: Base,
    package: ConceptPackage,
    gallery: Gallery,
    suite: Suite,
    encoders: Sequence[Encoder],
    judge: TextJudge,
    out: Path,
    on_picture: Callable[[Drawn], None] | None = None,
) -> Evaluation:
    """Draw the concept and the floor, score them, write the three files into `out`."""
    subject, look_alikes = gallery.subject, load_look_alikes(gallery.folder)
    drawn = draw_suite(concept_maker(base, load_concept(base, package), suite.settings), suite, on_picture)
    floor_drawn = draw_suite(plain_maker(base, subject.init_word, suite.settings), suite, on_picture)
    scorer = Scorer(base, gallery.subjects, encoders, judge, look_alikes)
    scores = scorer.score(subject, drawn, floor_drawn)
    alike = len(look_alikes.get(subject.init_word, ()))
    evaluation = Evaluation(
        concept=package.manifest.id,
        suite=suite.name,
        facts={
            "base": f"{base.name} ({base.digest[:12]})",
            "concept digest": package.digest[:12],
            "init word (floor)": subject.init_word,
            "photos": f"{len(subject.train)} trained on, {len(subject.held_out)} held out"
            + ("" if subject.held_out else ": identity is measured against the photos trained on"),
            "gallery": f"held-out photos of {len(gallery.subjects)} things, {alike} look-alikes",
            "prompts and seeds": f"{len(suite.prompts)} x {len(suite.seeds)}",
            "sampler": f"{suite.settings.sampler}, {suite.settings.steps} steps,"
            f" guidance {suite.settings.guidance_scale:g}, image guidance {suite.settings.image_guidance:g}",
            "text judge": judge.name,
        },
        scores=scores,
        pictures=len(drawn),
    )
    crops = Cropper(base).crops([one.picture for one in drawn], subject.init_word)
    write_evaluation(out, evaluation, subject, drawn, floor_drawn, crops)
    return evaluation


def load_gallery(concept_id: str, init_word: str, photos: Path, held_out: Path | None, size: int) -> Gallery:
    """What `--photos` and `--held-out` name.

    `photos` is a folder with an index (the concept's id says which subject), one subject's folder beside an index, or
    a plain folder of photos.

    Raises:
        SubjectError: the index does not know the concept.
        PhotoError: a folder or photo that cannot be used.
    """
    for folder, subject_id in ((photos, concept_id), (photos.resolve().parent, photos.resolve().name)):
        if held_out is None and (folder / INDEX).is_file():
            subjects = load_subjects(folder, size)
            for subject in subjects:
                if subject.id == subject_id:
                    return Gallery(subject, subjects, folder)
            known = ", ".join(subject.id for subject in subjects)
            raise SubjectError("photos", f"{INDEX} does not know {subject_id!r}", f"{known}, or --held-out as well")
    subject = plain_subject(concept_id, init_word, photos, held_out, size)
    return Gallery(subject, (subject,), None)


def write_into_package(path: Path, package: ConceptPackage, evaluation: Evaluation) -> str:
    """Write the figures into the package's manifest, atomically; returns its new digest."""
    manifest = replace(
        package.manifest,
        tensors={},
        evaluation={**package.manifest.evaluation, "quality": figures(evaluation)},
    )
    return write_package(path, manifest, package.tensors)
