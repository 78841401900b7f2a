"""From pictures and a recipe to a model with its batches: what every way to train shares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from training.augment import view_latents
from training.batches import BatchMaker
from training.concept_model import ConceptModel
from training.draws import Draws
from training.losses import area_weights, surroundings
from training.masks import soft_masks
from training.recipe import Recipe
from training.trainer import Trainer
from vico.base import Base


def set_up(
    base: Base,
    recipe: Recipe,
    pictures: Sequence[Image.Image],
    init_word: str,
    *,
    placeholder: str = "*",
    seed: int = 0,
    process: int = 0,
) -> tuple[Trainer, Tensor]:
    """A trainer for a concept, and the clean latents [P, 4, h, w] of its pictures (RGB, square, of the base's size).

    With `trainer.step(i)` for i = 0, 1, …, then `trainer.finish()`, `trainer.model.concept(placeholder,
    latents[: recipe.references], recipe.reference_context)` is the concept.

    Raises:
        TrainingError: the init word is empty, or the base has no such site.
    """
    model = ConceptModel(base, init_word, recipe.vectors, zero_init=recipe.zero_init, seed=seed, sites=recipe.sites)
    views = view_latents(base, pictures, recipe.augmentations, flip=recipe.flip, seed=seed)
    masks = _masks(base, model.initial_token, views) if recipe.masked_loss != 1 or recipe.preservation else None
    batches = BatchMaker(
        base=base,
        latents=views[:, 0],
        placeholder=placeholder,
        vectors=recipe.vectors,
        batch_size=recipe.batch_size,
        seed=seed,
        process=process,
        draws=Draws(
            recipe.train_references,
            recipe.timestep,
            recipe.caption_drop,
            recipe.image_dropout,
            recipe.scene_captions,
        ),
        reference_context=recipe.reference_context,
        views=views,
        areas=None if masks is None else area_weights(masks, recipe.masked_loss),
        outsides=None if masks is None or not recipe.preservation else surroundings(masks),
        scene_templates=recipe.scene_templates,
    )
    return Trainer(model, batches, recipe), views[:, 0]


def _masks(base: Base, token_embedding: Tensor, views: Tensor) -> Tensor:
    """Where the thing is [P, V, h, w], 0 to 1: photo by photo, from the init word's attention on the frozen base."""
    return torch.stack([soft_masks(base, token_embedding, photo) for photo in views])
