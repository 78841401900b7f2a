from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluation.draw import Drawn
from training.evaluation.suite import Prompt, SuiteError
from training.evaluation.text import ToyTextJudge, load_toy_judge
from training.toy.effects import STYLE_FILTERS

ASSETS = Path(__file__).parents[4] / "assets"


@pytest.fixture(scope="module")
def judge() -> ToyTextJudge:
    return load_toy_judge(ASSETS / "toy-base")


def picture(word: str, k: int = 0) -> Image.Image:
    return Image.open(ASSETS / "photos" / "look-alikes" / word / f"{k}.png").convert("RGB")


def asked(family: str, expect: str, shown: Image.Image) -> Drawn:
    return Drawn(Prompt(family, "a photo of a {}", expect), 0, shown)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", ["gray", "sketch", "watercolor"])
def test_styles_are_told_from_none_and_from_one_another(judge: ToyTextJudge, style: str) -> None:
    shown = picture("airplane")
    drawn = [asked("restyle", style, STYLE_FILTERS[other](shown)) for other in ("gray", "sketch", "watercolor")]
    said = judge.judge([*drawn, asked("restyle", style, shown)])
    assert said.tolist() == [float(other == style) for other in ("gray", "sketch", "watercolor", "none")]


def test_another_object_is_found_only_where_it_is(judge: ToyTextJudge) -> None:
    words = ["airplane", "dice", "house"]
    said = [
        [float(judge.judge([asked("with another object", word, picture(shown))])[0]) for shown in words]
        for word in words
    ]
    assert np.array_equal(said, np.eye(3))


def test_an_expectation_the_world_does_not_have_is_refused(judge: ToyTextJudge) -> None:
    with pytest.raises(SuiteError, match="expect"):
        judge.judge([asked("recontextualise", "moon", picture("dice"))])
