"""Makers of pictures: what a method looks like to the evaluation, and to a comparison of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Annotated

from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from vico.base import Base
from vico.loaded_concept import LoadedConcept
from vico.pipeline import PictureRequest, generate

PictureMaker = Callable[[str, Sequence[int]], list[Image.Image]]
"""(prompt template with {} where the thing is named, seeds) -> one RGB picture per seed."""

GROUP = 8
"""Seed s is picture s mod 8 of the request with seed s div 8, so that the seeds 0 to 7 run as one batch."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SamplingSettings:
    """How pictures are sampled; the same for every method in a comparison."""

    sampler: str
    steps: Annotated[int, Field(ge=1)]
    guidance_scale: Annotated[float, Field(ge=1)]
    image_guidance: Annotated[float, Field(ge=0)] = 1.0


def concept_maker(
    base: Base, concept: LoadedConcept, settings: SamplingSettings, name: str | None = None
) -> PictureMaker:
    """A maker of pictures of `concept`; {} becomes its placeholder, or `name` (e.g. "* bear") where given."""
    named = concept.placeholder if name is None else name

    def make(template: str, seeds: Sequence[int]) -> list[Image.Image]:
        return _make(base, concept, settings, fill(template, named), seeds)

    return make


def plain_maker(base: Base, word: str, settings: SamplingSettings) -> PictureMaker:
    """A maker of pictures from the base alone; {} becomes the init word: the floor of identity."""

    def make(template: str, seeds: Sequence[int]) -> list[Image.Image]:
        return _make(base, None, settings, fill(template, word), seeds)

    return make


def fill(template: str, name: str) -> str:
    """The prompt: {} becomes `name`, "a" before it "an" where English wants it ("a photo of an airplane")."""
    vowel = name[:1].lower() in set("aeiou")
    return (template.replace("a {}", "an {}") if vowel and " a {}" in f" {template}" else template).format(name)


def _make(
    base: Base, concept: LoadedConcept | None, settings: SamplingSettings, prompt: str, seeds: Sequence[int]
) -> list[Image.Image]:
    made: dict[int, Image.Image] = {}
    for group, members in groupby(sorted(set(seeds)), key=lambda seed: seed // GROUP):
        places = [seed % GROUP for seed in members]
        request = PictureRequest(
            prompt,
            seed=group,
            steps=settings.steps,
            sampler=settings.sampler,
            guidance_scale=settings.guidance_scale,
            image_guidance=settings.image_guidance,
            num_images=max(places) + 1,
        )
        pictures = generate(base, request, concept)
        made |= {group * GROUP + place: pictures[place] for place in places}
    return [made[seed] for seed in seeds]
