"""What the method looks at: the masks drawn over the reference photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from einops import repeat
from PIL import Image
from torch import Tensor

from vico.base import Base
from vico.concept import reference_prompt
from vico.loaded_concept import LoadedConcept
from vico.streams import reference_features
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
    prompts = tokenize_prompts(
        base, [reference_prompt(concept.placeholder)], concept.placeholder, concept.token_embedding.shape[0]
    )
    context = encode_prompts(
        base.text_encoder, prompts.input_ids, prompts.placeholder_position, concept.token_embedding[None]
    )
    rows = latents.shape[0]
    middle = base.schedule.num_train_timesteps // 2
    sites = reference_features(
        base.unet,
        base.sites,
        latents,
        torch.full((rows,), middle if timestep is None else timestep, device=base.device),
        repeat(context, "1 t d -> b t d", b=rows),
        prompts.attention_position.expand(rows),
    )
    return [
        [
            veil(photo, features.mask[row].reshape(-1, latents.shape[-1] // site.stride).cpu().numpy())
            for site, features in zip(base.sites, sites, strict=True)
        ]
        for row, photo in enumerate(photos)
    ]


def veil(photo: Image.Image, mask: npt.NDArray[np.bool_]) -> Image.Image:
    """Darken a picture where a coarse boolean mask [h, w] is False."""
    kept = Image.fromarray(mask.astype(np.uint8) * 255).resize(photo.size, Image.Resampling.NEAREST)
    share = (1 - np.asarray(kept, dtype=np.float32)[..., None] / 255) * _VEIL_SHARE
    pixels = np.asarray(photo, dtype=np.float32) * (1 - share) + _VEIL * share
    return Image.fromarray(pixels.round().astype(np.uint8))
