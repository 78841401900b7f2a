"""Draws a suite: every prompt with every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from training.evaluation.maker import PictureMaker
from training.evaluation.suite import Prompt, Suite


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture and what it was asked to be."""

    prompt: Prompt
    seed: int
    picture: Image.Image  # RGB


def draw_suite(
    maker: PictureMaker, suite: Suite, on_picture: Callable[[Drawn], None] | None = None
) -> tuple[Drawn, ...]:
    """Every prompt with every seed, prompts first; one call of `maker` per prompt, with all seeds.

    `on_picture` is called for each picture as soon as it is there.
    """
    drawn: list[Drawn] = []
    for prompt in suite.prompts:
        for seed, picture in zip(suite.seeds, maker(prompt.template, suite.seeds), strict=True):
            drawn.append(Drawn(prompt, seed, picture.convert("RGB")))
            if on_picture is not None:
                on_picture(drawn[-1])
    return tuple(drawn)
