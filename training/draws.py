"""The random choices of a step: photos, references, timesteps, rows that go without something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# ReVersion (Huang et al. 2023, arXiv 2303.13495, equation 7): p(t) ∝ 1 − α cos(π t / T)
_HIGH_NOISE = 0.5


@dataclass(frozen=True)
class Draws:
    """How to choose; the defaults are the published method. The fields are those of `training.recipe.Recipe`."""

    train_references: int = 1
    timestep: Literal["uniform", "stratified", "high_noise"] = "uniform"
    caption_drop: float = 0.0
    image_dropout: float = 0.0
    scene_captions: float = 0.0

    def pairs(self, random: np.random.Generator, photos: int, rows: int) -> tuple[Rows, Rows]:
        """Targets [B] and references [B, K] of a batch, K = min(train_references, photos − 1).

        A row never holds the same photo twice, unless there is only one: then it is its own reference.
        """
        targets = random.integers(photos, size=rows)
        if photos == 1:
            return targets, targets[:, None]
        wanted = min(self.train_references, photos - 1)
        if wanted == 1:
            away = random.integers(1, photos, size=rows)[:, None]
        else:
            away = np.stack([1 + random.permutation(photos - 1)[:wanted] for _ in range(rows)])
        return targets, (targets[:, None] + away) % photos

    def timesteps(self, random: np.random.Generator, count: int, rows: int) -> Rows:
        """[B] of 0 … count − 1."""
        if self.timestep == "uniform":
            return random.integers(count, size=rows)
        if self.timestep == "stratified":
            places = (random.permutation(rows) + random.random(rows)) / rows
            return (places * count).astype(np.int64)
        share = 1 - _HIGH_NOISE * np.cos(np.pi * np.arange(count) / count)
        return random.choice(count, size=rows, p=share / share.sum())

    def dropped(self, random: np.random.Generator, rows: int) -> tuple[Flags | None, Flags | None]:
        """Which rows [B] lose their caption, and which the image attention; None where none can."""
        caption = random.random(rows) < self.caption_drop if self.caption_drop else None
        image = random.random(rows) < self.image_dropout if self.image_dropout else None
        return caption, image

    def scenes(self, random: np.random.Generator, templates: int, rows: int) -> list[int | None]:
        """Which scene caption, of so many, a row has in place of its own; None where it keeps that. Draws last."""
        if not self.scene_captions:
            return [None] * rows
        chosen = random.random(rows) < self.scene_captions
        numbers = random.integers(templates, size=rows)
        return [int(number) if named else None for named, number in zip(chosen, numbers, strict=True)]


PUBLISHED = Draws()


def other_views(
    random: np.random.Generator, views: int, rows: int, references: Rows, targets: Rows
) -> tuple[Rows, Rows]:
    """A view [B] of every target and one [B, K] of its references, each 0 … views − 1 with 0 the photo as it is.

    References are seen as they are, for so they are in inference; a photo that is its own reference shows itself
    another view of it.
    """
    target = random.integers(views, size=rows)
    another = (target + random.integers(1, views, size=rows)) % views
    return target, np.where(references == targets[:, None], another[:, None], 0)
