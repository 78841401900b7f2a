"""What training will look at, before it begins: where in each photo the thing seems to be."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.concept_model import initial_embedding
from training.events import PhotoSeen, PhotosSeen, jpeg
from training.masks import soft_masks, veil
from training.photos import Photo, load_photo
from training.recipe import Recipe
from vico.base import Base
from vico.pipeline import encode_pictures

_SHOWN = 256
"""Pixels: a base's own photos may be too small for people."""

_FAINTEST = 1e-3
"""Of a mask's greatest value: less is nowhere."""


@torch.no_grad()
def look_at(base: Base, recipe: Recipe, photos: Sequence[Photo], init_word: str) -> PhotosSeen:
    """The photos under the masks that training itself begins with: the init word's attention on the frozen base.

    Each mask is shown in relation to its own greatest value.

    Raises:
        TrainingError: the init word is empty.
    """
    token = initial_embedding(base, init_word).repeat(recipe.vectors, 1)
    latents = torch.cat([encode_pictures(base, [photo.picture]) for photo in photos])
    masks = soft_masks(base, token, latents).float().cpu().numpy()
    seen = []
    for photo, mask in zip(photos, masks, strict=True):
        shown = load_photo(photo.file, max(_SHOWN, recipe.size), centre_crop=recipe.centre_crop).picture
        # a mean over sites seldom reaches 1: people see where it is strongest
        masked = veil(shown, mask / max(float(mask.max()), _FAINTEST))
        seen.append(PhotoSeen(photo.file.name, photo.enlarged, jpeg(shown), jpeg(masked)))
    return PhotosSeen(tuple(seen))
