from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from training.augment import augment, view_latents
from vico.base import Base
from vico.pipeline import encode_pictures


def _photo() -> Image.Image:
    """A red disc left of the middle, on grey."""
    picture = Image.new("RGB", (64, 64), (120, 120, 120))
    ImageDraw.Draw(picture).ellipse((8, 20, 32, 44), fill=(220, 20, 20))
    return picture


def _red(picture: Image.Image) -> tuple[float, float]:
    """Share of red pixels, and how far to the right their middle is."""
    pixels = np.asarray(picture).astype(int)
    red = pixels[..., 0] - pixels[..., 1] > 80
    return float(red.mean()), float(np.nonzero(red)[1].mean())


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_view_shows_the_same_thing_at_about_its_place(seed: int) -> None:
    before, after = _red(_photo()), _red(augment(_photo(), np.random.default_rng(seed)))
    assert 0.6 < after[0] / before[0] < 1.5
    assert abs(after[1] - before[1]) < 12


def test_edges_go_on_where_the_picture_ends() -> None:
    for seed in range(20):
        pixels = np.asarray(augment(_photo(), np.random.default_rng(seed))).astype(int)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.min() > 90, "no black frame"


def test_only_on_request_is_anything_mirrored() -> None:
    def sides(flip: bool) -> set[bool]:
        views = [augment(_photo(), np.random.default_rng(seed), flip=flip) for seed in range(12)]
        return {_red(view)[1] > 32 for view in views}

    assert sides(flip=False) == {False}
    assert sides(flip=True) == {False, True}


def test_views_are_functions_of_the_seed_and_begin_with_the_photo(tiny_base: Base) -> None:
    photos = [_photo().resize((32, 32)), Image.new("RGB", (32, 32), "blue")]
    one, again, other = (view_latents(tiny_base, photos, 2, flip=False, seed=s) for s in (0, 0, 1))
    assert one.shape == (2, 3, 4, 16, 16)
    assert torch.equal(one, again)
    assert torch.equal(one[0, 0], encode_pictures(tiny_base, photos[:1])[0])
    assert not torch.equal(one[:, 1:], other[:, 1:])
    assert not torch.equal(one[0, 1], one[0, 2])


@pytest.mark.parametrize("side", [32, 63])
def test_a_view_has_the_pictures_size(side: int) -> None:
    assert augment(Image.new("RGB", (side, side)), np.random.default_rng(0)).size == (side, side)
