"""Scores drawn suites: identity beside floor and ceiling, retrieval, text, diversity, copying."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from training.evaluation import similarity
from training.evaluation.crop import Cropper
from training.evaluation.draw import Drawn
from training.evaluation.encoder import Encoder, Features, NeedsFixedSet
from training.evaluation.features import CachedCropper, CachedEncoder, Views
from training.evaluation.subject import Subject
from vico.base import Base

__all__ = ["Encoder", "Scorer", "Scores", "TextJudge"]


class TextJudge(Protocol):
    """Does a picture show what its prompt asked for?"""

    @property
    def name(self) -> str:
        """What it is, as tables say it."""

    def judge(self, drawn: Sequence[Drawn]) -> Features:
        """One figure per picture, [N]; greater is better."""


@dataclass(frozen=True)
class Scores:
    """The figures of one subject; mappings are by the encoder's name, cosines unless said."""

    identity: Mapping[str, float]
    """Whole pictures to held-out photos, mean over all pairs."""
    identity_crop: Mapping[str, float]
    """The same between object crops."""
    floor: Mapping[str, float]
    """As identity, for pictures of the init word from the plain base, same prompts and seeds."""
    floor_crop: Mapping[str, float]
    ceiling: Mapping[str, float]
    """Held-out photos to one another; with a single one held out, to the training photos."""
    ceiling_crop: Mapping[str, float]
    retrieval_map: Mapping[str, float]
    """Mean average precision, 0..1: object crops as queries, held-out photos relevant."""
    retrieval_top1: Mapping[str, float]
    text: float
    """Mean over families of the text judge's figure."""
    text_by_family: Mapping[str, float]
    diversity: float
    """Mean 1 − cosine between pictures of one prompt (whole pictures, first encoder)."""
    copying: float
    """Share of pictures, 0..1: see `similarity.copying` (whole pictures, first encoder)."""

    def closed_share(self, encoder: str) -> float:
        """Share of the way from floor to ceiling that the object crops cover: 0 = floor, 1 = ceiling."""
        gap = self.ceiling_crop[encoder] - self.floor_crop[encoder]
        return (self.identity_crop[encoder] - self.floor_crop[encoder]) / gap if gap else float("nan")


class Scorer:
    """Scores the pictures of one subject after another against one gallery.

    `subjects` are all whose held-out views form the gallery of the retrieval; `look_alikes` are pictures of other
    things of the same kind, by init word, and join the gallery of subjects with that word. An encoder that needs a
    fixed set takes all real photos: the subjects' training and held-out ones, whole and cropped.
    """

    def __init__(
        self,
        base: Base,
        subjects: Sequence[Subject],
        encoders: Sequence[Encoder],
        text_judge: TextJudge,
        look_alikes: Mapping[str, Sequence[Image.Image]] | None = None,
    ) -> None:
        self._cropper = CachedCropper(Cropper(base))
        self._subjects = tuple(subjects)
        self._text_judge = text_judge
        self._look_alikes = dict(look_alikes or {})
        fixed = [picture for subject in subjects for picture in (*subject.train, *_targets(subject))]
        fixed += [crop for s in subjects for crop in self._crops((*s.train, *_targets(s)), s)]
        self._encoders = tuple(
            CachedEncoder(encoder.fitted(fixed) if isinstance(encoder, NeedsFixedSet) else encoder)
            for encoder in encoders
        )

    def score(self, subject: Subject, drawn: Sequence[Drawn], floor_drawn: Sequence[Drawn]) -> Scores:
        """The figures of `subject`: `drawn` by the method, `floor_drawn` the init word from the plain base."""
        made = self._views([one.picture for one in drawn], subject)
        floor = self._views([one.picture for one in floor_drawn], subject)
        held_out = self._views(_targets(subject), subject)
        train = self._views(subject.train, subject)
        found = {e.name: self._retrieve(e, made[e.name].crop, subject) for e in self._encoders}
        names = [e.name for e in self._encoders]
        first = names[0]
        by_family = self._text(drawn)
        return Scores(
            identity={n: similarity.mean_cosine(made[n].whole, held_out[n].whole) for n in names},
            identity_crop={n: similarity.mean_cosine(made[n].crop, held_out[n].crop) for n in names},
            floor={n: similarity.mean_cosine(floor[n].whole, held_out[n].whole) for n in names},
            floor_crop={n: similarity.mean_cosine(floor[n].crop, held_out[n].crop) for n in names},
            ceiling={n: _ceiling(held_out[n].whole, train[n].whole) for n in names},
            ceiling_crop={n: _ceiling(held_out[n].crop, train[n].crop) for n in names},
            retrieval_map={n: found[n].mean_average_precision for n in names},
            retrieval_top1={n: found[n].top1 for n in names},
            text=float(np.mean(list(by_family.values()))),
            text_by_family=by_family,
            diversity=similarity.diversity(made[first].whole, [one.prompt for one in drawn]),
            copying=similarity.copying(made[first].whole, train[first].whole, self._kept_back(subject)),
        )

    def _views(self, pictures: Sequence[Image.Image], subject: Subject) -> dict[str, Views]:
        crops = self._crops(pictures, subject)
        return {e.name: Views(e.encode(pictures), e.encode(crops)) for e in self._encoders}

    def _crops(self, pictures: Sequence[Image.Image], subject: Subject) -> list[Image.Image]:
        return self._cropper.crops(pictures, subject.init_word)

    def _retrieve(self, encoder: CachedEncoder, queries: Features, subject: Subject) -> similarity.Retrieval:
        """The gallery: every subject's held-out crops, then the look-alikes' of this one."""
        gallery, relevant = [], []
        others = [one for one in self._subjects if one.id != subject.id]
        for one in (subject, *others):
            crops = self._crops(_targets(one), one)
            gallery += crops
            relevant += [one.id == subject.id] * len(crops)
        alike = self._crops(self._look_alikes.get(subject.init_word, ()), subject)
        features = encoder.encode(gallery + alike)
        return similarity.retrieval(queries, features, np.array(relevant + [False] * len(alike)))

    def _kept_back(self, subject: Subject) -> Features:
        encoder = self._encoders[0]
        if subject.held_out:
            return encoder.encode(subject.held_out)
        return np.zeros((0, encoder.encode(subject.train).shape[1]), dtype=np.float32)

    def _text(self, drawn: Sequence[Drawn]) -> dict[str, float]:
        by_family: dict[str, list[float]] = defaultdict(list)
        for one, figure in zip(drawn, self._text_judge.judge(drawn), strict=True):
            by_family[one.prompt.family].append(float(figure))
        return {family: float(np.mean(figures)) for family, figures in by_family.items()}


def _targets(subject: Subject) -> tuple[Image.Image, ...]:
    """What identity is measured against: the held-out photos, or the training photos where none is held out."""
    return subject.held_out or subject.train


def _ceiling(held_out: Features, train: Features) -> float:
    if len(held_out) > 1:
        return similarity.mean_cosine_among(held_out)
    return similarity.mean_cosine(held_out, train)
