"""Custom Diffusion: keys and values of the text cross-attention, and a modifier word, "a photo of a * bear".

Source: arXiv 2212.04488, section 3, and `examples/custom_diffusion` of diffusers. Left out: their retrieved real
regularisation pictures (the base draws its own, as their paper's "Ours (w/ generated)") and the resizing augmentation.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from training.baselines.examples import ExampleMaker
from training.baselines.fit import Group, count, fit, noise_error
from training.baselines.learned_word import PLACEHOLDER, learned_context, learned_word
from training.baselines.method import Baseline, Stopwatch, Trained
from training.baselines.prior import ClassPrior
from training.baselines.recipe import PriorRecipe, Rate
from training.concept_model import initial_embedding
from training.evaluation.maker import concept_maker
from training.evaluation.subject import Subject
from vico.base import Base
from vico.pipeline import encode_pictures


class CustomDiffusionRecipe(PriorRecipe):
    """Recipe of Custom Diffusion."""

    token_lr: Rate
    attention_lr: Rate
    modifier_init: Annotated[str, Field(min_length=1)] = "ktn"
    """A word that the base hardly knows; the modifier begins at its embedding."""


class CustomDiffusion(Baseline[CustomDiffusionRecipe]):
    """The U-Net that learns is a copy, so that the base stays as it is."""

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """Learn `subject.train` as "<modifier> <init word>"; see `Method`."""
        recipe, watch = self.recipe_, Stopwatch(seconds)
        prior = ClassPrior(base, recipe, subject.init_word, self.settings, seed)
        adapted = replace(base, unet=copy.deepcopy(base.unet))
        attention = open_text_attention(adapted)
        modifier = nn.Parameter(initial_embedding(base, recipe.modifier_init)[None])
        phrase = f"{PLACEHOLDER} {subject.init_word}"
        captions = [caption.format(phrase) for caption in recipe.captions]
        maker = ExampleMaker(base, encode_pictures(base, subject.train), captions, recipe.batch_size, seed)

        def loss(step: int) -> Tensor:
            examples = maker.draw(step)
            context = learned_context(adapted, examples.captions, modifier)
            return noise_error(adapted, examples, context) + prior.loss(adapted, step)

        groups = [Group([modifier], recipe.token_lr), Group(attention, recipe.attention_lr)]
        steps = fit(recipe, groups, loss, watch)
        seconds = watch.seconds
        drawer = concept_maker(adapted, learned_word(adapted, modifier), self.settings, name=phrase)
        return Trained(drawer, seconds, steps, count(groups))


def open_text_attention(adapted: Base) -> list[nn.Parameter]:
    """Keys and values of every text cross-attention of a (copied) U-Net, ready to be trained."""
    opened = [
        parameter
        for name, parameter in adapted.unet.named_parameters()
        if ".attn2.to_k." in name or ".attn2.to_v." in name
    ]
    for parameter in opened:
        parameter.requires_grad_(True)
    return opened
