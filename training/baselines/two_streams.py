"""ViCo in the comparison: as published, as we train it, and with a fixed reference context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.baselines.method import Stopwatch, Trained
from training.batches import BatchMaker
from training.concept_model import ConceptModel
from training.errors import TrainingError
from training.evaluation.maker import SamplingSettings, concept_maker
from training.evaluation.subject import Subject
from training.loop import make_optimizer, rate_factor
from training.recipe import Recipe, to_dict
from vico.base import Base
from vico.pipeline import encode_pictures


@dataclass(frozen=True)
class TwoStreams:
    """Any recipe of `vico train`, under a name of its own."""

    name: str
    recipe_: Recipe
    settings: SamplingSettings
    version: int = 1

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the result, as plain JSON values."""
        aside = ("checkpoint_", "validation_", "guidance_scale")
        return {name: value for name, value in to_dict(self.recipe_).items() if not name.startswith(aside)}

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """Learn `subject.train` with the reference stream; see `Method`."""
        recipe, watch = self.recipe_, Stopwatch(seconds)
        latents = encode_pictures(base, subject.train)
        model = ConceptModel(base, subject.init_word, recipe.vectors, zero_init=recipe.zero_init, seed=seed)
        batches = BatchMaker(base, latents, "*", recipe.vectors, recipe.batch_size, seed)
        steps = _fit(model, batches, recipe, watch)
        concept = model.concept("*", latents[: recipe.references])
        seconds = watch.seconds
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return Trained(concept_maker(base, concept, self.settings), seconds, steps, parameters)


def _fit(model: ConceptModel, batches: BatchMaker, recipe: Recipe, watch: Stopwatch) -> int:
    """`training.loop` without its checkpoints, and with an end to its time; returns the steps done."""
    optimizer = make_optimizer(model, recipe)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(recipe.steps):
        if watch.spent:
            return step
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * rate_factor(recipe, step)
        loss = model(batches.batch(step), recipe.regulariser_weight).total
        if not torch.isfinite(loss):
            raise TrainingError("loss", f"it is {loss.item()} at step {step}", "lower learning rates in the recipe")
        loss.backward()
        if recipe.max_grad_norm:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return recipe.steps
