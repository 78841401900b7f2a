"""Prior preservation: the base's own pictures of the class, trained on beside the photos.

Source: DreamBooth (arXiv 2208.12242, section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.baselines.examples import ExampleMaker
from training.baselines.fit import noise_error
from training.baselines.recipe import PriorRecipe
from training.evaluation.maker import SamplingSettings
from vico.base import Base
from vico.pipeline import PictureRequest, generate_latents
from vico.text import encode_prompts, tokenize_prompts

_AT_ONCE = 8
_SEEDS = 1_000_000
"""Class pictures use noise that no prompt suite asks for."""


class ClassPrior:
    """Class pictures of a base, and the loss on them."""

    def __init__(self, base: Base, recipe: PriorRecipe, class_word: str, settings: SamplingSettings, seed: int) -> None:
        """Draw `recipe.class_pictures` pictures of `class_word` with the untrained base."""
        self._weight = recipe.class_weight
        self._maker: ExampleMaker | None = None
        if recipe.class_pictures:
            latents = _draw(base, class_word, recipe.class_pictures, settings, seed)
            captions = [f"a photo of a {class_word}"]
            self._maker = ExampleMaker(base, latents, captions, recipe.batch_size, seed, stream=1)

    def loss(self, adapted: Base, step: int) -> Tensor:
        """Weighted loss of the class pictures under the networks being trained; 0 without prior preservation."""
        if self._maker is None:
            return torch.zeros((), device=adapted.device)
        examples = self._maker.draw(step)
        prompts = tokenize_prompts(adapted, examples.captions)
        context = encode_prompts(adapted.text_encoder, prompts.input_ids)
        return self._weight * noise_error(adapted, examples, context)


def _draw(base: Base, word: str, pictures: int, settings: SamplingSettings, seed: int) -> Tensor:
    """[pictures, 4, h, w] clean latents: they are never needed as pixels."""
    drawn = [
        generate_latents(
            base,
            PictureRequest(
                f"a photo of a {word}",
                seed=_SEEDS + seed * _SEEDS + start,
                steps=settings.steps,
                sampler=settings.sampler,
                guidance_scale=settings.guidance_scale,
                num_images=min(_AT_ONCE, pictures - start),
            ),
        )
        for start in range(0, pictures, _AT_ONCE)
    ]
    return torch.cat(drawn)
