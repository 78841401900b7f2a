"""What a training run was asked for, and what it works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from training.photos import Photo
from training.recipe import Recipe
from training.trainer import Trainer
from vico.base import Base
from vico.loaded_concept import LoadedConcept

Precision = Literal["no", "bf16"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainingJob:
    """What `vico train` was asked for."""

    base: Path
    photos: Path
    init_word: str
    out: Path  # the concept package
    recipe: Recipe
    concept_id: str
    placeholder: str = "*"
    seed: int = 0
    resume: bool = False
    device: Device = "auto"
    mixed_precision: Precision = "no"
    licence: str = ""

    @property
    def work_folder(self) -> Path:
        """Checkpoints and validation pictures, beside the package."""
        return self.out.with_suffix(".train")

    @property
    def candidate(self) -> Path:
        """The package while it is judged."""
        return self.work_folder / self.out.name

    @property
    def report(self) -> Path:
        """The report, beside the package."""
        return self.out.with_suffix(".html")


@dataclass(frozen=True, eq=False)
class Run:
    """A training run under way."""

    job: TrainingJob
    recipe: Recipe  # the job's, with the picture size settled
    base: Base
    photos: tuple[Photo, ...]
    latents: Tensor  # [P, 4, h, w] clean latents of the photos
    trainer: Trainer

    def concept(self, references: Tensor) -> LoadedConcept:
        """The concept as it stands, with references [R, 4, h, w]."""
        recipe = self.recipe
        return self.trainer.model.concept(
            self.job.placeholder, references, recipe.reference_context, recipe.negative_image_guidance
        )
