"""Draws a pair and scores both identities against their floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.two_concepts.crop import crop_both
from benchmarks.two_concepts.plan import FIRST, SECOND, Plan
from training.evaluation.crop import Cropper
from training.evaluation.encoder import Encoder
from training.evaluation.maker import fill
from training.evaluation.similarity import mean_cosine_among
from training.evaluation.subject import Subject
from vico.base import Base
from vico.loaded_concept import LoadedConcept
from vico.pipeline import PictureRequest, generate
from vico.several import generate_several


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pictures of a pair, scenes first; picture i of both is the same scene and noise."""

    ours: list[Image.Image]
    floor: list[Image.Image]  # the init words on the plain base


def draw_pair(base: Base, plan: Plan, subjects: tuple[Subject, Subject], concepts: Sequence[LoadedConcept]) -> Drawn:
    """Every scene with every seed."""
    drawn = Drawn([], [])
    words = subjects[0].init_word, subjects[1].init_word
    for scene, text in enumerate(plan.scenes):
        asked = [f"{fill('a photo of a {}', a)} {fill('next to a {}', b)} {text}" for a, b in (words, (FIRST, SECOND))]
        floor, ours = (
            PictureRequest(
                prompt,
                seed=scene,
                steps=plan.settings.steps,
                sampler=plan.settings.sampler,
                guidance_scale=plan.settings.guidance_scale,
                image_guidance=plan.settings.image_guidance,
                num_images=plan.seeds,
            )
            for prompt in asked
        )
        drawn.ours.extend(generate_several(base, ours, dict(zip((FIRST, SECOND), concepts, strict=True))))
        drawn.floor.extend(generate(base, floor))
    return drawn


def score_pair(base: Base, encoder: Encoder, subjects: tuple[Subject, Subject], drawn: Drawn) -> dict[str, Any]:
    """The record of a pair: for each concept its identity, floor, ceiling, and their paired difference."""
    words = subjects[0].init_word, subjects[1].init_word
    ours, floor = crop_both(base, drawn.ours, words), crop_both(base, drawn.floor, words)
    sides = [_side(base, encoder, subject, ours[i], floor[i]) for i, subject in enumerate(subjects)]
    return {"concepts": sides, "pictures": len(drawn.ours), "both_above": all(side["above"] for side in sides)}


def _side(
    base: Base, encoder: Encoder, subject: Subject, ours: Sequence[Image.Image], floor: Sequence[Image.Image]
) -> dict[str, Any]:
    targets = encoder.encode(Cropper(base).crops(subject.held_out, subject.init_word))
    identity, bottom = ((encoder.encode(crops) @ targets.T).mean(axis=1) for crops in (ours, floor))
    gain = identity - bottom
    return {
        "concept": subject.id,
        "init_word": subject.init_word,
        "identity": round(float(identity.mean()), 4),
        "floor": round(float(bottom.mean()), 4),
        "ceiling": round(mean_cosine_among(targets), 4),
        "gain": round(float(gain.mean()), 4),
        "gain_standard_error": round(float(gain.std(ddof=1) / np.sqrt(len(gain))), 4) if len(gain) > 1 else None,
        "above": bool(gain.mean() > 0),
    }


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many pairs have both identities above their floors."""
    sides = [side for record in records for side in record["concepts"]]
    return {
        "pairs": len(records),
        "pairs_with_both_above": sum(record["both_above"] for record in records),
        "concepts_above": sum(side["above"] for side in sides),
        "mean_gain": round(float(np.mean([side["gain"] for side in sides])), 4) if sides else None,
    }
