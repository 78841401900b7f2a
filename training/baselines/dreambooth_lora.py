"""DreamBooth (arXiv 2208.12242) with low-rank adapters (LoRA, arXiv 2106.09685) in place of the whole U-Net.

The thing is called by a rare word before its class, "a photo of a sks bear". As in diffusers'
`examples/dreambooth/train_dreambooth_lora.py`: adapters on the attention's projections, one caption for all photos.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from training.baselines.examples import ExampleMaker
from training.baselines.fit import Group, count, fit, noise_error
from training.baselines.method import Baseline, Stopwatch, Trained
from training.baselines.prior import ClassPrior
from training.baselines.recipe import Count, PriorRecipe, Rate
from training.evaluation.maker import plain_maker
from training.evaluation.subject import Subject
from vico.base import Base
from vico.pipeline import encode_pictures
from vico.text import encode_prompts, tokenize_prompts

_UNET_TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
_TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]


class DreamBoothRecipe(PriorRecipe):
    """Recipe of DreamBooth with LoRA."""

    lora_lr: Rate
    rank: Count
    alpha: Annotated[float, Field(gt=0)]
    """The adapters' output is scaled by alpha / rank."""
    text_encoder_rank: Annotated[int, Field(ge=0)] = 0
    """0 = the text encoder is left alone."""
    rare_word: Annotated[str, Field(min_length=1)] = "sks"
    """A word that the base hardly knows."""


class DreamBoothLora(Baseline[DreamBoothRecipe]):
    """Adapters live on copies of the networks, so that the base stays as it is."""

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """Learn `subject.train` as "<rare word> <init word>"; see `Method`."""
        recipe, watch = self.recipe_, Stopwatch(seconds)
        prior = ClassPrior(base, recipe, subject.init_word, self.settings, seed)
        adapted = adapt(base, recipe, seed)
        phrase = f"{recipe.rare_word} {subject.init_word}"
        captions = [caption.format(phrase) for caption in recipe.captions]
        maker = ExampleMaker(base, encode_pictures(base, subject.train), captions, recipe.batch_size, seed)

        def loss(step: int) -> Tensor:
            examples = maker.draw(step)
            prompts = tokenize_prompts(adapted, examples.captions)
            context = encode_prompts(adapted.text_encoder, prompts.input_ids)
            return noise_error(adapted, examples, context) + prior.loss(adapted, step)

        groups = [Group(adapters(adapted), recipe.lora_lr)]
        steps = fit(recipe, groups, loss, watch)
        seconds = watch.seconds
        return Trained(plain_maker(adapted, phrase, self.settings), seconds, steps, count(groups))


def adapt(base: Base, recipe: DreamBoothRecipe, seed: int) -> Base:
    """A base whose U-Net (and text encoder, if asked) is a copy with fresh adapters; their output is zero at first."""
    from peft import inject_adapter_in_model

    unet, text_encoder = copy.deepcopy(base.unet), base.text_encoder
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(_config(recipe.rank, recipe, _UNET_TARGETS))
        if recipe.text_encoder_rank:
            text_encoder = copy.deepcopy(text_encoder)
            inject_adapter_in_model(_config(recipe.text_encoder_rank, recipe, _TEXT_TARGETS), text_encoder)
    return replace(base, unet=unet, text_encoder=text_encoder)


def adapters(adapted: Base) -> list[nn.Parameter]:
    """The trainable tensors, and nothing of the base's own."""
    return [p for network in (adapted.unet, adapted.text_encoder) for p in network.parameters() if p.requires_grad]


def _config(rank: int, recipe: DreamBoothRecipe, targets: list[str]) -> Any:
    from peft import LoraConfig

    # the ratio is the recipe's for both networks, whatever their ranks
    alpha = recipe.alpha * rank / recipe.rank
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # annotated int, used as a factor
        target_modules=targets,
        init_lora_weights="gaussian",
    )
