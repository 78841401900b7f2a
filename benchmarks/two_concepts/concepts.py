"""The concepts of the pairs, each trained once and kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from training.evaluation.subject import Subject
from training.job import TrainingJob
from training.recipe import Recipe, to_dict
from training.run import run_training
from vico.base import Base
from vico.concept import read_package
from vico.loaded_concept import LoadedConcept, load_concept


@dataclass(frozen=True, eq=False)
class Trained:
    """A concept and the digest of its package."""

    loaded: LoadedConcept
    digest: str


def trained(base: Base, photos: Path, subject: Subject, recipe: Recipe, work: Path, console: Console) -> Trained:
    """The concept of a subject: read from `work` where it was trained before, by this recipe on this base.

    A training that was interrupted goes on from its last checkpoint.
    """
    out = work / f"{subject.id}-{_key(base, recipe)}.safetensors"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        job = TrainingJob(
            base=base.path,
            photos=photos / subject.id / "train",
            init_word=subject.init_word,
            out=out,
            recipe=recipe,
            concept_id=subject.id,
            resume=any(out.with_suffix(".train").glob("step-*.safetensors")),
            device="cpu",
        )
        console.print(f"training {subject.id}", highlight=False)
        run_training(job, console)
    package = read_package(out)
    return Trained(load_concept(base, package), package.digest)


def _key(base: Base, recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps([base.digest, to_dict(recipe)], sort_keys=True).encode()).hexdigest()[:12]
