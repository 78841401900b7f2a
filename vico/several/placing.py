"""Where each of several concepts acts: the picture's own text attention to their placeholders decides.

A site's image attention adds to every token of the picture. Of several concepts each may add only where the picture is
being made into it, which is what the text attention to its placeholder says (Source of the map: ViCo, arXiv 2306.00971,
section 3.3, which reads it in the reference stream; here it is read in the picture's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from vico.attention import block_with_columns
from vico.base import Base
from vico.sites import Site
from vico.unet import walk_to_last_site

MIN_GRID = 8
"""Sites with fewer tokens a side are left out where finer ones exist: their attention does not find things."""


@dataclass(frozen=True)
class Placing:
    """How attention becomes weights."""

    sharpness: float = 30.0
    """Of the softmax among the concepts: 0 shares every token alike, infinity gives it to one."""
    smoothing: float = 0.05
    """Standard deviation of the blur of the maps, as a part of the picture's side."""
    background: float | None = 0.3
    """Attention (0 to 1) under which a token is rather no concept's; None: every token is shared out in full."""


def text_maps(base: Base, latent: Tensor, timestep: int, context: Tensor, positions: Sequence[int]) -> Tensor:
    """Text attention of noisy pictures to K positions of their prompt, mean over the sites, image attention left out.

    latent [n, 4, h, w], context [1, 77, D] → [n, K, g, g'] on the finest site's grid, not yet scaled.
    """
    n, height, width = latent.shape[0], *latent.shape[-2:]
    wanted = torch.tensor(positions, device=base.device).expand(n, -1)
    grids: list[Tensor] = []

    def collect(site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        after, columns = block_with_columns(block, hidden, context, wanted)
        grids.append(rearrange(columns, "n k (h w) -> n k h w", h=height // site.stride, w=width // site.stride))
        return after

    times = torch.full((n,), timestep, device=base.device)
    walk_to_last_site(base.unet, latent, times, context.expand(n, -1, -1), base.sites, collect)
    finest = max(grids, key=lambda grid: grid.shape[-1]).shape[-2:]
    chosen = [grid for grid in grids if min(grid.shape[-2:]) >= min(MIN_GRID, *finest)]
    return torch.stack([F.interpolate(_scaled(g), size=finest, mode="bilinear") for g in chosen]).mean(dim=0)


def shares(maps: Tensor, placing: Placing) -> Tensor:
    """Whose each token is: maps [n, K, h, w] → weights [n, K, h, w] ≥ 0 that sum to 1 over K, or less on background.

    Without a background a single concept has weight 1 everywhere.
    """
    scaled = _scaled(_blurred(maps, placing.smoothing))
    if placing.background is not None:
        scaled = torch.cat([scaled, torch.full_like(scaled[:, :1], placing.background)], dim=1)
    return (placing.sharpness * scaled).softmax(dim=1)[:, : maps.shape[1]]


def site_weights(weights: Tensor, sites: Sequence[Site], latent: Tensor) -> list[Tensor]:
    """Weights [n, K, h, w] at every site of a picture with `latent` [n, 4, h', w']: per site [K, n, N]."""
    height, width = latent.shape[-2:]
    return [
        rearrange(F.adaptive_avg_pool2d(weights, (height // site.stride, width // site.stride)), "n k h w -> k n (h w)")
        for site in sites
    ]


def _scaled(maps: Tensor) -> Tensor:
    """To 0..1 in every map; one without contrast becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def _blurred(maps: Tensor, part: float) -> Tensor:
    """A Gaussian whose weights at the border are shared out inside; its width is `part` of the shorter side."""
    if part == 0:
        return maps
    rows, columns = (_kernel(size, part * min(maps.shape[-2:]), maps) for size in maps.shape[-2:])
    return rows @ maps @ columns.T


def _kernel(size: int, sigma: float, like: Tensor) -> Tensor:
    place = repeat(torch.arange(size, device=like.device, dtype=like.dtype), "i -> j i", j=size)
    return (-((place - place.T) ** 2) / (2 * sigma**2)).softmax(dim=-1)
