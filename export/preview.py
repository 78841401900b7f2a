"""The base's own linear map from latents to colours, for previews while a picture is being made."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from export.modules import VaeDecoder, VaeEncoder
from vico.base import Base
from vico.concept.preview import LatentToRGB

_PICTURES = 4
_SEED = 20240913


@torch.no_grad()
def latent_to_rgb(base: Base) -> LatentToRGB:
    """By least squares over all cells of a few made-up pictures: the latent against what the decoder makes of it.

    Deterministic: the same base gives the same numbers, but for the last digits of the arithmetic, which are cut off.
    """
    side = base.default_size
    pictures = torch.stack([made_up_picture(index, side) for index in range(_PICTURES)])
    latents, colours = [], []
    for picture in pictures.to(base.device, base.dtype):
        (latent,) = VaeEncoder(base.vae)(picture[None])
        (decoded,) = VaeDecoder(base.vae)(latent)
        latents.append(latent)
        colours.append(functional.avg_pool2d(decoded, base.vae_factor))
    return fit(torch.cat(latents), torch.cat(colours))


def fit(latents: Tensor, colours: Tensor) -> LatentToRGB:
    """latents [N, C, h, w], colours [N, 3, h, w] → C + 1 rows, the last of them the constant."""
    cells = latents.double().cpu().movedim(1, -1).reshape(-1, latents.shape[1])
    known = torch.cat([cells, torch.ones(len(cells), 1, dtype=torch.float64)], dim=1)
    wanted = colours.double().cpu().movedim(1, -1).reshape(-1, 3)
    rows = torch.linalg.lstsq(known, wanted, driver="gelsd").solution
    return tuple((round(red, 4), round(green, 4), round(blue, 4)) for red, green, blue in rows.tolist())


def made_up_picture(index: int, side: int) -> Tensor:
    """[3, side, side] in [−1, 1]: colours that flow into each other, with flat discs of every colour before them."""
    random = torch.Generator().manual_seed(_SEED + index)
    coarse = torch.rand(1, 3, 5, 5, generator=random) * 2 - 1
    picture = functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)[0]
    place = torch.linspace(0, 1, side)
    for _ in range(12):
        y, x, radius = torch.rand(3, generator=random)
        disc = (place[:, None] - y) ** 2 + (place[None] - x) ** 2 < (0.05 + 0.15 * radius) ** 2
        picture = torch.where(disc, (torch.rand(3, generator=random) * 2 - 1)[:, None, None], picture)
    return picture.clamp(-1, 1)
