"""Further views of a photo that are still of the same thing: moved, scaled and tinted a little, perhaps mirrored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from vico.base import Base
from vico.pipeline import encode_pictures

_SCALE = (0.85, 1.15)  # of the picture's side
_SHIFT = 0.08  # of the picture's side, each way
_TINT = 0.1  # of brightness, contrast and colour, each way
_VIEW_STREAM = 2**63  # beside the steps of a run, which are numbered from 0


def view_latents(base: Base, pictures: Sequence[Image.Image], views: int, *, flip: bool, seed: int) -> Tensor:
    """Clean latents [P, 1 + views, 4, h, w] of every picture as it is, and of its further views."""
    rows = []
    for p, picture in enumerate(pictures):
        seen = [picture, *(augment(picture, _random(seed, p, v), flip=flip) for v in range(views))]
        # one at a time: a batch would round a photo's latent otherwise than the package's
        rows.append(torch.cat([encode_pictures(base, [view]) for view in seen]))
    return torch.stack(rows)


def augment(picture: Image.Image, random: np.random.Generator, *, flip: bool = False) -> Image.Image:
    """Another view of a square picture, of its size; what comes into sight continues its edges."""
    side = picture.size[0]
    width = side / random.uniform(*_SCALE)
    left, top = (side - width) / 2 + random.uniform(-_SHIFT, _SHIFT, size=2) * side
    margin = side // 2
    pixels = np.pad(np.asarray(picture), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    box = (left + margin, top + margin, left + margin + width, top + margin + width)
    view = Image.fromarray(pixels).resize(picture.size, Image.Resampling.BICUBIC, box=box)
    for tint in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = tint(view).enhance(float(random.uniform(1 - _TINT, 1 + _TINT)))
    return ImageOps.mirror(view) if flip and random.random() < 0.5 else view


def _random(seed: int, picture: int, view: int) -> np.random.Generator:
    key = np.array([seed, _VIEW_STREAM + picture * 2**16 + view], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
