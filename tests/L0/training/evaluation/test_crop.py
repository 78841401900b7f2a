from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.evaluation import disc
from training.evaluation.crop import Box, Cropper, mean_map, object_box
from training.evaluation.features import CachedCropper
from vico.base import Base


def square_map(top: int, left: int, side: int, grid: int = 16) -> np.ndarray:  # type: ignore[type-arg]
    attention = np.zeros((grid, grid), dtype=np.float32)
    attention[top : top + side, left : left + side] = 1
    return attention


@given(st.integers(0, 10), st.integers(0, 10), st.integers(4, 6))
def test_box_holds_the_patch_inside_the_picture(top: int, left: int, side: int) -> None:
    x0, y0, x1, y1 = object_box(square_map(top, left, side), (64, 64))
    assert 0 <= x0 < x1 <= 64
    assert 0 <= y0 < y1 <= 64
    assert x1 - x0 == y1 - y0
    assert x0 <= left * 4
    assert y0 <= top * 4
    assert x1 >= (left + side) * 4
    assert y1 >= (top + side) * 4
    assert x1 - x0 <= (side + 6) * 4


def test_largest_patch_wins() -> None:
    attention = square_map(1, 1, 6) + square_map(13, 13, 2)
    assert object_box(attention, (64, 64)) == object_box(square_map(1, 1, 6), (64, 64))


def test_map_without_contrast_gives_the_whole_picture() -> None:
    assert object_box(np.full((16, 16), 0.5, dtype=np.float32), (64, 64)) == (0, 0, 64, 64)


def test_box_follows_the_size_of_the_picture() -> None:
    small, large = (object_box(square_map(4, 4, 6), (side, side)) for side in (64, 128))
    assert np.abs(np.array(large) - 2 * np.array(small)).max() <= 2


def test_coarse_sites_are_left_out_where_there_are_finer_ones() -> None:
    fine = torch.zeros(1, 16, 16)
    fine[0, :8] = 1
    coarse = torch.rand(1, 4, 4)
    assert torch.equal(mean_map([coarse, fine]), fine)
    assert mean_map([coarse]).shape == (1, 4, 4)


def test_attention_of_a_base(tiny_base: Base) -> None:
    pictures = [Image.new("RGB", (32, 32), "red"), Image.effect_noise((64, 64), 60).convert("RGB")]
    cropper = Cropper(tiny_base)
    maps = cropper.attention(pictures, "toy")
    assert maps.shape == (2, 16, 16)
    assert maps.min() >= 0
    assert maps.max() <= 1
    crops = cropper.crops(pictures, "toy")
    assert all(crop.width == crop.height for crop in crops)


def test_neighbours_in_a_batch_do_not_matter(tiny_base: Base) -> None:
    pictures = [Image.effect_noise((32, 32), sigma).convert("RGB") for sigma in (20, 60)]
    cropper = Cropper(tiny_base)
    together = cropper.attention(pictures, "toy")
    alone = np.concatenate([cropper.attention([picture], "toy") for picture in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_picture_is_searched_once_for_a_word(tiny_base: Base) -> None:
    class Counting(Cropper):
        seen = 0

        def boxes(self, pictures: Sequence[Image.Image], word: str) -> list[Box]:
            Counting.seen += len(pictures)
            return super().boxes(pictures, word)

    one, other = (disc(colour, (200, 200, 200)) for colour in ((220, 20, 20), (20, 20, 220)))
    cropper = CachedCropper(Counting(tiny_base))
    first = cropper.crops([one, other, one], "toy")
    assert Counting.seen == 2
    assert [crop.tobytes() for crop in first] == [
        c.tobytes() for c in Cropper(tiny_base).crops([one, other, one], "toy")
    ]
    cropper.crops([other], "toy")
    assert Counting.seen == 2
    cropper.crops([other], "dog")
    assert Counting.seen == 3
    assert cropper.crops([], "toy") == []
