"""Scores drawn suites: identity beside floor and ceiling, retrieval, text, diversity, copying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.evaluation.draw import Drawn
from training.evaluation.subject import Subject
from vico.base import Base


class Encoder(Protocol):
    """Pictures to features in which the same thing is near to itself."""

    @property
    def name(self) -> str:
        """What it is, as tables say it."""

    def encode(self, pictures: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """RGB pictures of any size → [N, D], rows of length 1."""


class TextJudge(Protocol):
    """Does a picture show what its prompt asked for?"""

    @property
    def name(self) -> str:
        """What it is, as tables say it."""

    def judge(self, drawn: Sequence[Drawn]) -> npt.NDArray[np.float32]:
        """One figure in 0..1 per picture, [N]."""


@dataclass(frozen=True)
class Scores:
    """The figures of one subject; mappings are by the encoder's name."""

    identity: Mapping[str, float]
    identity_crop: Mapping[str, float]
    floor: Mapping[str, float]
    floor_crop: Mapping[str, float]
    ceiling: Mapping[str, float]
    ceiling_crop: Mapping[str, float]
    retrieval_map: Mapping[str, float]
    retrieval_top1: Mapping[str, float]
    text: float
    text_by_family: Mapping[str, float]
    diversity: float
    copying: float

    def closed_share(self, encoder: str) -> float:
        """Share of the way from floor to ceiling that the object crops cover: 0 = floor, 1 = ceiling."""
        gap = self.ceiling_crop[encoder] - self.floor_crop[encoder]
        return (self.identity_crop[encoder] - self.floor_crop[encoder]) / gap if gap else float("nan")


class Scorer:
    """Scores the pictures of one subject after another against one gallery.

    `subjects` are all whose held-out views form the gallery of the retrieval; `look_alikes` are further pictures of
    the same kinds of things, by init word.
    """

    def __init__(
        self,
        base: Base,
        subjects: Sequence[Subject],
        encoders: Sequence[Encoder],
        text_judge: TextJudge,
        look_alikes: Mapping[str, Sequence[Image.Image]] | None = None,
    ) -> None:
        raise NotImplementedError

    def score(self, subject: Subject, drawn: Sequence[Drawn], floor_drawn: Sequence[Drawn]) -> Scores:
        """The figures of `subject`: `drawn` by the method, `floor_drawn` the init word from the plain base."""
        raise NotImplementedError
