"""Pictures by every candidate from the same noise, beside those of the best one, and the time they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, median
from typing import Any

import numpy as np
from PIL import Image

from training.evaluation.draw import Drawn
from training.evaluation.encoder import Encoder
from training.evaluation.maker import fill
from training.evaluation.scorer import TextJudge
from training.evaluation.suite import Prompt
from vico.base import Base
from vico.loaded_concept import LoadedConcept
from vico.pipeline import PictureRequest, generate
from vico.sampling import PRESETS, GuidanceInterval, Preset

REFERENCE = "quality"
CANDIDATES: Mapping[str, Preset] = {
    **PRESETS,
    "unipc 12": Preset("unipc", 12),
    "unipc 10": Preset("unipc", 10),
    "unipc 8": Preset("unipc", 8),
    "unipc 8, guided above 1": Preset("unipc", 8, GuidanceInterval(low=1.0)),
    "quality, guided above 0.5": Preset("dpmpp_2m", 25, GuidanceInterval(low=0.5)),
    "quality, guided above 1": Preset("dpmpp_2m", 25, GuidanceInterval(low=1.0)),
    "quality, guided 0.3 to 5.4": Preset("dpmpp_2m", 25, GuidanceInterval(0.3, 5.4)),
}
"""The presets, and what they were chosen from. The first is what the others are held against."""

Clock = Callable[[], float]


@dataclass
class Tally:
    """What is known of one candidate."""

    distances: list[float] = field(default_factory=list)
    """Per picture, 1 - cosine of its features and those of the reference candidate's picture from the same noise."""
    texts: list[float] = field(default_factory=list)
    identities: list[float] = field(default_factory=list)
    time_ratios: list[float] = field(default_factory=list)
    """Per prompt, CPU time over the reference candidate's, measured in the same turn."""

    def to_json(self) -> dict[str, Any]:
        """As the result file holds it."""
        figures = {"distance": self.distances, "text": self.texts, "identity": self.identities}
        return {
            **{name: mean(values) for name, values in figures.items() if values},
            "time_over_reference": {
                "value": median(self.time_ratios),
                "spread": [min(self.time_ratios), max(self.time_ratios)],
                "samples": self.time_ratios,
            },
            "pictures": len(self.distances),
        }


@dataclass(frozen=True)
class Subject:
    """Of what the pictures are."""

    word: str  # stands in the prompt where the suite has {}
    concept: LoadedConcept | None = None
    photos: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class Judges:
    """What looks at the pictures."""

    encoder: Encoder
    text: TextJudge | None = None


def measure_prompt(
    base: Base,
    subject: Subject,
    prompt: Prompt,
    request: PictureRequest,
    judges: Judges,
    tallies: dict[str, Tally],
    clock: Clock = time.process_time,
) -> None:
    """One turn: every candidate draws `prompt` with the noise of `request`; adds to `tallies`."""
    drawn: dict[str, list[Image.Image]] = {}
    seconds: dict[str, float] = {}
    for name, preset in CANDIDATES.items():
        start = clock()
        drawn[name] = generate(base, asked(request, preset, fill(prompt.template, subject.word)), subject.concept)
        seconds[name] = clock() - start
    features = {name: judges.encoder.encode(pictures) for name, pictures in drawn.items()}
    photos = judges.encoder.encode(subject.photos) if subject.photos else None
    for name, pictures in drawn.items():
        tally = tallies.setdefault(name, Tally())
        tally.distances += cosine_distances(features[name], features[REFERENCE])
        tally.time_ratios.append(seconds[name] / max(seconds[REFERENCE], 1e-9))
        if judges.text is not None:
            tally.texts += judges.text.judge([Drawn(prompt, k, picture) for k, picture in enumerate(pictures)]).tolist()
        if photos is not None:
            tally.identities += (features[name] @ photos.T).mean(axis=1).tolist()


def asked(request: PictureRequest, preset: Preset, prompt: str) -> PictureRequest:
    """The request with a preset's choices."""
    return replace(
        request,
        prompt=prompt,
        steps=preset.steps,
        sampler=preset.sampler,
        guidance_interval=preset.guidance_interval,
    )


def cosine_distances(rows: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> list[float]:
    """1 - cosine, row by row; rows have length 1."""
    distances: list[float] = (1 - (rows * others).sum(axis=1)).tolist()
    return distances


def rows_asked(preset: Preset, noise_levels: Sequence[float]) -> int:
    """Rows of the denoiser that one picture of a preset costs, with guidance."""
    interval = preset.guidance_interval
    return sum(2 if interval.low < level <= interval.high else 1 for level in noise_levels)
