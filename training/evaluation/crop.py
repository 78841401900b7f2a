"""Where the thing is: one way for real photos, the floor's pictures and every method's.

The plain base itself says it: the picture's clean latent runs through its reference stream with the prompt
"a photo of a <init word>", and the text attention to the init word is the map (ViCo, arXiv 2306.00971, section 3.3,
uses the same attention as its mask). No method's own weights take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from scipy import ndimage
from torch import Tensor

from training.evaluation.maker import fill
from vico.base import Base
from vico.mask import reference_mask
from vico.pipeline import encode_pictures
from vico.streams import reference_features
from vico.text import encode_prompts, tokenize_prompts

TIMESTEPS = (0.1, 0.3, 0.5)
"""Parts of the schedule whose attention is averaged: one alone misses parts of some things."""
MIN_GRID = 8
"""Sites with fewer tokens a side are left out where finer ones exist: on the toy base they do not find the thing."""
MARGIN = 0.06
"""Of the picture's side, on every side of the box."""
_BATCH = 16

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom excluded."""


@dataclass(frozen=True)
class Cropper:
    """Finds and cuts out the thing that a word of the plain base names."""

    base: Base

    def boxes(self, pictures: Sequence[Image.Image], word: str) -> list[Box]:
        """One square box per RGB picture; pictures of other sizes are shown to the base at its own."""
        maps = self.attention(pictures, word)
        return [object_box(grid, picture.size) for grid, picture in zip(maps, pictures, strict=True)]

    def crops(self, pictures: Sequence[Image.Image], word: str) -> list[Image.Image]:
        """The boxes' contents."""
        if not pictures:
            return []
        return [picture.crop(box) for picture, box in zip(pictures, self.boxes(pictures, word), strict=True)]

    @torch.no_grad()
    def attention(self, pictures: Sequence[Image.Image], word: str) -> npt.NDArray[np.float32]:
        """Text attention to `word`, mean over sites and timesteps: [N, g, g] on the finest site's grid, 0 to 1."""
        size = self.base.default_size
        same = [picture.resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
        parts = [self._attention(same[i : i + _BATCH], word) for i in range(0, len(same), _BATCH)]
        maps: npt.NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
        return maps

    def _attention(self, pictures: Sequence[Image.Image], word: str) -> Tensor:
        latent = encode_pictures(self.base, pictures)
        prompt = fill("a photo of a {}", word)
        context = encode_prompts(self.base.text_encoder, tokenize_prompts(self.base, [prompt]).input_ids)
        # the last token of the word: after it, the text encoder's causal attention has read all of it
        position = len(self.base.encode_text(prompt))
        rows = len(pictures)
        maps = []
        for part in TIMESTEPS:
            timestep = int(part * self.base.schedule.num_train_timesteps)
            found = reference_features(
                self.base.unet,
                self.base.sites,
                latent,
                torch.full((rows,), timestep, device=self.base.device),
                context.expand(rows, -1, -1),
                torch.full((rows,), position, device=self.base.device),
            )
            maps += [_grid(site.placeholder_attention) for site in found]
        return mean_map(maps)


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Maps [N, g_i, g_i] of several sites → their mean [N, g, g] on the finest grid, each scaled to 0..1 first."""
    finest = max(grid.shape[-1] for grid in maps)
    chosen = [grid for grid in maps if grid.shape[-1] >= min(MIN_GRID, finest)]
    scaled = [
        F.interpolate(_scaled(grid)[:, None], size=(finest, finest), mode="bilinear", align_corners=False)[:, 0]
        for grid in chosen
    ]
    return _scaled(torch.stack(scaled).mean(dim=0))


def object_box(attention: npt.NDArray[np.float32], size: tuple[int, int]) -> Box:
    """The square around the largest connected patch of a map [g, g], in pixels of a picture of `size` (w, h).

    The map is smoothed and cut at Otsu's threshold; a map without contrast gives the whole picture.
    """
    smooth = ndimage.gaussian_filter(attention.astype(np.float32), sigma=attention.shape[0] / 20)
    kept = reference_mask(torch.from_numpy(smooth).reshape(1, -1)).numpy().reshape(smooth.shape)
    pieces, count = ndimage.label(kept, structure=np.ones((3, 3)))
    if count == 0:
        return (0, 0, *size)
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    rows, columns = ndimage.find_objects(pieces)[largest - 1]
    scale = np.array(size) / attention.shape[::-1]
    low = np.array([columns.start, rows.start]) * scale
    high = np.array([columns.stop, rows.stop]) * scale
    return _square(low, high, size)


def _square(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], size: tuple[int, int]) -> Box:
    """A square around a box with the margin, moved inside the picture where it stands over its border."""
    side = round(min(float((high - low).max()) + 2 * MARGIN * min(size), min(size)))
    corner = np.clip(np.round((low + high - side) / 2), 0, np.array(size) - side).astype(int)
    return int(corner[0]), int(corner[1]), int(corner[0]) + side, int(corner[1]) + side


def _grid(attention: Tensor) -> Tensor:
    """[N, g²] → [N, g, g]; the pictures are square."""
    return rearrange(attention, "n (h w) -> n h w", h=round(attention.shape[1] ** 0.5))


def _scaled(grid: Tensor) -> Tensor:
    low, high = grid.amin(dim=(1, 2), keepdim=True), grid.amax(dim=(1, 2), keepdim=True)
    return (grid - low) / (high - low).clamp(min=1e-12)
