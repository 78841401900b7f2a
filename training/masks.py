"""What the method looks at: the masks drawn over the reference photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from vico.base import Base
from vico.concept import reference_prompt
from vico.loaded_concept import LoadedConcept
from vico.streams import ReferenceFeatures, reference_features
from vico.text import encode_prompts, tokenize_prompts

_VEIL = np.array([20, 20, 30], dtype=np.float32)
_VEIL_SHARE = 0.8


@torch.no_grad()
def mask_pictures(
    base: Base, concept: LoadedConcept, photos: Sequence[Image.Image], latents: Tensor, timestep: int | None = None
) -> list[list[Image.Image]]:
    """Per photo and per site: the photo with every patch outside the mask darkened.

    latents [P, 4, h, w] of the photos; the prompt is `reference_prompt`, whatever the concept's `reference_context`.
    """
    sites = _looked_at(base, concept.placeholder, concept.token_embedding, latents, timestep)
    return [
        [
            veil(photo, features.mask[row].reshape(-1, latents.shape[-1] // site.stride).cpu().numpy())
            for site, features in zip(base.sites, sites, strict=True)
        ]
        for row, photo in enumerate(photos)
    ]


@torch.no_grad()
def soft_masks(base: Base, token_embedding: Tensor, latents: Tensor) -> Tensor:
    """Where a thing is: the mean over the sites of the masks of a word's vectors [V, D], soft at their edges.

    latents [P, 4, h, w] → [P, h, w] in [0, 1].
    """
    size = latents.shape[-2:]
    masks = [
        F.interpolate(
            rearrange(features.mask.to(latents.dtype), "p (h w) -> p 1 h w", w=size[-1] // site.stride),
            size,
            mode="bilinear",
        )
        for site, features in zip(base.sites, _looked_at(base, "*", token_embedding, latents), strict=True)
    ]
    return torch.cat(masks, dim=1).mean(dim=1)


def _looked_at(
    base: Base, placeholder: str, token_embedding: Tensor, latents: Tensor, timestep: int | None = None
) -> tuple[ReferenceFeatures, ...]:
    """The reference stream over photos, by default at the middle timestep."""
    vectors = token_embedding.shape[0]
    prompts = tokenize_prompts(base, [reference_prompt(placeholder)], placeholder, vectors)
    context = encode_prompts(base.text_encoder, prompts.input_ids, prompts.placeholder_position, token_embedding[None])
    rows = latents.shape[0]
    middle = base.schedule.num_train_timesteps // 2
    return reference_features(
        base.unet,
        base.sites,
        latents,
        torch.full((rows,), middle if timestep is None else timestep, device=base.device),
        repeat(context, "1 t d -> b t d", b=rows),
        prompts.attention_position.expand(rows),
    )


def veil(photo: Image.Image, mask: npt.NDArray[np.bool_] | npt.NDArray[np.floating[Any]]) -> Image.Image:
    """Darken a picture where a coarse mask [h, w] is False, or in the measure that a soft one is below 1."""
    how = Image.Resampling.NEAREST if mask.dtype == np.bool_ else Image.Resampling.BILINEAR
    kept = Image.fromarray((mask.clip(0, 1) * 255).astype(np.uint8)).resize(photo.size, how)
    share = (1 - np.asarray(kept, dtype=np.float32)[..., None] / 255) * _VEIL_SHARE
    pixels = np.asarray(photo, dtype=np.float32) * (1 - share) + _VEIL * share
    return Image.fromarray(pixels.round().astype(np.uint8))
