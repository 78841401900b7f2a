from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from training.evaluation.draw import Drawn, draw_suite
from training.evaluation.maker import SamplingSettings, fill, plain_maker
from training.evaluation.suite import Suite
from vico.base import Base

SETTINGS = SamplingSettings("ddim", 2, 2.0)


@pytest.mark.parametrize(
    ("template", "name", "prompt"),
    [
        ("a photo of a {}", "*", "a photo of a *"),
        ("a photo of a {}", "* bear", "a photo of a * bear"),
        ("a photo of a {} in the snow", "airplane", "a photo of an airplane in the snow"),
        ("a photo of a red {}", "airplane", "a photo of a red airplane"),
        ("a {}", "owl", "an owl"),
    ],
)
def test_fill(template: str, name: str, prompt: str) -> None:
    assert fill(template, name) == prompt


def test_a_seed_gives_the_same_picture_whatever_it_is_asked_with(tiny_base: Base) -> None:
    maker = plain_maker(tiny_base, "toy", SETTINGS)
    alone, mixed = maker("a photo of a {}", [3]), maker("a photo of a {}", [9, 3, 0])
    difference = np.abs(np.asarray(alone[0], dtype=int) - np.asarray(mixed[1], dtype=int))
    assert len(mixed) == 3
    # batches of other sizes add in another order
    assert difference.max() <= 1
    assert np.asarray(mixed[0]).tolist() != np.asarray(mixed[1]).tolist()


def test_one_call_per_prompt_with_all_seeds(suite: Suite) -> None:
    calls: list[tuple[str, Sequence[int]]] = []

    def maker(template: str, seeds: Sequence[int]) -> list[Image.Image]:
        calls.append((template, seeds))
        return [Image.new("L", (8, 8), seed) for seed in seeds]

    seen: list[Drawn] = []
    drawn = draw_suite(maker, suite, seen.append)
    assert calls == [(prompt.template, suite.seeds) for prompt in suite.prompts]
    assert [(one.prompt, one.seed) for one in drawn] == [(p, s) for p in suite.prompts for s in suite.seeds]
    assert list(drawn) == seen
    assert all(one.picture.mode == "RGB" for one in drawn)


def test_a_maker_that_returns_too_few_pictures_is_refused(suite: Suite) -> None:
    with pytest.raises(ValueError, match="shorter"):
        draw_suite(lambda template, seeds: [Image.new("RGB", (8, 8))], suite)
